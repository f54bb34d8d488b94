"""What a chat is about, and who answers: logs by path, upload or paste; models of this studio, or any endpoint."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from loglore.studio import markup, parts, shared
from loglore.studio.client import Reference
from loglore.studio.words import say

WAYS = ("file", "upload", "paste")
ELSEWHERE = "…"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Asked:
    """One that answers: a model of this studio, or a model at an OpenAI-compatible URL."""

    name: str
    model: str | None
    endpoint: dict[str, Any] | None = None

    @property
    def wish(self) -> dict[str, Any]:
        """What a request says of it."""
        return {"model": self.model} if self.endpoint is None else {"endpoint": self.endpoint}

    @property
    def leaves(self) -> str | None:
        """The host that lines of the log are sent to; None while they stay on this machine."""
        host = urlsplit(str(self.endpoint["url"])).hostname if self.endpoint else None
        return None if host in LOOPBACK else host


def logs() -> list[Reference]:
    """The logs that are chosen at the side."""
    st.subheader(say("chat.log"))
    if held := st.session_state.get("chat-held"):
        return _held(held)
    way = st.segmented_control(
        say("chat.where"), WAYS, default=None if "chat-way" in st.session_state else "file", required=True,
        format_func=lambda name: say(f"chat.way_{name}"), key="chat-way",
    )  # fmt: skip
    if way == "file":
        return _files()
    if way == "upload":
        sent = parts.upload("chat-upload", st.session_state.get("key"))
        st.caption(say("chat.upload_help"))
        return [{"file": str(each["id"])} for each in sent]
    text = st.text_area(say("chat.lines"), height=220, placeholder=say("chat.lines_help"), key="chat-lines")
    return [_sent(text)] if text.strip() else []


def hold(references: Sequence[Reference]) -> None:
    """Choose these logs when the page is drawn again: an earlier chat's, or those of the address."""
    paths = [each["path"] for each in references if "path" in each]
    known = {each["path"] for each in shared.api().logs()["data"]}
    st.session_state.pop("chat-held", None)
    if len(paths) == len(references) and known.issuperset(paths):
        st.session_state["chat-way"], st.session_state["chat-files"] = "file", paths
    else:
        st.session_state["chat-held"] = list(references)


def _files() -> list[Reference]:
    listed = shared.api().logs()
    if not listed["data"]:
        st.caption(say("chat.no_files", folder=markup.label(listed["root"])))
        return []
    sizes = {each["path"]: each["bytes"] for each in listed["data"]}
    chosen = st.multiselect(
        say("chat.files"), list(sizes), placeholder=say("chat.files_help"), key="chat-files",
        format_func=lambda path: f"{markup.clean(path)} · {shared.size(sizes[path])}",
    )  # fmt: skip
    st.caption(say("chat.below", folder=markup.label(listed["root"], 200)))
    return [{"path": path} for path in chosen]


def _held(references: list[Reference]) -> list[Reference]:
    """Logs that were sent earlier; there is nothing to choose but others."""
    for each in references:
        name = each.get("path") or shared.api().get(f"/files/{each['file']}")["filename"]
        st.text(markup.clean(str(name)))
    if st.button(say("chat.other_log"), icon=":material/swap_horiz:", width="stretch"):
        for key in ("chat-held", "chat-id"):
            st.session_state.pop(key, None)
        st.query_params.clear()
        st.rerun()
    return references


def _sent(text: str) -> Reference:
    """The reference to pasted lines, sent once."""
    data = text.encode("utf-8")
    known: dict[str, Reference] = st.session_state.setdefault("sent", {})
    key = hashlib.sha256(data).hexdigest()
    if key not in known:
        known[key] = shared.api().upload("pasted.log", len(data), io.BytesIO(data))
    return known[key]


def models() -> list[Asked]:
    """Who answers: one, or two side by side; none while there is nobody."""
    st.subheader(say("chat.model"))
    names = [each["id"] for each in shared.api().models()]
    first = _one(say("chat.model_label"), names, "chat-model")
    if first is None or not st.toggle(say("chat.side_by_side"), key="chat-two"):
        return [first] if first else []
    second = _one(say("chat.second_model"), names, "chat-second")
    return [first, second] if second else [first]


def _one(label: str, names: list[str], key: str) -> Asked | None:
    options = [*names, ELSEWHERE]
    name = st.selectbox(
        label, options, format_func=lambda each: say("chat.elsewhere") if each == ELSEWHERE else each, key=key
    )
    if name != ELSEWHERE:
        return Asked(str(name), str(name))
    url = st.text_input(say("chat.url"), placeholder="https://…/v1", key=f"{key}-url").strip()
    model = st.text_input(say("chat.model_id"), key=f"{key}-id").strip()
    secret = st.text_input(say("chat.endpoint_key"), type="password", key=f"{key}-key").strip()
    st.caption(say("chat.redacted"))
    if not url:
        return None
    endpoint = {"url": url, "model": model or None, "key": secret or None}
    return Asked(model or url, None, endpoint)
