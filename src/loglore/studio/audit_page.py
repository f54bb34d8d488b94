"""Audit: who did what to what, and when; the newest first."""

from html import escape
from typing import Any

import streamlit as st

from loglore.studio import markup, shared
from loglore.studio.words import say

PAGE = 50


def show() -> None:
    """Draw the page; `?target=…` in the address shows one thing's history."""
    st.title(say("audit.title"))
    with shared.errors_shown():
        if "audit-target" not in st.session_state and "target" in st.query_params:
            st.session_state["audit-target"] = st.query_params["target"]
        target = st.text_input(say("audit.target"), key="audit-target", placeholder="ftjob-…, tiny@1").strip()
        if st.session_state.get("audit-of") != target:  # another list begins at its newest entry
            st.session_state.pop("audit-before", None)
            st.session_state["audit-of"] = target
        before = st.session_state.get("audit-before")
        found = shared.api().get("/studio/audit", limit=PAGE, target=target or None, before=before)
        if before is None and not target:
            shared.follow("/studio/audit", found["data"][0]["number"] if found["data"] else None, "number")
        if not found["data"]:
            shared.empty(say("audit.none"), say("audit.none_help"))
        else:
            head = [say(f"audit.{name}") for name in ("when", "actor", "action", "thing", "detail")]
            rows = [
                [shared.moment(each["time"]), escape(each["actor"]), escape(each["action"]),
                 f"<code>{escape(markup.clean(each['target']))}</code>",
                 escape(markup.clean(", ".join(f"{name} {_plain(value)}" for name, value in each["detail"].items())))]
                for each in found["data"]
            ]  # fmt: skip
            st.html(markup.table(head, rows))
        columns = st.columns([1, 1, 4])
        if columns[0].button(say("audit.newest"), disabled=before is None):
            st.session_state.pop("audit-before", None)
            st.rerun()
        if columns[1].button(say("audit.older"), disabled=not found["has_more"]):
            st.session_state["audit-before"] = found["data"][-1]["number"]
            st.rerun()


def _plain(value: Any) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)
