"""Chats as the API keeps them: the one that is open, and earlier ones about the same log; the address names it."""

import datetime
from collections.abc import Sequence
from typing import Any

import streamlit as st

from loglore.errors import InputError
from loglore.studio import chat_focus, chat_source, markup, shared
from loglore.studio.client import Reference
from loglore.studio.words import say

KEY = "chat-id"
LISTED = 12
WATCH_S = 4.0


def arrive() -> None:
    """Take what the address names (`?chat=…`, `?log=…`) when a visitor comes."""
    if "chat-arrived" in st.session_state:
        return
    st.session_state["chat-arrived"] = True
    if chat := st.query_params.get("chat"):
        try:
            _open(shared.api().get(f"/studio/chats/{chat}"))
        except InputError as fault:
            st.query_params.clear()
            shared.show_fault(fault)
    elif paths := st.query_params.get_all("log"):
        chat_source.hold([{"path": path} for path in paths])


def current(logs: Sequence[Reference]) -> dict[str, Any] | None:
    """The open chat about these logs with its turns; None when nothing was asked yet."""
    kept = st.session_state.get(KEY)
    if kept is None or kept[1] != list(logs):
        _address(logs, None)
        return None
    try:
        found = shared.api().get(f"/studio/chats/{kept[0]}")
    except InputError:  # deleted in another tab
        leave()
        return None
    _address(logs, kept[0])
    return found


def begin(logs: Sequence[Reference]) -> str:
    """Id of the open chat about these logs, which begins where there is none."""
    kept = st.session_state.get(KEY)
    if kept is None or kept[1] != list(logs):
        made = shared.api().post("/studio/chats", {"logs": list(logs)})
        kept = (made["id"], list(logs))
        st.session_state[KEY] = kept
    return str(kept[0])


def leave() -> None:
    """The next question begins a new chat."""
    st.session_state.pop(KEY, None)
    chat_focus.clear()


def show(logs: Sequence[Reference]) -> None:
    """Earlier chats: about these logs, or about any while none is chosen."""
    listed = shared.api().get("/studio/chats", limit=100)["data"]
    chosen = [each for each in listed if not logs or each["logs"] == list(logs)][:LISTED]
    if not chosen:
        return
    with st.expander(say("chats.earlier", count=len(chosen)), expanded=not logs):
        for each in chosen:
            when = datetime.datetime.fromtimestamp(each["changed_at"], datetime.UTC).strftime("%m-%d %H:%M")
            text = f"{markup.label(when)} · {markup.label(each['title'], 60)}"
            key = f"chat-open-{each['id']}"
            st.button(text, key=key, type="tertiary", width="stretch", on_click=_open, args=(each,))


def watch(chat: dict[str, Any]) -> None:
    """Draw the page anew when the chat changed elsewhere: in another tab, or when its answer has ended."""

    def look() -> None:
        with shared.errors_shown():
            now = shared.api().get(f"/studio/chats/{chat['id']}", turns="false")
            if now["changed_at"] != chat["changed_at"]:
                st.rerun()

    st.fragment(look, run_every=WATCH_S)()


def _open(chat: dict[str, Any]) -> None:
    chat_source.hold(chat["logs"])
    st.session_state[KEY] = (chat["id"], chat["logs"])
    chat_focus.clear()


def _address(logs: Sequence[Reference], chat: str | None) -> None:
    """The address of what is shown, so that a reload or a second tab shows it again."""
    paths = [each["path"] for each in logs if "path" in each]
    if chat is not None:
        if st.query_params.get("chat") != chat:
            st.query_params.pop("log", None)
            st.query_params["chat"] = chat
        return
    st.query_params.pop("chat", None)
    if st.query_params.get_all("log") != paths:
        st.query_params["log"] = paths
