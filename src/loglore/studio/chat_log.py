"""What a log says before any model: facts, levels over time, templates; what the reader points at, and its lines."""

import datetime
from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import charts, markup, shared
from loglore.studio.client import Reference
from loglore.studio.words import say

FOLLOW_S = 3.0
BAD = ("fatal", "error")
SHOWN, RECENT = 50, 12


def show(logs: Sequence[Reference], follow: bool) -> str | None:
    """Draw it; returns what questions are to be about (as a sentence), None for all of the log."""
    if follow:
        _follow(logs)
    facts = shared.api().facts(logs)
    _figures(facts)
    span = None
    if facts["timeline"]:
        chart = charts.timeline(facts["timeline"]["rows"], facts["timeline"]["bucket_seconds"])
        chosen = st.altair_chart(
            chart, width="stretch", on_select="rerun", selection_mode=charts.SPAN, key="chat-timeline",
            alt=say("chat.timeline_alt"),
        )  # fmt: skip
        span = _span(chosen)
    _templates(facts)
    return _look(logs, facts, span)


def _figures(facts: dict[str, Any]) -> None:
    names = ", ".join(escape(markup.clean(each["source"])) for each in facts["sources"])
    parts = [f"<span><b>{names}</b></span>", f"<span><b>{facts['lines']:,}</b> {escape(say('chat.lines_word'))}</span>"]
    if facts["first"]:
        parts.append(f"<span>{facts['first']} – {facts['last']} UTC</span>")
    for level in charts.LEVELS:
        if level in facts["levels"]:
            bad = ' class="bad"' if level in BAD else ""
            parts.append(f"<span{bad}><b>{facts['levels'][level]:,}</b> {level}</span>")
    st.html(f'<div class="ll-facts">{"".join(parts)}</div>')


def _templates(facts: dict[str, Any]) -> None:
    counts = {"kinds": f"{facts['template_count']:,}", "rare": f"{facts['rare_count']:,}"}
    with st.expander(say("chat.kinds", **counts)):
        frequent = [each for each in facts["templates"] if each["count"] > 1]
        for title, chosen in (("chat.frequent", frequent), ("chat.once", facts["rare"])):
            rows = [
                [each["id"], f"{each['count']:,}", f"<code>{escape(markup.clean(each['text']))}</code>", _where(each)]
                for each in chosen
            ]
            if rows:
                head = ["", say("chat.lines_head"), say(title), say("chat.where_head")]
                st.html(markup.table(head, rows, numbers=[1]))


def _where(template: dict[str, Any]) -> str:
    first, last = template["first"], template["last"]
    return f'<span class="ll-nowrap">{f"L{first}" if first == last else f"L{first} – L{last}"}</span>'


def _span(chosen: Any) -> tuple[str, str] | None:
    """The span of time that is drawn on the chart, as ISO 8601."""
    found = (chosen or {}).get("selection", {}).get(charts.SPAN, {}).get("start")
    if not found:
        return None
    one, two = sorted(float(each) / 1000 for each in found)
    return _iso(one), _iso(two)


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _look(logs: Sequence[Reference], facts: dict[str, Any], span: tuple[str, str] | None) -> str | None:
    """The lines of a template or a span, and two parts of the log side by side."""
    known = {each["id"]: each for each in (*facts["templates"], *facts["rare"])}
    with st.expander(say("chat.look"), expanded=span is not None):
        columns = st.columns([3, 1], vertical_alignment="bottom")
        template = columns[0].selectbox(
            say("chat.template"), list(known), index=None, placeholder=say("chat.any_template"),
            format_func=lambda each: f"{each} · {markup.clean(known[each]['text'])[:90]}", key="chat-template",
        )  # fmt: skip
        focused = columns[1].checkbox(say("chat.focus"), key="chat-focus", disabled=not (template or span))
        if template or span:
            wish = {"logs": list(logs), "template": template, "limit": SHOWN}
            if span:
                wish |= {"since": span[0], "until": span[1]}
            found = shared.api().post("/studio/logs/lines", wish)
            st.caption(say("chat.shown_lines", shown=len(found["data"]), total=f"{found['total']:,}"))
            st.code(_lines(found["data"]), language=None, height=260)
        _windows(logs, span)
    if not focused:
        return None
    parts = [say("chat.about_template", text=known[template]["text"])] if template else []
    parts += [say("chat.about_span", first=span[0], last=span[1])] if span else []
    return " ".join(parts) or None


def _lines(rows: list[dict[str, Any]]) -> str:
    several = len({each["source"] for each in rows}) > 1
    return "\n".join(
        f"{each['source'] + ':' if several else ''}L{each['line']}  {markup.clean(each['text'])}" for each in rows
    )


def _windows(logs: Sequence[Reference], span: tuple[str, str] | None) -> None:
    """Counted differences between the time before and from the span's start on, or between the halves."""
    label = say("chat.compare_from", time=span[0]) if span else say("chat.compare_halves")
    if not st.checkbox(label, key="chat-windows", help=say("chat.compare_help")):
        return
    found = shared.api().post("/studio/logs/windows", {"logs": list(logs), "middle": span[0] if span else None})
    one, two = found["parts"]
    st.caption(say("chat.parts", one=f"{one['lines']:,}", two=f"{two['lines']:,}"))
    if not found["differences"]:
        st.caption(say("chat.no_differences"))
        return
    rows = [
        [
            each["template"],
            f"{each['before']:,}",
            f"{each['after']:,}",
            f"<code>{escape(markup.clean(each['text']))}</code>",
        ]
        for each in found["differences"]
    ]
    head = ["", say("chat.before"), say("chat.after"), say("chat.kind")]
    st.html(markup.table(head, rows, numbers=[1, 2]))


def _follow(logs: Sequence[Reference]) -> None:
    """The newest lines and the newest severe ones of a growing log, drawn anew every few seconds."""

    def draw() -> None:
        with shared.errors_shown():
            api = shared.api()
            wish = {"logs": list(logs), "last": True, "limit": RECENT}
            bad = api.post("/studio/logs/lines", {**wish, "levels": list(BAD)})
            recent = api.post("/studio/logs/lines", wish)
            columns = st.columns(2)
            columns[0].caption(say("chat.recent", total=f"{recent['total']:,}"))
            columns[0].code(_lines(recent["data"]), language=None, height=240)
            columns[1].caption(say("chat.alerts", total=f"{bad['total']:,}"))
            columns[1].code(_lines(bad["data"]) or "–", language=None, height=240)

    st.fragment(draw, run_every=FOLLOW_S)()
