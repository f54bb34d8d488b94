"""Parts of the pages that run in the browser, each a file of JavaScript that is shipped with the package.

    upload   sends log files in parts: a gigabyte never lies in the memory of the page server, nor of the browser
    clicks   tells the page which of our own buttons in its HTML was clicked, and that an answer was stopped

They put foreign text on the page as text only, never as HTML.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from loglore.studio.words import say

HERE = Path(__file__).parent / "components"
# Where the page server takes parts of uploads, see `loglore.studio.relay`.
UPLOADS = "ll/uploads"
PART_BYTES = 8 * 1024 * 1024
KEPT_S = 86_400
UPLOAD_WORDS = (
    "pick", "drop", "cancel", "resume", "remove", "waiting", "sending", "done", "broken", "cancelled", "empty", "left",
)  # fmt: skip


def upload(key: str, api_key: str | None) -> list[dict[str, Any]]:
    """Let the visitor send files; returns those that have arrived: `id`, `name`, `bytes`."""
    words = {name: say(f"upload.{name}") for name in UPLOAD_WORDS}
    data = {"url": UPLOADS, "part": PART_BYTES, "keep": KEPT_S, "key": api_key, "words": words}
    found = _component("upload")(key=key, data=data, default={"files": []}, on_files_change=_nothing)
    return [dict(each) for each in found.get("files") or []]


def clicks(key: str) -> tuple[str, str] | None:
    """What was clicked just now: kind and value of a button made by `button`; None when nothing was."""
    found = _component("clicks")(key=key, on_clicked_change=_nothing)
    clicked = found.get("clicked")
    return (str(clicked["kind"]), str(clicked["value"])) if isinstance(clicked, Mapping) else None


@cache
def _source(name: str) -> Sequence[str | None]:
    style = HERE / f"{name}.css"
    return (HERE / f"{name}.js").read_text("utf-8"), style.read_text("utf-8") if style.exists() else None


@cache
def _component(name: str) -> Any:
    script, style = _source(name)
    return st.components.v2.component(f"loglore_{name}", html="<div></div>", js=script, css=style)


def _nothing() -> None:
    """A change that the script reads by itself."""
