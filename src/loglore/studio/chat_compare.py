"""Two parts of a log side by side, counted without a model: the halves, or two free windows of time."""

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import chat_focus, markup, shared
from loglore.studio.client import Reference
from loglore.studio.words import say

# Each window with the words for its two ends.
WINDOWS = {"before": ("before_since", "before_until"), "after": ("after_since", "after_until")}


def windows() -> dict[str, str]:
    """The two windows as requests have them; empty for the halves."""
    found = {}
    for name in WINDOWS:
        since, until = (st.session_state.get(f"chat-{name}-{end}", "").strip() for end in ("since", "until"))
        if since and until:
            found[name] = f"{since}..{until}"
    return found if len(found) == len(WINDOWS) else {}


def show(logs: Sequence[Reference]) -> None:
    """The two windows, and what differs between them."""
    focus = chat_focus.get(logs)
    for column, (name, (first, last)) in zip(st.columns(2), WINDOWS.items(), strict=True):
        with column:
            if (
                focus.since
                and focus.until
                and st.button(say("look.use_span"), key=f"chat-{name}-take", icon=":material/south:")
            ):
                st.session_state[f"chat-{name}-since"], st.session_state[f"chat-{name}-until"] = (
                    focus.since,
                    focus.until,
                )
            ends = st.columns(2)
            ends[0].text_input(say(f"look.{first}"), placeholder="10:00", key=f"chat-{name}-since")
            ends[1].text_input(say(f"look.{last}"), placeholder="10:05", key=f"chat-{name}-until")
    chosen = windows()
    if not chosen:
        st.caption(say("look.halves"))
    with shared.errors_shown():
        _differences(shared.api().post("/studio/logs/windows", {"logs": list(logs), **chosen}))


def _differences(found: dict[str, Any]) -> None:
    one, two = found["parts"]
    st.caption(say("chat.parts", one=f"{one['lines']:,}", two=f"{two['lines']:,}"))
    if not found["differences"]:
        st.caption(say("chat.no_differences"))
        return
    rows = [
        [
            f"{each['before']:,}",
            f"{each['after']:,}",
            f"<b>{escape(each['template'])}</b> <code>{escape(markup.clean(each['text']))}</code>",
        ]
        for each in found["differences"]
    ]
    st.html(markup.table([say("chat.before"), say("chat.after"), say("look.kind")], rows, numbers=[0, 1]))
