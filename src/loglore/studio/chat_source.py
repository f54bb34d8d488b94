"""What a chat is about, and who answers: logs by path, upload or paste; models of the hub, or any endpoint."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any

import streamlit as st

from loglore.studio import shared
from loglore.studio.client import Reference
from loglore.studio.words import say

WAYS = ("file", "upload", "paste")
ELSEWHERE = "…"


@dataclass(frozen=True)
class Asked:
    """One that answers: a model of the hub, or a model at an OpenAI-compatible URL."""

    name: str
    model: str | None
    endpoint: dict[str, Any] | None = None


def logs() -> list[Reference]:
    """The logs that are chosen at the side; large uploads go to the API in parts and are sent once."""
    st.subheader(say("chat.log"))
    way = st.segmented_control(
        say("chat.where"), WAYS, default="file", required=True, format_func=lambda name: say(f"chat.way_{name}"),
        key="chat-way",
    )  # fmt: skip
    if way == "file":
        listed = shared.api().logs()
        if not listed["data"]:
            st.caption(say("chat.no_files", folder=listed["root"]))
            return []
        paths = [each["path"] for each in listed["data"]]
        chosen = st.multiselect(say("chat.files"), paths, placeholder=say("chat.files_help"), key="chat-files")
        st.caption(say("chat.below", folder=listed["root"]))
        return [{"path": path} for path in chosen]
    if way == "upload":
        files = st.file_uploader(
            say("chat.upload"), accept_multiple_files=True, help=say("chat.upload_help"), key="chat-upload"
        )
        return [_sent(file.file_id, file.name, file.size, file) for file in files]
    text = st.text_area(say("chat.lines"), height=220, placeholder=say("chat.lines_help"), key="chat-lines")
    data = text.encode("utf-8")
    return [_sent(hashlib.sha256(data).hexdigest(), "pasted.log", len(data), io.BytesIO(data))] if text.strip() else []


def _sent(key: str, name: str, size: int, stream: Any) -> Reference:
    """The reference to a file that the API has, sent once."""
    known: dict[str, Reference] = st.session_state.setdefault("sent", {})
    if key not in known:
        with st.spinner(say("common.sending", name=name)):
            stream.seek(0)
            known[key] = shared.api().upload(name, size, stream)
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
