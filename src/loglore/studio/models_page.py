"""The Model Hub: the catalog and your own versions, each with card, lineage, files, scores and tags."""

from html import escape
from typing import Any
from urllib.parse import quote

import streamlit as st

from loglore.studio import markup, model_export, shared
from loglore.studio.words import say

VIEWS = ("own", "catalog")
SHOWN = 50  # of a table; all can be filtered and chosen
MOST_SENT = 256_000_000  # bytes of a file that the page server may hold for a download


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
    found = shared.api().every("/studio/models")
    shared.follow("/studio/models", found[0]["id"] if found else None)
    if not found:
        shared.empty(say("models.none"), say("models.none_help"))
        return
    text = st.text_input(say("models.filter"), key="models-filter").strip().lower()
    kept = [each for each in found if text in each["id"].lower() or any(text in tag.lower() for tag in each["tags"])]
    if not kept:
        st.caption(say("common.no_match"))
        return
    head = [say(f"models.{name}") for name in ("name", "created", "size", "by")]
    st.html(markup.table(head, [_row(each) for each in kept[:SHOWN]], numbers=[2]))
    if len(kept) > SHOWN:
        st.caption(say("common.first_shown", shown=f"{SHOWN}", total=f"{len(kept):,}"))
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
    st.header(name)
    titles = ("card", "lineage", "files", "scores", "use", "export")
    card, lineage, files, scores, use, export = st.tabs([say(f"models.tab_{each}") for each in titles])
    with card:
        if found["card"]:
            st.html(markup.card(found["card"]))
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
    with export:
        model_export.show(name)
    _tags(found)


def _files(name: str) -> None:
    api = shared.api()
    found = api.get(f"/studio/models/{name}/files")["data"]
    rows = []
    for each in found:
        url = f"{api.url}{_address(name, each['path'])}"
        link = "" if api.has_key else f'<a href="{escape(url)}" download>{escape(say("models.download"))}</a>'
        size = shared.size(each["bytes"])
        rows.append([f"<code>{escape(each['path'])}</code>", size, link, f"<code>{each['sha256'][:12]}</code>"])
    st.html(markup.table([say(f"models.{each}") for each in ("file", "size", "get", "hash")], rows, numbers=[1]))
    if api.has_key:
        _download(name, [each["path"] for each in found if each["bytes"] <= MOST_SENT])
    header = " -H 'Authorization: Bearer '$LOGLORE_KEY" if api.has_key else ""
    url = f"{api.url}{_address(name, 'FILE')}"
    st.code(f"curl -OJ{header} {url}\nloglore models export {name} FOLDER", language="bash")


def _address(name: str, path: str) -> str:
    return f"/v1/studio/models/{quote(name)}/files/{quote(path)}"


def _download(name: str, paths: list[str]) -> None:
    """Through the page server, for a link cannot carry a key."""
    columns = st.columns([3, 1], vertical_alignment="bottom")
    path = columns[0].selectbox(
        say("models.file"), paths, index=None, key=f"get-{name}", placeholder=say("common.choose")
    )
    if path is None:
        return
    api = shared.api()
    columns[1].download_button(
        say("models.download"), lambda: api.content(_address(name, path).removeprefix("/v1")), width="stretch",
        file_name=path.rpartition("/")[2], key=f"download-{name}", on_click="ignore", icon=":material/download:",
    )  # fmt: skip


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
            st.query_params.pop("model", None)
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
