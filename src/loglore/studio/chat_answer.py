"""Questions and answers as they were: answers with their verdicts, those that broke off, and lines in context."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import streamlit as st

from loglore.errors import InputError
from loglore.studio import chat_log, markup, shared, transcript
from loglore.studio.client import Reference
from loglore.studio.words import say

USER, ASSISTANT = ":material/person:", ":material/receipt_long:"
CONTEXT, MOST_CONTEXT = 6, 200

Turn = Mapping[str, Any]


def grouped(turns: Sequence[Turn]) -> list[list[Turn]]:
    """Turns of a chat with their sides together."""
    return [list(sides) for _, sides in groupby(turns, key=lambda turn: turn["turn"])]


def show(turns: Sequence[Sequence[Turn]]) -> bool:
    """Draw them; whether the last question is to be asked again."""
    again = False
    if fault := st.session_state.pop("chat-fault", None):
        shared.show_fault(InputError(fault))
    for number, sides in enumerate(turns):
        with st.chat_message("user", avatar=USER):
            st.text(markup.clean(sides[0]["question"]))
        with st.chat_message("assistant", avatar=ASSISTANT):
            for column, turn in zip(st.columns(len(sides)), sides, strict=True):
                with column:
                    if len(sides) > 1:
                        st.html(f"<b>{escape(markup.clean(turn['model']))}</b>")
                    _finished(turn) if turn["state"] == "answered" else _unfinished(turn)
            if number == len(turns) - 1:
                again = _buttons(turns)
    return again


@st.cache_data(max_entries=256, show_spinner=False)
def _html(text: str, claims: list[dict[str, Any]], language: str) -> str:
    """An answer and its verdicts as HTML; `language` because the verdicts are in it."""
    del language
    return markup.answer(text, claims) + markup.verdicts(text, claims)


def _finished(turn: Turn) -> None:
    answer = turn["answer"]
    st.html(_html(answer["answer"], answer["claims"], say("chat.nav")))
    st.caption(markup.left_out(answer["evidence"]) + ("" if answer["renewed"] else " " + say("chat.same_evidence")))
    with st.expander(say("chat.saw")):
        st.code(markup.clean(answer["evidence"]["text"]), language=None, height=320, wrap_lines=True)
    ends = {"length": "chat.cut", "repeats": "chat.circles"}
    cut = say(ends[answer["finish_reason"]]) if answer["finish_reason"] in ends else ""
    told = say(
        "chat.speed", model=markup.clean(turn["model"]), tokens=f"{answer['completion_tokens']:,}", cut=cut,
        speed=f"{answer['tokens_per_second']:.0f}", first=f"{answer['first_token_s']:.1f}",
    )  # fmt: skip
    # HTML, because Markdown would make a link of an endpoint's address.
    st.html(f'<p class="ll-note">{escape(told)}</p>')


def _unfinished(turn: Turn) -> None:
    """What came before the answer was stopped or failed, or of one that is being written in another tab."""
    if turn["text"]:
        st.html(markup.answer(turn["text"]))
    if turn["state"] == "answering":
        st.caption(say("chat.elsewhere_answering"))
    elif turn["state"] == "failed":
        st.error(say("chat.broke_off"), icon=":material/error:")
        st.code(markup.clean(turn["fault"] or ""), language=None, wrap_lines=True)
    else:
        st.caption(say("chat.stopped"))


def _buttons(turns: Sequence[Sequence[Turn]]) -> bool:
    row = st.container(horizontal=True)
    again = row.button(say("chat.again"), icon=":material/refresh:", key="chat-regenerate")
    row.download_button(
        say("chat.export"), transcript.markdown(turns), "loglore-chat.md", "text/markdown",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
    with row.popover(say("chat.copy"), icon=":material/content_copy:"):
        for turn in turns[-1]:
            # Has a button that copies.
            st.code(markup.clean(turn["text"]) or "–", language=None, wrap_lines=True, height=240)
    return bool(again)


def around(logs: Sequence[Reference], source: str, line: int) -> None:
    """A line with what stands around it, over the page; more of it on request. Esc closes it."""
    context = {"lines": CONTEXT}

    @st.dialog(say("look.around", place=f"L{line}"), width="large")
    def opened() -> None:
        with shared.errors_shown():
            wish = {"logs": list(logs), "source": source or None, "around": line}
            shown = st.session_state.setdefault(f"chat-context-{source}-{line}", context["lines"])
            found = shared.api().post("/studio/logs/lines", {**wish, "context": shown})
            st.html(chat_log.line_list(found["data"], marked=line))
            more = min(shown * 2, MOST_CONTEXT)
            if more > shown and st.button(say("look.more"), icon=":material/unfold_more:", key="chat-context-more"):
                st.session_state[f"chat-context-{source}-{line}"] = more
                st.rerun(scope="fragment")

    opened()
