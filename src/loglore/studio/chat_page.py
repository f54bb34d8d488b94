"""The chat about logs: facts before any model, then questions whose answers are checked claim by claim."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from loglore.errors import InputError, JobError
from loglore.studio import chat_log, chat_source, markup, shared, transcript
from loglore.studio.chat_source import Asked
from loglore.studio.client import Reference
from loglore.studio.words import say

ICONS = {
    "summary": ":material/notes:",
    "cause": ":material/troubleshoot:",
    "patterns": ":material/repeat:",
    "halves": ":material/compare_arrows:",
    "risk": ":material/notification_important:",
}
USER, ASSISTANT = ":material/person:", ":material/receipt_long:"
DRAW_EVERY_S = 0.08
KEPT_CHATS = 20


@dataclass
class Chat:
    """What was asked and answered about some logs; `conversations`: the API's ids, one for each side."""

    turns: list[list[dict[str, Any]]]
    conversations: dict[int, str]


def show() -> None:
    """Draw the page."""
    with shared.errors_shown():
        with st.sidebar:
            logs = chat_source.logs()
            asked = chat_source.models()
            follow = st.toggle(say("chat.follow"), help=say("chat.follow_help"), key="chat-follow")
            if st.button(say("chat.new"), icon=":material/add_comment:", width="stretch"):
                st.session_state.get("chats", {}).pop(json.dumps(logs), None)
        st.title(say("chat.title"))
        if not logs:
            shared.empty(say("chat.no_log"), say("chat.no_log_help"))
            return
        chat = _chat(logs)
        focus = chat_log.show(logs, follow)
        for place, turn in enumerate(chat.turns):
            _draw(turn, is_last=place == len(chat.turns) - 1, chat=chat)
        latest = st.container()
        if not asked:
            shared.empty(say("chat.no_model"), say("chat.no_model_help"))
            return
        question = _question(focus)
        if again := st.session_state.pop("chat-again", None):
            question = again
            chat.conversations.clear()
        if question:
            with latest:
                _ask(logs, question, asked, chat)


def _chat(logs: Sequence[Reference]) -> Chat:
    """The chat about these logs; the last few are kept."""
    chats: dict[str, Chat] = st.session_state.setdefault("chats", {})
    chat = chats.setdefault(json.dumps(logs), Chat([], {}))
    while len(chats) > KEPT_CHATS:
        chats.pop(next(iter(chats)))
    return chat


def _question(focus: str | None) -> str | None:
    """What a button or the free line asks, put to what the reader is looking at."""
    columns = st.columns(len(ICONS), vertical_alignment="center")
    asked = None
    for column, (name, icon) in zip(columns, ICONS.items(), strict=True):
        if column.button(say(f"chat.{name}"), icon=icon, width="stretch", key=f"chat-{name}"):
            asked = say(f"chat.q_{name}")
    if focus:
        st.caption(say("chat.focused", focus=markup.clean(focus)))
    free = st.chat_input(say("chat.ask"), submit_mode="stop")
    question = free or asked
    return f"{question} {focus}" if question and focus else question


def _ask(logs: Sequence[Reference], question: str, asked: Sequence[Asked], chat: Chat) -> None:
    """Ask every chosen model, and draw the answers as they come. What has come is kept, also when one is stopped."""
    turns: list[dict[str, Any]] = [
        {"question": question, "text": "", "model": each.name, "evidence": None, "answer": None} for each in asked
    ]
    chat.turns.append(turns)
    with st.chat_message("user", avatar=USER):
        st.text(markup.clean(question))
    with st.chat_message("assistant", avatar=ASSISTANT):
        columns = st.columns(len(asked))
        places = [(column.empty(), column.empty()) for column in columns]
        for side, each in enumerate(asked):
            try:
                _follow(logs, turns[side], each, chat, side, places[side])
            except (InputError, JobError) as fault:
                turns[side]["fault"] = str(fault)
                chat.conversations.pop(side, None)  # whatever state it is in, the next question starts afresh
    st.rerun()


def _follow(
    logs: Sequence[Reference], turn: dict[str, Any], asked: Asked, chat: Chat, side: int, place: tuple[Any, Any]
) -> None:
    note, text = place
    events = shared.api().ask(logs, turn["question"], asked.model, chat.conversations.get(side), asked.endpoint)
    drawn = 0.0
    # Closed whatever happens: a stop or a click elsewhere ends this script here, and closing ends the answer.
    with contextlib.closing(events):  # type: ignore[type-var]
        for name, data in events:
            if name == "conversation":
                chat.conversations[side] = data["id"]
            elif name == "status":
                note.caption(f"{markup.clean(data['text'])}…")
            elif name == "evidence":
                turn["evidence"] = data
                note.caption(markup.left_out(data))
            elif name == "reading":
                done = min(data["done"] / max(data["total"], 1), 1.0)
                text.progress(done, say("chat.reading", tokens=f"{data['total']:,}"))
            elif name == "text":
                turn["text"] += data["text"]
                if time.monotonic() - drawn > DRAW_EVERY_S:
                    text.html(markup.answer(turn["text"]))
                    drawn = time.monotonic()
            elif name == "answer":
                turn["answer"] = data


def _draw(turns: list[dict[str, Any]], is_last: bool, chat: Chat) -> None:
    with st.chat_message("user", avatar=USER):
        st.text(markup.clean(turns[0]["question"]))
    with st.chat_message("assistant", avatar=ASSISTANT):
        for column, turn in zip(st.columns(len(turns)), turns, strict=True):
            with column:
                if len(turns) > 1:
                    st.html(f"<b>{escape(turn['model'])}</b>")
                _draw_finished(turn) if turn["answer"] else _draw_unfinished(turn)
        if is_last:
            _buttons(turns, chat)


def _draw_finished(turn: dict[str, Any]) -> None:
    answer = turn["answer"]
    st.html(markup.answer(answer["answer"], answer["claims"]) + markup.verdicts(answer["answer"], answer["claims"]))
    st.caption(markup.left_out(answer["evidence"]) + ("" if answer["renewed"] else " " + say("chat.same_evidence")))
    with st.expander(say("chat.saw")):
        st.code(markup.clean(answer["evidence"]["text"]), language=None, height=320)
    cut = say("chat.cut") if answer["finish_reason"] == "length" else ""
    st.caption(
        say("chat.speed", model=turn["model"], tokens=f"{answer['completion_tokens']:,}", cut=cut,
            speed=f"{answer['tokens_per_second']:.0f}", first=f"{answer['first_token_s']:.1f}")
    )  # fmt: skip


def _draw_unfinished(turn: dict[str, Any]) -> None:
    """What came before the answer was stopped or failed."""
    if turn["text"]:
        st.html(markup.answer(turn["text"]))
    if "fault" in turn:
        st.error(say("chat.broke_off"), icon=":material/error:")
        st.code(turn["fault"], language=None, wrap_lines=True)
    else:
        st.caption(say("chat.stopped"))


def _buttons(turns: list[dict[str, Any]], chat: Chat) -> None:
    row = st.container(horizontal=True)
    if row.button(say("chat.again"), icon=":material/refresh:", key="chat-regenerate"):
        st.session_state["chat-again"] = turns[0]["question"]
        chat.turns.pop()
        st.rerun()
    row.download_button(
        say("chat.export"), transcript.markdown(chat.turns), "loglore-chat.md", "text/markdown",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip
    with row.popover(say("chat.copy"), icon=":material/content_copy:"):
        # Has a button that copies.
        st.code(turns[0]["text"] or "–", language=None, wrap_lines=True, height=240)
