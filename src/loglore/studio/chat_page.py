"""The chat about logs: facts before any model, then questions whose answers are checked claim by claim."""

import contextlib
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from loglore.errors import InputError, JobError
from loglore.studio import (
    charts,
    chat_answer,
    chat_compare,
    chat_focus,
    chat_follow,
    chat_history,
    chat_log,
    chat_preview,
    chat_source,
    markup,
    parts,
    shared,
)
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
DRAW_EVERY_S = 0.08
STYLE = Path(__file__).with_name("chat.css")


def show() -> None:
    """Draw the page."""
    st.html(f"<style>{STYLE.read_text('utf-8')}</style>")
    with shared.errors_shown():
        chat_history.arrive()
        with st.sidebar:
            logs = chat_source.logs()
            asked = chat_source.models()
            follow = st.toggle(say("chat.follow"), help=say("chat.follow_help"), key="chat-follow")
            if st.button(say("chat.new"), icon=":material/add_comment:", width="stretch", key="chat-new"):
                chat_history.leave()
            chat_history.show(logs)
        st.title(say("chat.title"))
        if not logs:
            charts.prepare()
            shared.empty(say("chat.no_log"), say("chat.no_log_help"))
            return
        if not chat_log.ready(logs):
            return
        if follow:
            chat_follow.show(logs)
        facts = chat_log.show(logs)
        _hear(logs, facts)
        _converse(logs, asked)


def _hear(logs: Sequence[Reference], facts: dict[str, Any]) -> None:
    """Act on a click on one of our own buttons in HTML."""
    clicked = parts.clicks("chat-clicks")
    if clicked is None:
        return
    kind, value = clicked
    if kind == "stopped":  # the click itself drew the page anew
        return
    if kind == "line":
        line, _, source = value.partition(" ")
        chat_answer.around(logs, source, int(line))
    else:
        chat_log.clicked(logs, facts, kind, value)
        st.rerun()


def _converse(logs: Sequence[Reference], asked: Sequence[Asked]) -> None:
    chat = chat_history.current(logs)
    turns = chat_answer.grouped(chat["turns"]) if chat else []
    again = chat_answer.show(turns)
    latest = st.container()
    if not asked:
        shared.empty(say("chat.no_model"), say("chat.no_model_help"))
        return
    wish = _question(logs)
    if again:
        wish = {"question": turns[-1][0]["question"], "turn": turns[-1][0]["turn"]}
    if wish := chat_preview.allowed(logs, asked, wish):
        with latest:
            _ask(logs, wish, asked)
    elif chat:
        chat_history.watch(chat)


def _question(logs: Sequence[Reference]) -> dict[str, Any] | None:
    """What a button or the free line asks, put to what the reader is looking at."""
    focus = chat_focus.get(logs)
    wish: dict[str, Any] = {}
    windows = chat_compare.windows()
    for column, (name, icon) in zip(st.columns(len(ICONS), vertical_alignment="center"), ICONS.items(), strict=True):
        kind = "windows" if name == "halves" and windows else name
        if column.button(say(f"chat.{kind}"), icon=icon, width="stretch", key=f"chat-{name}"):
            wish = {"question": say(f"chat.q_{kind}")} | (windows if kind == "windows" else {})
    if sentence := focus.sentence():
        row = st.container(horizontal=True, vertical_alignment="center")
        row.caption(say("chat.focused", focus=focus.title()))
        if row.button(say("look.clear"), icon=":material/close:", type="tertiary", key="chat-unfocus"):
            chat_focus.clear()
            st.rerun()
    if free := st.chat_input(say("chat.ask"), submit_mode="stop"):
        wish = {"question": free}
    if not wish:
        return None
    return {**wish, "question": f"{wish['question']} {sentence}".strip()}


def _ask(logs: Sequence[Reference], wish: dict[str, Any], asked: Sequence[Asked]) -> None:
    """Ask every chosen model, and draw the answers as they come; the API keeps what came, also of a stopped one."""
    wish = {"logs": list(logs), "chat": chat_history.begin(logs), **wish}
    with st.chat_message("user", avatar=chat_answer.USER):
        st.text(markup.clean(wish["question"]))
    with st.chat_message("assistant", avatar=chat_answer.ASSISTANT):
        columns = st.columns(len(asked))
        places = [(column.empty(), column.empty()) for column in columns]
        for side, each in enumerate(asked):
            if len(asked) > 1:
                columns[side].html(f"<b>{escape(markup.clean(each.name))}</b>")
            heard: dict[str, Any] = {}
            try:
                _stream({**wish, **each.wish, "side": side}, places[side], heard)
            except (InputError, JobError) as fault:
                if not heard:  # else it stands in the chat
                    st.session_state["chat-fault"] = str(fault)
            wish |= heard
    st.rerun()


def _stream(wish: dict[str, Any], place: tuple[Any, Any], heard: dict[str, Any]) -> None:
    """Draw one answer as it comes; `heard` gets the number of its turn."""
    note, text = place
    said, told, drawn = "", "", 0.0
    events = shared.api().ask(wish)
    # Closed whatever happens: a stop or a click elsewhere ends this script here, and closing ends the answer.
    with contextlib.closing(events):  # type: ignore[type-var]
        for name, data in events:
            if name == "conversation":
                heard["turn"] = data["turn"]
            elif name in ("status", "evidence"):
                told = f"{markup.label(data['text'])}…" if name == "status" else markup.left_out(data)
                note.caption(told)
            elif name == "waiting":
                # Only where something is drawn does Streamlit notice that the reader stopped the answer.
                text.html(markup.answer(said)) if said else note.caption(told)
            elif name == "reading":
                done = min(data["done"] / max(data["total"], 1), 1.0)
                text.progress(done, say("chat.reading", tokens=f"{data['total']:,}"))
            elif name == "text":
                said += data["text"]
                if time.monotonic() - drawn > DRAW_EVERY_S:
                    text.html(markup.answer(said))
                    drawn = time.monotonic()
