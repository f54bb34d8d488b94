"""The chat about a log: facts before any model, then questions whose answers are checked claim by claim."""

import contextlib
import io
import time
from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from loglore.errors import InputError, JobError
from loglore.studio import charts, markup, shared
from loglore.studio.client import Reference

# The words a training row opens with, so that a tuned model recognises the task.
ACTIONS = {
    "Summarize": "Summarize this log.",
    "Find root cause": "Find the root cause of the problems in this log.",
    "Find patterns": "Find patterns in this log.",
}
ICONS = {
    "Summarize": ":material/notes:",
    "Find root cause": ":material/troubleshoot:",
    "Find patterns": ":material/repeat:",
}
EXAMPLE, UPLOAD, PASTE = "File", "Upload", "Paste"
DRAW_EVERY_S = 0.08


def show() -> None:
    """Draw the page."""
    with shared.errors_shown():
        with st.sidebar:
            logs = _chosen_log()
            model = _chosen_model()
            if st.button("New chat", icon=":material/add_comment:", width="stretch"):
                _start_over()
        st.title("Chat about a log")
        if not logs:
            shared.empty("Choose a log", "Take a file, upload one or paste lines at the left; then ask about it.")
            return
        if st.session_state.get("about") != logs:
            _start_over()
            st.session_state["about"] = logs
        _facts(shared.api().facts(logs))
        for turn in st.session_state["turns"]:
            _draw(turn)
        latest = st.container()
        if model is None:
            shared.empty(
                "No model yet", "The facts above need none. For answers: <code>make quickstart</code>, then come back."
            )
            return
        question = _question()
        if question:
            with latest:
                _ask(logs, question, model)


def _start_over() -> None:
    st.session_state["turns"] = []
    st.session_state["conversation"] = None


def _chosen_log() -> list[Reference]:
    st.subheader("Log")
    way = st.segmented_control("Where it comes from", [EXAMPLE, UPLOAD, PASTE], default=EXAMPLE, required=True)
    if way == EXAMPLE:
        listed = shared.api().logs()
        if not listed["data"]:
            st.caption(f"No files in {listed['root']}.")
            return []
        name = st.selectbox(
            "File", [each["path"] for each in listed["data"]], index=None, placeholder="Choose or type to search"
        )
        st.caption(f"Below {listed['root']}")
        return [{"path": name}] if name else []
    if way == UPLOAD:
        files = st.file_uploader(
            "Log files",
            accept_multiple_files=True,
            help="Plain text, or gz, bz2, xz, zst. Larger ones: put them into the folder of logs.",
        )
        return [_sent(file.file_id, file.name, file.size, file) for file in files]
    text = st.text_area("Lines", height=220, placeholder="Paste log lines")
    data = text.encode("utf-8")
    return [_sent(str(hash(data)), "pasted.log", len(data), io.BytesIO(data))] if text.strip() else []


def _sent(key: str, name: str, size: int, stream: Any) -> Reference:
    """The reference to a file that the API has, sent once."""
    known: dict[str, Reference] = st.session_state.setdefault("sent", {})
    if key not in known:
        with st.spinner(f"Sending {name}"):
            stream.seek(0)
            known[key] = shared.api().upload(name, size, stream)
    return known[key]


def _chosen_model() -> str | None:
    st.subheader("Model")
    names = [model["id"] for model in shared.api().models()]
    return st.selectbox("Model that answers", names) if names else None


def _facts(facts: dict[str, Any]) -> None:
    names = ", ".join(escape(each["source"]) for each in facts["sources"])
    parts = [f"<span><b>{names}</b></span>", f"<span><b>{facts['lines']:,}</b> lines</span>"]
    if facts["first"]:
        parts.append(f"<span>{facts['first']} to {facts['last']} UTC</span>")
    for level in charts.LEVELS:
        if level in facts["levels"]:
            bad = ' class="bad"' if level in ("fatal", "error") else ""
            parts.append(f"<span{bad}><b>{facts['levels'][level]:,}</b> {level}</span>")
    st.html(f'<div class="ll-facts">{"".join(parts)}</div>')
    if facts["timeline"]:
        rows = facts["timeline"]["rows"]
        st.altair_chart(charts.timeline(rows, facts["timeline"]["bucket_seconds"]), width="stretch")
    with st.expander(f"{facts['template_count']:,} kinds of message, {facts['rare_count']:,} of them seen once"):
        frequent = [each for each in facts["templates"] if each["count"] > 1]
        for title, chosen in (("Most frequent", frequent), ("Seen once", facts["rare"])):
            rows = [
                [f"{each['count']:,}", f"<code>{escape(markup.clean(each['text']))}</code>", _span(each)]
                for each in chosen
            ]
            if rows:
                st.html(markup.table(["Lines", title, "Where"], rows, numbers=[0]))


