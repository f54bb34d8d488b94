"""The Data Hub: datasets with their rows and tokens; take one in, have one written by a teacher, buckets on S3."""

import json
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import charts, data_adding, data_connections, data_generating, markup, shared
from loglore.studio.words import say

VIEWS = ("list", "add", "generate", "connections")
PREVIEW = 5
SHOWN = 50  # of a table; all can be filtered and chosen


def show() -> None:
    """Draw the page; `?dataset=NAME@N` and `?view=…` in the address choose what it opens with."""
    st.title(say("data.title"))
    with shared.errors_shown():
        view = shared.view(say("data.views"), VIEWS, "data")
        shows = {"list": _list, "add": data_adding.add, "generate": data_generating.show,
                 "connections": data_connections.show}  # fmt: skip
        shows[view]()


def _list() -> None:
    found = shared.api().every("/studio/datasets")
    shared.follow("/studio/datasets", found[0]["id"] if found else None)
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
        if (wanted in each["id"].lower() or any(wanted in tag.lower() for tag in each["tags"]))
        and kind in (None, each["format"])
    ]
    if not kept:
        st.caption(say("common.no_match"))
        return
    head = [say(f"data.{name}") for name in ("name", "format", "rows", "size", "origin", "licence", "created")]
    st.html(markup.table(head, [_row(each) for each in kept[:SHOWN]], numbers=[2, 3]))
    if len(kept) > SHOWN:
        st.caption(say("common.first_shown", shown=f"{SHOWN}", total=f"{len(kept):,}"))
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
    st.header(name)
    rows, check, tokens, lineage = st.tabs([say(f"data.tab_{each}") for each in ("rows", "check", "tokens", "lineage")])
    with rows:
        _preview(found)
    with check:
        if st.button(say("data.check"), key=f"check-{name}"):
            st.session_state["checked"] = name, shared.api().post("/studio/looks/check", {"rows": f"dataset:{name}"})
        _kept_report("checked", name, data_adding.report)
    with tokens:
        _tokens(f"dataset:{name}", name)
    with lineage:
        st.html(markup.lineage(shared.api().get(f"/studio/lineage/dataset/{name}"), say("data.lineage_alt")))
    with st.popover(say("data.delete")):
        st.markdown(say("data.delete_sure"))
        if st.button(say("common.delete_now"), key=f"delete-{name}", type="primary"):
            shared.api().delete(f"/studio/datasets/{name}")
            st.query_params.pop("dataset", None)
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
    return markup.turns(cells)


def _kept_report(key: str, name: str, draw: Any) -> None:
    """What was found out about `name` before, if it was the last thing looked at."""
    about, found = st.session_state.get(key, (None, None))
    if about == name:
        draw(found)


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
    chart = charts.histogram(found["edges"], found["counts"], say("data.tokens"), say("data.rows"))
    st.altair_chart(chart, width="stretch", alt=say("data.histogram_alt"))
