"""Rows taken into the Data Hub: a file that is uploaded and checked, or what lies in a bucket on S3."""

from html import escape
from typing import Any

import streamlit as st

from loglore.studio import markup, shared
from loglore.studio.words import say

FORMATS = ("corpus", "alpaca", "sharegpt", "sharegpt-dpo", "nlplog", "openai-chat")
ENDINGS = ("json", "jsonl", "csv", "parquet", "txt", "zip", "gz")
LONGEST_NAME = 64


def add() -> None:
    """Draw the upload of a file, its report, and the form that adds it."""
    st.markdown(say("data.add_help"))
    file = st.file_uploader(say("data.file"), type=list(ENDINGS), help=say("data.file_help"), key="data-file")
    if file is None:
        return
    sent: dict[str, Any] = st.session_state.setdefault("data-sent", {})
    if file.file_id not in sent:
        with st.spinner(say("common.sending", name=file.name)):
            stored = shared.api().upload(file.name, file.size, file, "fine-tune")["file"]
            sent[file.file_id] = stored, shared.api().post("/studio/looks/check", {"rows": stored})
    stored, checked = sent[file.file_id]
    report(checked)
    name_and_add(file.name, {"file": stored})


def name_and_add(path: str, source: dict[str, str]) -> None:
    """The form that makes a dataset of a source of the API: a stored `file`, or a `connection` and a `path`."""
    stem = path.rstrip("/").rpartition("/")[2].partition(".")[0].lower()
    stem = "".join(each if each.isalnum() or each in "._-" else "-" for each in stem)
    with st.form(f"data-add-{path}"):
        columns = st.columns(3)
        name = columns[0].text_input(say("data.name"), stem.strip("-._")[:LONGEST_NAME] or "dataset")
        kind = columns[1].selectbox(say("data.format"), FORMATS, index=None, placeholder=say("data.detected"))
        licence = columns[2].text_input(say("data.licence"))
        if st.form_submit_button(say("data.add"), type="primary"):
            with st.spinner(say("data.adding")):
                made = shared.api().post(
                    "/studio/datasets", {"name": name, "format": kind, "licence": licence, **source}
                )
            st.session_state["go-view-data"] = "list"
            shared.go("dataset", made["id"])


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
