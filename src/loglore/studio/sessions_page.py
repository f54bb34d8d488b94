"""Sessions: start and stop endpoints, try them, see how a program calls them and what they were asked."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import streamlit as st

from loglore.errors import InputError, JobError
from loglore.studio import markup, shared
from loglore.studio.words import say

ENGINES = ("llama.cpp", "transformers", "vllm")
DRAW_EVERY_S = 0.08
TABS = ("playground", "endpoint", "history")
COLUMNS = ("models", "engine", "node", "state", "asked", "started", "note")
MOST = 50
MOST_REPLICAS = 64
SHOWN = ("node", "state", "asked")  # of a replica


@dataclass
class Played:
    """An answer of a session in the playground; `over`: it came to its end, or broke off by itself."""

    session: str
    text: str = ""
    over: bool = False


def show() -> None:
    """Draw the page; `?session=…` in the address opens one."""
    st.title(say("sessions.title"))
    with shared.errors_shown():
        ended = st.toggle(say("sessions.ended"), key="sessions-ended")
        listed = shared.api().get("/studio/sessions", ended=ended)
        found = listed["data"]
        _start(listed["executors"], is_first=not found)
        if not found:
            shared.empty(say("sessions.none"), say("sessions.none_help"))
            return

        def table() -> None:
            with shared.errors_shown():
                now = shared.api().get("/studio/sessions", ended=ended)["data"]
                if [each["id"] for each in now] != [each["id"] for each in found]:
                    st.rerun()
                head = [say(f"sessions.{name}") for name in COLUMNS]
                st.html(markup.table(head, [_row(each) for each in now], numbers=[4]))

        st.fragment(table, run_every=shared.IDLE_REFRESH_S)()
        names = {each["id"]: f"{each['models'][0]} · {each['id'][-6:]}" for each in found}
        chosen = shared.chosen(say("sessions.open"), list(names), "session", names.__getitem__)
        if chosen:
            _one(chosen)


def _row(each: dict[str, Any]) -> list[str]:
    return [
        f"<b>{escape(', '.join(each['models']))}</b>",
        escape(each["engine"]),
        _node(each),
        shared.state(each["state"]),
        f"{each['interactions']:,}",
        shared.moment(each["started"]),
        escape(markup.clean(each["reason"] or "")),
    ]


def _node(each: dict[str, Any]) -> str:
    """Where its engine is, as HTML."""
    return escape(markup.clean(each["node"])) if each["node"] else escape(say("sessions.executor_local"))


def _start(executors: Sequence[str], is_first: bool) -> None:
    models = [each["id"] for each in shared.api().every("/studio/models")]
    if not models:
        st.caption(say("sessions.need_model"))
        return
    with st.expander(say("sessions.start"), expanded=is_first), st.form("session-start"):
        columns = st.columns(3)
        model = columns[0].selectbox(say("sessions.model"), models)
        name = columns[1].text_input(say("sessions.name"), help=say("sessions.name_help"))
        engine = columns[2].selectbox(say("sessions.engine"), ENGINES, index=None, placeholder=say("sessions.fitting"))
        limits = st.columns(4)
        context = limits[0].number_input(say("sessions.context"), 256, 2**20, None, placeholder="–")
        parallel = limits[1].number_input(say("sessions.parallel"), 1, 256, 1)
        minutes = limits[2].number_input(say("sessions.duration"), 1, 10**6, None, placeholder="–")
        most = limits[3].number_input(say("sessions.interactions"), 1, 10**9, None, placeholder="–")
        more = st.columns(4, vertical_alignment="bottom")
        replicas = more[0].number_input(
            say("sessions.replicas"), 1, MOST_REPLICAS, 1, help=say("sessions.replicas_help")
        )
        executor = executors[0]
        if len(executors) > 1:
            executor = more[1].selectbox(
                say("sessions.executor"), executors, format_func=lambda name: say(f"sessions.executor_{name}")
            )
        keep = st.checkbox(say("sessions.keep"), True)
        if st.form_submit_button(say("sessions.start"), type="primary"):
            wish = {
                "model": model, "name": name.strip() or None, "engine": engine, "context": context,
                "parallel": int(parallel), "duration_s": minutes * 60.0 if minutes else None,
                "interactions": most, "keep_history": keep, "replicas": int(replicas), "executor": executor,
            }  # fmt: skip
            with st.spinner(say("sessions.starting")):
                made = shared.api().post("/studio/sessions", {k: v for k, v in wish.items() if v is not None})
            shared.go("session", made["id"])


def _one(session: str) -> None:
    found = shared.api().get(f"/studio/sessions/{session}")
    columns = st.columns([4, 1], vertical_alignment="center")
    columns[0].html(
        f'<div class="ll-title"><b>{escape(found["models"][0])}</b> {shared.state(found["state"])} '
        f"<code>{escape(found['url'])}</code></div>"
    )
    open_now = found["state"] not in ("stopped", "failed", "ended")
    several = len(found["replicas"]) > 1
    help_ = say("sessions.stop_help_all") if several else None
    if columns[1].button(
        say("sessions.stop"), icon=":material/stop:", disabled=not open_now, width="stretch", help=help_
    ):
        shared.api().delete(f"/studio/sessions/{session}")
        st.rerun()
    if several:
        _replicas(found)
    elif found["node"]:
        st.caption(f"{say('sessions.node')}: {markup.label(found['node'])}")
    playground, endpoint, history = st.tabs([say(f"sessions.tab_{each}") for each in TABS])
    with playground:
        _playground(found)
    with endpoint:
        _endpoint(found)
    with history:
        _history(session)


def _replicas(found: dict[str, Any]) -> None:
    """The sessions that answer to the same id: where each is, how it does, what it was asked."""
    listed = shared.api().get("/studio/sessions")["data"]
    rows = [
        [
            f"<code>{escape(each['id'][-6:])}</code>",
            _node(each),
            shared.state(each["state"]),
            f"{each['interactions']:,}",
        ]
        for each in listed
        if each["id"] in found["replicas"]
    ]
    head = [say("sessions.replicas_of", count=len(found["replicas"])), *(say(f"sessions.{name}") for name in SHOWN)]
    st.html(markup.table(head, rows, numbers=[3]))


def _playground(found: dict[str, Any]) -> None:
    settings, talk = st.columns([1, 2])
    with settings:
        model = st.selectbox(say("sessions.model_id"), found["models"], key=f"play-model-{found['id']}")
        system = st.text_area(say("sessions.system"), key="play-system", height=90)
        temperature = st.slider("temperature", 0.0, 2.0, 0.7, 0.05, key="play-temperature")
        top_p = st.slider("top_p", 0.05, 1.0, 1.0, 0.05, key="play-top-p")
        tokens = st.number_input(say("sessions.tokens"), 1, 8192, 256, key="play-tokens")
        stop = st.text_input(say("sessions.stop_texts"), key="play-stop", help=say("sessions.stop_help"))
    with talk:
        prompt = st.text_area(say("sessions.prompt"), key="play-prompt", height=120)
        if st.button(say("sessions.send"), type="primary", icon=":material/send:") and prompt.strip():
            messages = [{"role": "system", "content": system}] if system.strip() else []
            messages.append({"role": "user", "content": prompt})
            body = {
                "model": model, "messages": messages, "temperature": temperature, "top_p": top_p,
                "max_completion_tokens": int(tokens), "stop": [each for each in stop.split("|") if each] or None,
            }  # fmt: skip
            st.session_state["played"] = Played(found["id"])
            _stream({name: value for name, value in body.items() if value is not None})
        elif (played := st.session_state.get("played")) is not None and played.session == found["id"]:
            st.html(markup.answer(played.text))
            if not played.over:
                st.caption(say("sessions.stopped"))
        if (fault := st.session_state.pop("play-fault", None)) is not None:
            st.error(say("chat.broke_off"), icon=":material/error:")
            st.code(fault, language=None, wrap_lines=True)


def _stream(body: dict[str, Any]) -> None:
    """Draw an answer as it comes; what has come is kept, also when it breaks off or is stopped."""
    place, button = st.empty(), st.empty()
    # A click ends this script where it next draws something, and closing the pieces ends the answer.
    button.button(say("sessions.stop_answer"), icon=":material/stop:", key="play-halt")
    drawn = 0.0
    played: Played = st.session_state["played"]
    try:
        with contextlib.closing(shared.api().chat(body)) as pieces:  # type: ignore[type-var]
            for piece in pieces:
                played.text += piece
                if not played.text:
                    place.caption(say("sessions.waiting"))
                elif time.monotonic() - drawn > DRAW_EVERY_S:
                    place.html(markup.answer(played.text))
                    drawn = time.monotonic()
    except (InputError, JobError) as fault:
        st.session_state["play-fault"] = str(fault)
    played.over = True
    button.empty()
    place.html(markup.answer(played.text))


def _endpoint(found: dict[str, Any]) -> None:
    url = found["url"]
    st.html(
        f"<p>{escape(say('sessions.url'))} <code>{escape(url)}</code><br>{escape(say('sessions.model_id'))} "
        f"<code>{escape(', '.join(found['models']))}</code></p>"
    )
    if found["needs_key"]:
        st.markdown(say("sessions.needs_key"))
    names = {"python": "Python", "curl": "curl", "javascript": "JavaScript"}
    for tab, name in zip(st.tabs(list(names.values())), names, strict=True):
        tab.code(found["samples"][name], language="bash" if name == "curl" else name)


def _history(session: str) -> None:
    rows = shared.api().get(f"/studio/sessions/{session}/completions", limit=MOST)["data"]
    if not rows:
        st.caption(say("sessions.no_history"))
        return
    for each in rows:
        with st.expander(_summary(each)):
            st.html(_exchange(each))
            st.json({name: value for name, value in each.items() if name not in ("request", "response")}, expanded=1)


def _exchange(each: dict[str, Any]) -> str:
    """What was asked and answered, turn by turn."""
    asked = [("", each["request"])]
    with contextlib.suppress(json.JSONDecodeError):  # a request that was cut, because it was very long
        body = json.loads(each["request"])
        asked = [(turn["role"], _text(turn.get("content"))) for turn in body.get("messages", [])]
        asked = asked or [(say("sessions.prompt"), _text(body.get("prompt")))]
    return markup.turns([*asked, (say("sessions.answer"), each["response"])])


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _summary(each: dict[str, Any]) -> str:
    tokens = f"{each['prompt_tokens'] or 0:,} + {each['completion_tokens'] or 0:,} tokens"
    return f"{shared.moment(each['created'])} · {tokens} · {each['status']}"
