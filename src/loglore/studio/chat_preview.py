"""Before a line of a log leaves this machine: what would be sent, redacted, and what was replaced in it."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from loglore.studio import markup, shared
from loglore.studio.chat_source import Asked
from loglore.studio.client import Reference
from loglore.studio.words import say

ALLOWED, WAITING = "chat-allowed", "chat-waiting"
SENDS = ("logs", "question", "before", "after")


def allowed(logs: Sequence[Reference], asked: Sequence[Asked], wish: dict[str, Any] | None) -> dict[str, Any] | None:
    """The question, when all of its models may be sent to; else it waits until it was seen what would leave."""
    if wish is not None:
        st.session_state[WAITING] = wish
    waiting: dict[str, Any] | None = st.session_state.get(WAITING)
    if waiting is None:
        return None
    known: set[str] = st.session_state.setdefault(ALLOWED, set())
    for each in asked:
        if each.leaves is not None and each.leaves not in known:
            _show(logs, each, waiting, known)
            return None
    st.session_state.pop(WAITING)
    return waiting


def _show(logs: Sequence[Reference], asked: Asked, wish: dict[str, Any], known: set[str]) -> None:
    host = markup.label(str(asked.leaves))
    with st.container(border=True, key="chat-preview"):
        st.markdown(f"**{say('preview.title', host=host)}**")
        with shared.errors_shown():
            body = {"logs": list(logs), **asked.wish, **{name: wish[name] for name in SENDS if name in wish}}
            found = shared.api().post("/studio/ask/preview", body)
            kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(found["replaced"].items()))
            st.caption(say("preview.replaced", kinds=kinds or say("preview.nothing")))
            st.caption(markup.left_out(found["evidence"]))
            sent = "\n\n".join(each["content"] for each in found["messages"])
            st.code(markup.clean(sent), language=None, height=260, wrap_lines=True)
            st.caption(say("preview.limits"))
        row = st.container(horizontal=True)
        if row.button(say("preview.send", host=host), type="primary", key="chat-preview-send"):
            known.add(str(asked.leaves))
            st.rerun()
        if row.button(say("preview.keep"), key="chat-preview-keep"):
            st.session_state.pop(WAITING)
            st.rerun()
