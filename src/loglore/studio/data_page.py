"""The Data Hub: datasets with their rows and tokens; take one in, have one written by a teacher, buckets on S3."""

import json
from html import escape
from typing import Any

import altair as alt
import polars as pl
import streamlit as st

from loglore.studio import charts, markup, shared
from loglore.studio.words import say

FORMATS = ("corpus", "alpaca", "sharegpt", "sharegpt-dpo", "nlplog", "openai-chat")
VIEWS = ("list", "add", "generate", "connections")
PREVIEW = 5
MOST = 100


def show() -> None:
    """Draw the page; `?dataset=NAME@N` and `?view=…` in the address choose what it opens with."""
    st.title(say("data.title"))
    with shared.errors_shown():
        view = shared.view(say("data.views"), VIEWS, "data")
        {"list": _list, "add": _add, "generate": _generate, "connections": _connections}[view]()


def _list() -> None:
    found = shared.api().get("/studio/datasets", limit=MOST)["data"]
    if not found:
        shared.empty(say("data.none"), say("data.none_help"))
        return
    columns = st.columns([3, 1])
    text = columns[0].text_input(say("data.filter"), key="data-filter", placeholder=say("data.filter_help"))
    formats = sorted({each["format"] for each in found})
    kind = columns[1].selectbox(say("data.format"), formats, index=None, placeholder=say("common.all"), key="data-kind")
    wanted = text.strip().lower()
    kept = [
        each
        for each in found
        if (wanted in each["id"] or any(wanted in tag for tag in each["tags"])) and kind in (None, each["format"])
    ]
    if not kept:
        st.caption(say("common.no_match"))
        return
    head = [say(f"data.{name}") for name in ("name", "format", "rows", "size", "origin", "licence", "created")]
    st.html(markup.table(head, [_row(each) for each in kept], numbers=[2, 3]))
    name = shared.chosen(say("data.open"), [each["id"] for each in kept], "dataset", any_of=True)
    if name:
        _one(next(each for each in kept if each["id"] == name))


def _row(each: dict[str, Any]) -> list[str]:
    tags = "".join(f' <span class="ll-tag">{escape(tag)}</span>' for tag in each["tags"])
    origin = each.get("origin") or {}
    told = ", ".join(f"{name} {value}" for name, value in origin.items() if isinstance(value, (str, int)))
    return [
        f"<b>{escape(each['id'])}</b>{tags}",
        escape(each["format"]),
        f"{each['rows']:,}",
        shared.size(each["bytes"]),
        f"<code>{escape(markup.clean(told))}</code>" if told else "",
        escape(each.get("licence") or "–"),
        shared.moment(each["created_at"]),
    ]


def _one(found: dict[str, Any]) -> None:
    name = found["id"]
    st.subheader(name)
    rows, check, tokens, lineage = st.tabs([say(f"data.tab_{each}") for each in ("rows", "check", "tokens", "lineage")])
    with rows:
        _preview(found)
    with check:
        if st.button(say("data.check"), key=f"check-{name}"):
            st.session_state["checked"] = name, shared.api().post("/studio/looks/check", {"rows": f"dataset:{name}"})
        _kept_report("checked", name, report)
    with tokens:
        _tokens(f"dataset:{name}", name)
    with lineage:
        st.html(markup.lineage(shared.api().get(f"/studio/lineage/dataset/{name}"), say("data.lineage_alt")))
    with st.popover(say("data.delete")):
        st.markdown(say("data.delete_sure"))
        if st.button(say("common.delete_now"), key=f"delete-{name}", type="primary"):
            shared.api().delete(f"/studio/datasets/{name}")
            st.rerun()


