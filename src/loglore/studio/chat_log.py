"""What a log says before any model: facts, levels over time, what begins when, templates, lines; no page without it."""

import datetime
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import charts, chat_compare, chat_focus, markup, shared
from loglore.studio.client import Reference
from loglore.studio.words import say

BAD = ("fatal", "error")
SHOWN = 60
VIEWS = ("begins", "frequent", "once", "lines", "compare")
PROGRESS_S = 0.7


def ready(logs: Sequence[Reference]) -> bool:
    """Whether the logs are read; while they are not, their progress is drawn, and the page comes back by itself."""
    state = shared.api().post("/studio/logs/reading", {"logs": list(logs)})
    if state["state"] == "reading":
        st.fragment(lambda: _progress(logs), run_every=PROGRESS_S)()
        return False
    return True


def _progress(logs: Sequence[Reference]) -> None:
    with shared.errors_shown():
        state = shared.api().post("/studio/logs/reading", {"logs": list(logs)})
        if state["state"] != "reading":
            st.rerun()
        share = min(state["done"] / max(state["total"], 1), 1.0)
        done, total = shared.size(state["done"]), shared.size(state["total"])
        st.progress(share, say("look.reading", done=done, total=total, share=f"{share:.0%}"))


def show(logs: Sequence[Reference]) -> dict[str, Any]:
    """Draw it, and keep what the reader points at (`chat_focus`); returns the facts."""
    facts = shared.api().facts(logs)
    _figures(facts)
    _timeline(logs, facts)
    _view(logs, facts)
    return facts


def clicked(logs: Sequence[Reference], facts: Mapping[str, Any], kind: str, value: str) -> None:
    """A template, or the beginning of one, was clicked."""
    known = {each["id"]: each for each in (*facts["begins"], *facts["templates"], *facts["rare"])}
    found = known.get(value)
    if found is None:
        return
    chat_focus.change(logs, template=value, text=found["text"])
    if kind == "begin" and isinstance(found.get("at"), str):
        chat_focus.change(logs, since=found["at"], until="")
    st.session_state["chat-view-go"] = "lines"


def _figures(facts: dict[str, Any]) -> None:
    names = ", ".join(escape(markup.clean(each["source"])) for each in facts["sources"][:6])
    more = facts["source_count"] - 6
    parts = [f"<span><b>{names}</b>{f' +{more}' if more > 0 else ''}</span>"]
    parts.append(f"<span><b>{facts['lines']:,}</b> {escape(say('chat.lines_word'))}</span>")
    parts.append(f"<span>{shared.size(facts['bytes'])}</span>")
    if facts["first"]:
        parts.append(f"<span>{facts['first']} – {facts['last']} UTC</span>")
    for level in charts.LEVELS:
        if level in facts["levels"]:
            bad = ' class="bad"' if level in BAD else ""
            parts.append(f"<span{bad}><b>{facts['levels'][level]:,}</b> {level}</span>")
    st.html(f'<div class="ll-facts">{"".join(parts)}</div>')
    for note in facts["notes"]:
        st.caption(markup.label(note, 300))


def _timeline(logs: Sequence[Reference], facts: Mapping[str, Any]) -> None:
    if not facts["timeline"]:
        st.caption(say("look.no_times"))
        return
    zoom = st.session_state.get("chat-zoom")
    timeline = facts["timeline"]
    if zoom and zoom[0] == list(logs):
        wish = {"logs": list(logs), "since": zoom[1], "until": zoom[2]}
        found = shared.api().post("/studio/logs/timeline", wish)
        timeline = found["timeline"] or timeline
    begins = [{**each, "text": markup.clean(each["text"])} for each in facts["begins"]]
    key = f"chat-timeline-{st.session_state.get('chat-drawn', 0)}"
    chosen = st.altair_chart(
        charts.timeline(timeline["rows"], timeline["bucket_seconds"], begins), width="stretch",
        on_select="rerun", selection_mode=charts.SPAN, key=key, alt=say("chat.timeline_alt"),
    )  # fmt: skip
    span = _span(chosen)
    if span and st.session_state.get("chat-span") != span:
        chat_focus.change(logs, since=span[0], until=span[1])
        st.session_state["chat-view-go"] = "lines"
    st.session_state["chat-span"] = span
    _span_controls(logs)


def _span_controls(logs: Sequence[Reference]) -> None:
    """Zoom, and the same span by keyboard."""
    focus = chat_focus.get(logs)
    zoomed = bool(st.session_state.get("chat-zoom"))
    row = st.container(horizontal=True, vertical_alignment="center")
    row.caption(say("look.chart_help"))
    if (focus.since and focus.until) and row.button(say("look.zoom"), icon=":material/zoom_in:", key="chat-zoom-in"):
        st.session_state["chat-zoom"] = (list(logs), focus.since, focus.until)
        st.rerun()
    if zoomed and row.button(say("look.whole"), icon=":material/zoom_out_map:", key="chat-zoom-out"):
        st.session_state.pop("chat-zoom")
        st.rerun()
    with row.popover(say("look.span"), icon=":material/schedule:"), st.form("chat-span-form", border=False):
        since = st.text_input(say("look.since"), focus.since, placeholder="10:00", key="chat-since")
        until = st.text_input(say("look.until"), focus.until, placeholder="10:05", key="chat-until")
        if st.form_submit_button(say("look.use")):
            chat_focus.change(logs, since=since.strip(), until=until.strip())
            st.session_state["chat-view-go"] = "lines"
            st.rerun()


