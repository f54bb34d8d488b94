"""Buckets on S3: keep a connection, look into its bucket, take rows from there into the hub."""

from html import escape
from typing import Any

import streamlit as st

from loglore.studio import data_adding, markup, shared
from loglore.studio.words import say

PLACE = ("bucket", "endpoint", "region", "key_id")
MOST = 1000
SHOWN = 100


def show() -> None:
    """Draw the connections, what is in one of them, and the form for a new one."""
    found = shared.api().get("/studio/connections")["data"]
    if found:
        rows = [
            [f"<b>{escape(each['name'])}</b>", *(escape(str(each.get(name) or "–")) for name in PLACE)]
            for each in found
        ]
        st.html(markup.table([say(f"data.{name}") for name in ("name", *PLACE)], rows))
        name = shared.chosen(say("data.look_into"), [each["name"] for each in found], "connection", any_of=True)
        if name:
            _one(name)
    else:
        shared.empty(say("data.no_connections"), say("data.no_connections_help"))
    with st.expander(say("data.new_connection"), expanded=not found), st.form("data-connect", clear_on_submit=True):
        columns = st.columns(3)
        hints = {"endpoint": say("data.amazon")}
        values = {
            name: columns[place % 3].text_input(say(f"data.{name}"), placeholder=hints.get(name))
            for place, name in enumerate(("name", *PLACE))
        }
        secret = columns[2].text_input(say("data.secret"), type="password", help=say("data.secret_help"))
        if st.form_submit_button(say("data.connect"), type="primary"):
            shared.api().post("/studio/connections", {**{k: v for k, v in values.items() if v}, "secret": secret})
            st.rerun()


def _one(name: str) -> None:
    columns = st.columns([4, 1], vertical_alignment="bottom")
    prefix = columns[0].text_input(say("data.prefix"), key=f"prefix-{name}", placeholder="rows/2026/").strip()
    with columns[1].popover(say("data.remove"), width="stretch"):
        st.markdown(say("data.remove_sure"))
        if st.button(say("common.delete_now"), key=f"gone-{name}", type="primary"):
            shared.api().delete(f"/studio/connections/{name}")
            st.rerun()
    with shared.errors_shown():
        objects = shared.api().get(f"/studio/connections/{name}/objects", prefix=prefix, limit=MOST)["data"]
        if not objects:
            st.caption(say("common.no_match"))
            return
        _objects(objects)
        path = st.selectbox(
            say("data.object"), [each["name"] for each in objects], index=None, key=f"object-{name}",
            placeholder=say("data.object_help"),
        )  # fmt: skip
        if path:
            data_adding.name_and_add(path, {"connection": name, "path": path})


def _objects(objects: list[dict[str, Any]]) -> None:
    rows = [[f"<code>{escape(markup.clean(each['name']))}</code>", shared.size(each["bytes"])] for each in objects]
    st.html(markup.table([say("data.object"), say("data.size")], rows[:SHOWN], numbers=[1]))
    if len(rows) > SHOWN:
        total = f"{len(rows):,}" + ("+" if len(rows) == MOST else "")
        st.caption(say("common.first_shown", shown=f"{SHOWN}", total=total))
