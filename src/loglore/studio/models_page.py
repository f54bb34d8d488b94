"""The Model Hub: the catalog and your own versions, each with card, lineage, files, scores and tags."""

from html import escape
from typing import Any
from urllib.parse import quote

import streamlit as st

from loglore.studio import markup, shared
from loglore.studio.words import say

VIEWS = ("own", "catalog")
MOST = 100


def show() -> None:
    """Draw the page; `?model=NAME@N` in the address chooses a version."""
    st.title(say("models.title"))
    with shared.errors_shown():
        view = shared.view(say("models.views"), VIEWS, "models")
        if view == "own":
            _own()
        else:
            _catalog()


def _own() -> None:
    found = shared.api().get("/studio/models", limit=MOST)["data"]
    if not found:
        shared.empty(say("models.none"), say("models.none_help"))
        return
    text = st.text_input(say("models.filter"), key="models-filter").strip().lower()
    kept = [each for each in found if text in each["id"] or any(text in tag for tag in each["tags"])]
    if not kept:
        st.caption(say("common.no_match"))
        return
    head = [say(f"models.{name}") for name in ("name", "created", "size", "by")]
    st.html(markup.table(head, [_row(each) for each in kept], numbers=[2]))
    name = shared.chosen(say("models.open"), [each["id"] for each in kept], "model")
    if name:
        _one(name)


def _row(each: dict[str, Any]) -> list[str]:
    tags = "".join(f' <span class="ll-tag">{escape(tag)}</span>' for tag in each["tags"])
    return [
        f"<b>{escape(each['id'])}</b>{tags}",
        shared.moment(each["created_at"]),
        shared.size(each["bytes"]),
        escape(each["created_by"] or say("common.local")),
    ]


def _one(name: str) -> None:
    api = shared.api()
    found = api.get(f"/studio/models/{name}")
    st.subheader(name)
    titles = ("card", "lineage", "files", "scores", "use")
    card, lineage, files, scores, use = st.tabs([say(f"models.tab_{each}") for each in titles])
    with card:
        # Plain text: a card comes from whoever made the model, and Markdown could call other hosts.
        if found["card"]:
            st.html(f'<div class="ll-card">{markup.answer(found["card"])}</div>')
        else:
            st.caption(say("models.no_card"))
        with st.expander(say("models.facts")):
            st.json(found["facts"], expanded=1)
    with lineage:
        st.html(markup.lineage(api.get(f"/studio/lineage/model/{name}"), say("models.lineage_alt", name=name)))
    with files:
        _files(name)
    with scores:
        _scores(found["scores"])
    with use:
        sample(name)
    _tags(found)


def _files(name: str) -> None:
    api = shared.api()
    rows = []
    for each in api.get(f"/studio/models/{name}/files")["data"]:
        url = f"{api.url}/v1/studio/models/{quote(name)}/files/{quote(each['path'])}"
        link = "" if api.has_key else f'<a href="{escape(url)}" download>{escape(say("models.download"))}</a>'
        rows.append([f"<code>{escape(each['path'])}</code>", shared.size(each["bytes"]), link, each["sha256"][:12]])
    st.html(markup.table([say(f"models.{each}") for each in ("file", "size", "get", "hash")], rows, numbers=[1]))
    url = f"{api.url}/v1/studio/models/{quote(name)}/files/FILE"
    header = " -H 'Authorization: Bearer '$LOGLORE_KEY" if api.has_key else ""
    st.code(f"curl -OJ{header} {url}\nloglore models export {name} FOLDER", language="bash")


def _scores(found: list[dict[str, Any]]) -> None:
    if not found:
        st.caption(say("models.no_scores"))
        return
    rows = []
    for each in found:
        means = ", ".join(
            f"{metric} {value['value']:.3f}" for metric, value in each["metrics"].items() if isinstance(value, dict)
            and "value" in value
        )  # fmt: skip
        rows.append([escape(each["suite"]), escape(means), shared.moment(each["created"])])
    st.html(markup.table([say(f"models.{each}") for each in ("suite", "means", "created")], rows))


def _tags(found: dict[str, Any]) -> None:
    name = found["id"]
    columns = st.columns([2, 2, 1], vertical_alignment="bottom")
    tag = columns[0].text_input(say("models.tag"), key=f"tag-{name}", placeholder="production")
    if columns[1].button(say("models.add_tag"), key=f"add-tag-{name}") and tag.strip():
        shared.api().post(f"/studio/models/{name}/tags", {"tag": tag.strip()})
        st.rerun()
    with columns[2].popover(say("common.delete")):
        st.markdown(say("models.delete_sure"))
        if st.button(say("common.delete_now"), key=f"delete-{name}", type="primary"):
            shared.api().delete(f"/studio/models/{name}")
            st.rerun()


def _catalog() -> None:
    """Everything that can be asked or tuned, with what is running."""
    models = shared.api().models()
    if not models:
        shared.empty(say("models.none"), say("models.none_help"))
        return
    head = [say(f"models.{name}") for name in ("name", "created", "size", "origin", "now")]
    rows = [_catalog_row(model) for model in models]
    st.html(markup.table(head, rows, numbers=[2]))
    st.caption(say("models.catalog_more"))


def _catalog_row(model: dict[str, Any]) -> list[str]:
    lineage = model.get("lineage") or {}
    origin = say("models.embedded") if model.get("embedded") else " ".join(f"{value}" for value in lineage.values())
    running = shared.state("running") if model.get("running") or model.get("session") else ""
    short = origin if len(origin) <= 80 else origin[:79] + "…"
    size = shared.size(model["bytes"]) if "bytes" in model else ""
    return [
        f"<b>{escape(model['id'])}</b>",
        shared.moment(model["created"]),
        size,
        escape(markup.clean(short)),
        running,
    ]


def sample(name: str) -> None:
    """How a program talks to a model."""
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
    st.caption(say("models.starts"))
