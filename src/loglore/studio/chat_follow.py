"""A growing log: its newest lines, the newest severe ones, and what the built-in analyst says of each batch."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import chat_log, markup, shared
from loglore.studio.client import Reference
from loglore.studio.words import language, say

FOLLOW_S = 3.0
KEPT_ALERTS = 20
KEY = "chat-followed"


def show(logs: Sequence[Reference]) -> None:
    """Draw it anew every few seconds, beside whatever else happens on the page."""
    st.fragment(lambda: _draw(logs), run_every=FOLLOW_S)()


def _draw(logs: Sequence[Reference]) -> None:
    with shared.errors_shown():
        kept = _look(logs)
        st.caption(say("follow.state", total=f"{kept['lines']:,}", fresh=f"{kept['fresh']:,}"))
        if kept["fresh"] and st.button(say("follow.refresh"), icon=":material/refresh:", key="chat-refresh"):
            st.session_state.pop(KEY)
            st.rerun()
        for name in kept["rotated"]:
            st.caption(say("follow.rotated", name=markup.label(name)))
        columns = st.columns(2)
        columns[0].caption(say("follow.recent"))
        columns[0].html(chat_log.line_list(kept["recent"]) or "–")
        columns[1].caption(say("follow.bad"))
        columns[1].html(chat_log.line_list(kept["bad"]) or "–")
        st.caption(say("follow.alerts"))
        st.html(
            "".join(_alert(each) for each in kept["alerts"]) or f'<p class="ll-note">{escape(say("follow.calm"))}</p>'
        )


def _look(logs: Sequence[Reference]) -> dict[str, Any]:
    """What is followed so far, with what came since the last look."""
    kept: dict[str, Any] | None = st.session_state.get(KEY)
    if kept is None or kept["logs"] != list(logs):
        kept = {"logs": list(logs), "cursor": None, "fresh": 0, "bad": [], "alerts": []}
    wish = {"logs": list(logs), "cursor": kept["cursor"], "language": language()}
    found = shared.api().post("/studio/logs/follow", wish)
    alerts = [each for each in found["alerts"] if each["cited"]]
    kept |= {"cursor": found["cursor"], "lines": found["lines"], "fresh": kept["fresh"] + found["new"]}
    kept["rotated"] = found["rotated"]
    kept["recent"] = found["recent"] or kept.get("recent", [])
    kept["bad"] = [*kept["bad"], *found["bad"]][-len(kept["recent"]) or None :]
    kept["alerts"] = [*reversed(alerts), *kept["alerts"]][:KEPT_ALERTS]
    st.session_state[KEY] = kept
    return kept


def _alert(alert: Mapping[str, Any]) -> str:
    """One batch's verdict: its risk, whether to wake somebody, what it rests on."""
    wakes = alert["should_alert_user"]
    head = say("follow.wake") if wakes else say("follow.watch")
    last = alert["first"] + alert["lines"] - 1
    place = f"{escape(markup.clean(alert['source']))} L{alert['first']}–L{last}"
    points = "".join(f"<li>{escape(markup.clean(each).replace('**', ''))}</li>" for each in alert["summary"])
    return (
        f'<div class="ll-alert{" wake" if wakes else ""}"><b>{escape(head)}</b> '
        f"{escape(say('follow.risk', score=alert['risk_score']))} · <span>{place}</span>"
        f"<ul>{points}</ul>{chat_log.line_list(alert['cited'])}</div>"
    )