def _span(template: dict[str, Any]) -> str:
    first, last = template["first"], template["last"]
    return f'<span class="ll-nowrap">{f"L{first}" if first == last else f"L{first} – L{last}"}</span>'


def _question() -> str | None:
    columns = st.columns(len(ACTIONS) + 1, vertical_alignment="center")
    asked = None
    for column, (label, question) in zip(columns, ACTIONS.items(), strict=False):
        if column.button(label, icon=ICONS[label], width="stretch"):
            asked = question
    return st.chat_input("Ask about this log", submit_mode="stop") or asked


def _ask(logs: Sequence[Reference], question: str, model: str) -> None:
    """Ask, and draw the answer as it comes. What has come so far is kept, also when the answer is stopped."""
    turn: dict[str, Any] = {"question": question, "text": "", "model": model, "evidence": None, "answer": None}
    st.session_state["turns"].append(turn)
    with st.chat_message("user", avatar=":material/person:"):
        st.text(markup.clean(question))
    with st.chat_message("assistant", avatar=":material/receipt_long:"):
        note, text = st.empty(), st.empty()
        try:
            _follow(logs, turn, note, text)
        except (InputError, JobError) as fault:
            turn["fault"] = str(fault)
            st.session_state["conversation"] = None  # whatever state it is in, the next question starts afresh
    st.rerun()


def _follow(logs: Sequence[Reference], turn: dict[str, Any], note: Any, text: Any) -> None:
    state = st.session_state
    events = shared.api().ask(logs, turn["question"], turn["model"], state["conversation"])
    drawn = 0.0
    # Closed whatever happens: a stop or a click elsewhere ends this script here, and closing ends the answer.
    with contextlib.closing(events):  # type: ignore[type-var]
        for name, data in events:
            if name == "conversation":
                state["conversation"] = data["id"]
            elif name == "status":
                note.caption(f"{data['text']}…")
            elif name == "evidence":
                turn["evidence"] = data
                note.caption(markup.left_out(data))
            elif name == "reading":
                text.progress(min(data["done"] / max(data["total"], 1), 1.0), f"Reading {data['total']:,} tokens")
            elif name == "text":
                turn["text"] += data["text"]
                if time.monotonic() - drawn > DRAW_EVERY_S:
                    text.html(markup.answer(turn["text"]))
                    drawn = time.monotonic()
            elif name == "answer":
                turn["answer"] = data


def _draw(turn: dict[str, Any]) -> None:
    with st.chat_message("user", avatar=":material/person:"):
        st.text(markup.clean(turn["question"]))
    with st.chat_message("assistant", avatar=":material/receipt_long:"):
        answer = turn["answer"]
        if answer is None:
            _draw_unfinished(turn)
            return
        st.html(markup.answer(answer["answer"], answer["claims"]) + markup.verdicts(answer["answer"], answer["claims"]))
        st.caption(
            markup.left_out(answer["evidence"]) + ("" if answer["renewed"] else " Chosen for the first question.")
        )
        with st.expander("What the model saw"):
            st.code(markup.clean(answer["evidence"]["text"]), language=None, height=320)
        cut = ", cut at the length limit" if answer["finish_reason"] == "length" else ""
        st.caption(
            f"{turn['model']} · {answer['completion_tokens']:,} tokens{cut}"
            f" · {answer['tokens_per_second']:.0f} tokens/s · first after {answer['first_token_s']:.1f} s"
        )


def _draw_unfinished(turn: dict[str, Any]) -> None:
    """What came before the answer was stopped or failed."""
    if turn["text"]:
        st.html(markup.answer(turn["text"]))
    if "fault" in turn:
        st.error("The answer broke off. Ask again to retry.", icon=":material/error:")
        st.code(turn["fault"], language=None, wrap_lines=True)
    else:
        st.caption("Stopped. These words were not checked against the log.")