def _preview(found: dict[str, Any]) -> None:
    pages = max(1, -(-int(found["rows"]) // PREVIEW))
    number = st.number_input(say("data.page", pages=pages), 1, pages, 1, key=f"rows-{found['id']}")
    first = (int(number) - 1) * PREVIEW + 1
    for row in shared.api().get(f"/studio/datasets/{found['id']}/rows", first=first, limit=PREVIEW)["data"]:
        st.caption(say("data.row", row=row["row"]))
        st.html(_shown(row["value"]))


def _shown(row: dict[str, Any]) -> str:
    """A row as a conversation where it is one, else field by field."""
    turns = row.get("messages") or row.get("conversations")
    if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns):
        cells = [
            (str(turn.get("role") or turn.get("from") or ""), str(turn.get("content") or turn.get("value") or ""))
            for turn in turns
        ]
    else:
        cells = [
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1))
            for name, value in row.items()
            if name != "meta"
        ]
    lines = [f"<dt>{escape(name)}</dt><dd>{escape(markup.clean(text))}</dd>" for name, text in cells]
    return f'<dl class="ll-row">{"".join(lines)}</dl>'


def _kept_report(key: str, name: str, draw: Any) -> None:
    """What was found out about `name` before, if it was the last thing looked at."""
    about, found = st.session_state.get(key, (None, None))
    if about == name:
        draw(found)


def report(found: dict[str, Any]) -> None:
    """The report of a check: what is wrong, by kind, with its first rows."""
    shared.figures(
        [
            (say("data.rows"), f"{found['rows']:,}"),
            (say("data.faulty"), f"{found['faulty']:,}"),
            (say("data.format"), ", ".join(found["formats"]) or "–"),
        ]
    )
    if not found["problems"]:
        st.success(say("data.clean"), icon=":material/check:")
        return
    rows = []
    for each in found["problems"]:
        examples = "; ".join(f"{one['row']}: {one['message']}" for one in each["examples"][:3])
        sign = "✗" if each["severity"] == "error" else "!"
        kind = f'<span class="ll-state {each["severity"]}">{sign} {escape(each["kind"])}</span>'
        rows.append([kind, f"{each['count']:,}", escape(markup.clean(examples))])
    st.html(markup.table([say("data.problem"), say("data.count"), say("data.examples")], rows, numbers=[1]))


def _tokens(rows: str, name: str) -> None:
    models = [each["id"] for each in shared.api().models() if not each.get("session")]
    if not models:
        st.caption(say("data.tokens_need_model"))
        return
    model = st.selectbox(say("data.tokenizer"), models, key=f"tokenizer-{name}")
    if st.button(say("data.count_tokens"), key=f"tokens-{name}"):
        with st.spinner(say("data.counting")):
            wish = {"rows": rows, "model": model}
            st.session_state["counted"] = name, shared.api().post("/studio/looks/tokens", wish)
    _kept_report("counted", name, histogram)


def histogram(found: dict[str, Any]) -> None:
    """Lengths in tokens."""
    shared.figures(
        [
            (say("data.samples"), f"{found['rows']:,}"),
            (say("data.tokens"), f"{found['tokens']:,}"),
            (say("data.median"), f"{found['quantiles']['50%']:,}"),
            (say("data.longest"), f"{found['longest']:,}"),
            (say("data.fill"), f"{found['packed']['fill']:.1%}"),
        ]
    )
    edges = found["edges"]
    bars = [
        {"start": start, "end": end, "rows": count}
        for start, end, count in zip(edges, edges[1:], found["counts"], strict=False)
    ]
    chart = (
        alt.Chart(pl.DataFrame(bars))
        .mark_bar(color=charts.SERIES[0])
        .encode(
            x=alt.X("start:Q", title=say("data.tokens"), axis=alt.Axis(grid=False)),
            x2="end:Q",
            y=alt.Y("rows:Q", title=say("data.rows"), axis=alt.Axis(tickMinStep=1)),
            tooltip=["start:Q", "end:Q", "rows:Q"],
        )
        .properties(height=220)
    )
    st.altair_chart(chart, width="stretch", alt=say("data.histogram_alt"))


