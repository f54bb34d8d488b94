"""The page of models: what is in the hub, where it comes from, and how a program talks to it."""

import datetime
from html import escape
from typing import Any

import streamlit as st

from loglore.studio import markup, shared


def show() -> None:
    """Draw the page."""
    st.title("Models")
    with shared.errors_shown():
        models = shared.api().models()
        if not models:
            shared.empty(
                "No models yet", "Train one with <code>make quickstart</code>, or <code>loglore models add</code>."
            )
            return
        st.html(markup.table(["Model", "Created", "Size", "From", ""], [_row(model) for model in models], numbers=[2]))
        _sample(models)


def _row(model: dict[str, Any]) -> list[str]:
    created = datetime.datetime.fromtimestamp(model["created"], datetime.UTC).strftime("%Y-%m-%d %H:%M")
    lineage = model["lineage"]
    origin = "the embedded model" if model["embedded"] else " ".join(str(value) for value in lineage.values())
    running = '<span class="ll-state running">● running</span>' if model["running"] else ""
    return [
        f"<b>{escape(model['id'])}</b>",
        created,
        shared.size(model["bytes"]),
        escape(markup.clean(origin)),
        running,
    ]


def _sample(models: list[dict[str, Any]]) -> None:
    st.subheader("Use one from a program")
    names = [model["id"] for model in models]
    name = st.selectbox("Model", names, key="sample-model")
    url = f"{shared.api().url}/v1"
    python, curl = st.tabs(["Python", "curl"])
    python.code(
        "from openai import OpenAI\n\n"
        f'client = OpenAI(base_url="{url}", api_key="none")\n'
        "reply = client.chat.completions.create(\n"
        f'    model="{name}",\n'
        '    messages=[{"role": "user", "content": "What does EADDRINUSE mean?"}],\n'
        ")\nprint(reply.choices[0].message.content)",
        language="python",
    )
    curl.code(
        f"curl {url}/chat/completions -H 'Content-Type: application/json' -d '\n"
        f'  {{"model": "{name}", "messages": [{{"role": "user", "content": "What does EADDRINUSE mean?"}}]}}\'',
        language="bash",
    )
    st.caption("The model starts on its first request; one runs at a time.")