def _span(chosen: Any) -> tuple[str, str] | None:
    """The span of time that is drawn on the chart, as ISO 8601."""
    found = (chosen or {}).get("selection", {}).get(charts.SPAN, {}).get("start")
    if not found:
        return None
    one, two = sorted(float(each) / 1000 for each in found)
    return _iso(one), _iso(two)


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _view(logs: Sequence[Reference], facts: Mapping[str, Any]) -> None:
    counts = {
        "begins": len(facts["begins"]), "frequent": facts["template_count"], "once": facts["rare_count"]
    }  # fmt: skip
    if (wanted := st.session_state.pop("chat-view-go", None)) is not None:
        st.session_state["chat-view"] = wanted
    view = st.segmented_control(
        say("look.views"), VIEWS, key="chat-view", required=True, label_visibility="collapsed",
        default=None if "chat-view" in st.session_state else ("begins" if facts["begins"] else "frequent"),
        format_func=lambda name: say(f"look.view_{name}") + (f" ({counts[name]:,})" if name in counts else ""),
    )  # fmt: skip
    if view == "begins":
        _begins(facts["begins"])
    elif view == "frequent":
        _templates([each for each in facts["templates"] if each["count"] > 1] or facts["templates"])
    elif view == "once":
        _templates(facts["rare"])
    elif view == "compare":
        chat_compare.show(logs)
    else:
        _lines(logs)


def _begins(begins: Sequence[Mapping[str, Any]]) -> None:
    if not begins:
        st.caption(say("look.no_begins"))
        return
    rows = [
        [
            f'<span class="ll-nowrap">{escape(_place(each["at"]))}</span>',
            f"{each['lines']:,}",
            escape(_usual(each["usual"])),
            markup.button("begin", each["id"], _template(each), say("look.click")),
        ]
        for each in begins
    ]
    head = [say("look.when"), say("chat.lines_head"), say("look.before"), say("look.kind")]
    st.html(markup.table(head, rows, numbers=[1]))


def _usual(usual: float | None) -> str:
    """How much of a template there was before."""
    if usual is None:
        return say("look.new_kind")
    return say("look.usual", count=f"{usual:g}") if usual else say("look.rarely")


def _templates(templates: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        [
            f"{each['count']:,}",
            markup.button("template", each["id"], _template(each), say("look.click")),
            f'<span class="ll-nowrap">{_where(each)}</span>',
        ]
        for each in templates
    ]
    if rows:
        st.html(markup.table([say("chat.lines_head"), say("look.kind"), say("chat.where_head")], rows, numbers=[0]))
    else:
        st.caption(say("look.none"))


def _template(template: Mapping[str, Any]) -> str:
    return f"<b>{escape(template['id'])}</b> <code>{escape(markup.clean(template['text']))}</code>"


def _where(template: Mapping[str, Any]) -> str:
    first, last = template["first"], template["last"]
    return f"L{first}" if first == last else f"L{first} – L{last}"


def _place(at: str | int) -> str:
    return say("look.from_line", line=f"{at + 1:,}") if isinstance(at, int) else at.replace("T", " ")[:19]


def _lines(logs: Sequence[Reference]) -> None:
    """Lines of what is pointed at, or of the whole log, that a search finds."""
    focus = chat_focus.get(logs)
    columns = st.columns([4, 1], vertical_alignment="bottom")
    text = columns[0].text_input(say("look.search"), placeholder=say("look.search_help"), key="chat-search")
    last = columns[1].toggle(say("look.last"), key="chat-last")
    wish = {"logs": list(logs), **focus.wish, "text": text, "last": last, "limit": SHOWN}
    with shared.errors_shown():
        found = shared.api().post("/studio/logs/lines", wish)
        st.caption(say("chat.shown_lines", shown=len(found["data"]), total=f"{found['total']:,}"))
        st.html(line_list(found["data"]))


def line_list(rows: Sequence[Mapping[str, Any]], marked: int | None = None) -> str:
    """Lines as HTML, each a button that shows what stands around it; `marked` stands out."""
    several = len({each["source"] for each in rows}) > 1
    made = []
    for each in rows:
        place = f"{each['source']}:L{each['line']}" if several else f"L{each['line']}"
        level = f" {each['level']}" if each.get("level") in charts.LEVELS else ""
        here = " marked" if each["line"] == marked else ""
        text = f'<span class="line">{escape(markup.clean(place))}</span> {escape(markup.clean(each["text"]))}'
        button = markup.button("line", f"{each['line']} {each['source']}", text, say("verdict.context"))
        made.append(f'<div class="ll-logline{level}{here}">{button}</div>')
    return f'<div class="ll-lines" tabindex="0">{"".join(made)}</div>' if made else ""