def _add() -> None:
    st.markdown(say("data.add_help"))
    file = st.file_uploader(
        say("data.file"),
        type=["json", "jsonl", "csv", "parquet", "txt", "zip", "gz"],
        help=say("data.file_help"),
        key="data-file",
    )
    if file is None:
        return
    sent: dict[str, Any] = st.session_state.setdefault("data-sent", {})
    if file.file_id not in sent:
        with st.spinner(say("common.sending", name=file.name)):
            stored = shared.api().upload(file.name, file.size, file, "fine-tune")["file"]
            sent[file.file_id] = stored, shared.api().post("/studio/looks/check", {"rows": stored})
    stored, checked = sent[file.file_id]
    report(checked)
    stem = "".join(each if each.isalnum() or each in "._-" else "-" for each in file.name.partition(".")[0].lower())
    with st.form("data-add"):
        name = st.text_input(say("data.name"), stem.strip("-._")[:64] or "dataset")
        kind = st.selectbox(say("data.format"), FORMATS, index=None, placeholder=say("data.detected"))
        licence = st.text_input(say("data.licence"))
        if st.form_submit_button(say("data.add"), type="primary"):
            body = {"name": name, "file": stored, "format": kind, "licence": licence}
            made = shared.api().post("/studio/datasets", body)
            st.session_state["go-view-data"] = "list"
            shared.go("dataset", made["id"])


def _generate() -> None:
    st.markdown(say("data.generate_help"))
    listed = shared.api().logs()
    stored = shared.api().get("/files", purpose="user_data", limit=MOST)["data"]
    names = {f"log:{each['path']}": each["path"] for each in listed["data"]}
    names |= {each["id"]: f"{each['filename']} ({each['id'][-6:]})" for each in stored}
    if not names:
        shared.empty(say("data.no_logs"), say("data.no_logs_help", folder=escape(listed["root"])))
        return
    with st.form("data-generate"):
        logs = st.multiselect(say("data.logs"), list(names), format_func=lambda each: names[each])
        task = st.radio(say("data.task"), ("chat", "nlplog"), format_func=lambda each: say(f"data.task_{each}"))
        url = st.text_input(say("data.teacher_url"), help=say("data.teacher_help"))
        model = st.text_input(say("data.teacher_model"))
        name = st.text_input(say("data.name"), "generated")
        if st.form_submit_button(say("data.generate"), type="primary"):
            teacher: Any = [{"url": url, "model": model}] if url.strip() else "analyst"
            body = {"task": task, "logs": logs, "teacher": teacher, "publish": name, "name": name}
            made = shared.api().post("/studio/synthesis", body)
            st.success(say("data.queued", job=made["id"]), icon=":material/check:")


def _connections() -> None:
    found = shared.api().get("/studio/connections")["data"]
    if found:
        rows = [
            [f"<b>{escape(each['name'])}</b>", *(escape(str(each.get(name) or "–")) for name in _PLACE)]
            for each in found
        ]
        head = [say(f"data.{name}") for name in ("name", *_PLACE)]
        st.html(markup.table(head, rows))
        gone = st.selectbox(say("data.remove"), [each["name"] for each in found], index=None, key="data-gone")
        if gone and st.button(say("common.delete_now")):
            shared.api().delete(f"/studio/connections/{gone}")
            st.rerun()
    else:
        shared.empty(say("data.no_connections"), say("data.no_connections_help"))
    with st.form("data-connect", clear_on_submit=True):
        values = {name: st.text_input(say(f"data.{name}")) for name in ("name", *_PLACE)}
        secret = st.text_input(say("data.secret"), type="password", help=say("data.secret_help"))
        if st.form_submit_button(say("data.connect"), type="primary"):
            shared.api().post("/studio/connections", {**{k: v for k, v in values.items() if v}, "secret": secret})
            st.rerun()


_PLACE = ("bucket", "endpoint", "region", "key_id")
