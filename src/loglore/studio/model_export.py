"""Export of a model version: the forms wanted, the job that writes them, and where the result lies."""

import streamlit as st

from loglore.studio import job_list, job_view, shared
from loglore.studio.words import say

FORMS = ("gguf", "ollama", "safetensors")
TYPES = ("q8_0", "f16", "bf16")


def show(name: str) -> None:
    """Draw the form for the version `NAME@N`, and the exports there are."""
    with st.form(f"export-{name}"):
        columns = st.columns([2, 1, 2])
        forms = columns[0].multiselect(
            say("models.forms"),
            FORMS,
            ["gguf"],
            format_func=lambda each: say(f"models.form_{each}"),
            placeholder=say("common.choose"),
        )
        kind = columns[1].selectbox(say("models.gguf_type"), TYPES)
        publish = columns[2].text_input(say("models.publish"), f"{name.partition('@')[0]}-export")
        if st.form_submit_button(say("models.export"), type="primary"):
            spec = {"model": name, "to": forms, "gguf_type": kind}
            wish = {"kind": "export", "name": name, "spec": spec, "publish": publish.strip() or None}
            shared.go("export", shared.api().post("/studio/jobs", wish)["id"])
    st.caption(say("models.export_help"))
    nothing = say("models.no_exports"), say("models.no_exports_help")
    job = job_list.choose(("export",), say("models.open_export"), "export", nothing)
    if job:
        job_view.live(job["id"])
