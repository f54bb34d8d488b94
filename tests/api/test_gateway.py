"""The gateway in front of a scripted engine: what goes through, what is refused, what is kept."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from support_gateway import Gateway, ScriptedEngine, gateway, scripted_engine, standing_in

from loglore.serve import supervised
from loglore.serve.supervised import Limits, Plan
from loglore.store import completions

CHAT = {"model": "org/base", "messages": [{"role": "user", "content": "What failed?"}]}


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as started:
        yield started


def plan(engine: ScriptedEngine, **values: Any) -> Plan:
    adapters = values.pop("adapters", ())
    return Plan(("org/base", *adapters), "llama.cpp", lambda: standing_in(engine.url, adapters=adapters), **values)


@pytest.fixture
def running(engine: ScriptedEngine, tmp_path: Path) -> Iterator[Gateway]:
    with gateway([plan(engine, parallel=2, queue=2)], tmp_path) as started:
        yield started


def client(running: Gateway, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0)


def post(running: Gateway, path: str, body: Any, **options: Any) -> httpx2.Response:
    return httpx2.post(f"{running.url}{path}", json=body, timeout=20, **options)


def until(true: Any) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def history(running: Gateway, count: int) -> list[dict[str, Any]]:
    session = running.house.all[0].id
    until(lambda: len(completions.history(running.database, session)) >= count)
    return completions.history(running.database, session)


def test_models_with_a_slash(running: Gateway) -> None:
    listed = client(running).models.list().data
    assert [(model.id, model.model_extra["meta"]) for model in listed] == [("org/base", {"n_ctx": 512})]  # type: ignore[index]
    assert client(running).models.retrieve("org/base").id == "org/base"
    with pytest.raises(openai.NotFoundError) as fault:
        client(running).models.retrieve("org/other")
    assert fault.value.code == "model_not_found"


def test_a_plain_stream_comes_as_the_engine_wrote_it(running: Gateway, engine: ScriptedEngine) -> None:
    reply = post(running, "/v1/chat/completions", {**CHAT, "stream": True, "temperature": 0.5})
    assert reply.headers["content-type"].startswith("text/event-stream")
    direct = httpx2.post(engine.url + "/chat/completions", json={**CHAT, "stream": True})
    assert reply.content == direct.content
    sent = engine.requests[0]
    assert (sent["path"], sent["model"], sent["temperature"]) == ("/v1/chat/completions", "org/base", 0.5)
    assert "lora" not in sent


@pytest.mark.parametrize("stream", [False, True])
def test_choices_are_numbered_and_every_token_is_counted(
    running: Gateway, engine: ScriptedEngine, stream: bool
) -> None:
    body = {"model": "org/base", "prompt": ["a", "b"], "n": 2, "seed": 5, "stream": stream}
    if stream:
        chunks = list(client(running).completions.create(**body, stream_options={"include_usage": True}))
        texts = ["".join(c.choices[0].text for c in chunks if c.choices and c.choices[0].index == n) for n in range(4)]
        usage = chunks[-1].usage
        assert {chunk.id for chunk in chunks} == {"x"}
        assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"] * 4
    else:
        answer = client(running).completions.create(**body)
        texts = [choice.text for choice in sorted(answer.choices, key=lambda choice: choice.index)]
        usage = answer.usage
    assert texts == ["disk full 🚀"] * 4
    # A prompt counts once for its two choices.
    assert (usage.prompt_tokens, usage.completion_tokens) == (14, 12)
    assert [(each["prompt"], each["seed"]) for each in engine.requests] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]


def test_adapters_are_switched_by_model_id(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway([plan(engine, adapters=("tuned", "other"))], tmp_path) as running:
        for model in ("org/base", "tuned", "other"):
            answer = client(running).chat.completions.create(model=model, messages=CHAT["messages"])  # type: ignore[arg-type]
            assert answer.model == model
        assert [card.id for card in client(running).models.list()] == ["org/base", "tuned", "other"]
    scales = [[each["scale"] for each in sent["lora"]] for sent in engine.requests]
    # The base says so, too: an engine that is told nothing goes on from another adapter's keys and values.
    assert scales == [[0, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_its_answer_and_frees_its_seat(
    running: Gateway, engine: ScriptedEngine, stream: bool
) -> None:
    engine.hold.clear()
    body = {**CHAT, "stream": stream}
    url = f"{running.url}/v1/chat/completions"
    with contextlib.suppress(httpx2.ReadTimeout), httpx2.stream("POST", url, json=body, timeout=0.5) as reply:
        next(reply.iter_raw())
    assert engine.hung_up.acquire(timeout=10)
    until(lambda: running.house.all[0].seats.taken == 0)
    assert history(running, 1)[0]["status"] == 499


def test_a_client_that_leaves_the_queue_is_forgotten(running: Gateway, engine: ScriptedEngine) -> None:
    engine.hold.clear()
    seats = running.house.all[0].seats
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(post, running, "/v1/chat/completions", CHAT) for _ in range(2)]
        until(lambda: seats.taken == 2)
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{running.url}/v1/chat/completions", json=CHAT, timeout=0.3)
        until(lambda: seats.waiting == 0)
        engine.hold.set()
        assert [answer.result().status_code for answer in answers] == [200, 200]
    assert len(engine.requests) == 2


def test_a_full_queue_is_429_with_a_time(running: Gateway, engine: ScriptedEngine) -> None:
    engine.hold.clear()
    seats = running.house.all[0].seats
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(post, running, "/v1/chat/completions", CHAT) for _ in range(4)]
        until(lambda: (seats.taken, seats.waiting) == (2, 2))
        refused = post(running, "/v1/chat/completions", CHAT)
        engine.hold.set()
        assert [answer.result().status_code for answer in answers] == [200] * 4
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["code"] == "queue_full"
    assert engine.most_running == 2


@pytest.mark.parametrize("choices", [1, 2])
def test_a_stream_that_breaks_ends_with_an_error_event(running: Gateway, engine: ScriptedEngine, choices: int) -> None:
    engine.break_after = 2
    reply = post(running, "/v1/chat/completions", {**CHAT, "stream": True, "n": choices})
    *whole, last, rest = reply.content.decode().split("\n\n")
    assert rest == ""
    assert len(whole) == 2
    assert all(json.loads(each.removeprefix("data: "))["choices"] for each in whole)
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "engine_gone")
    with pytest.raises(openai.APIError, match="stopped while it answered"):
        list(client(running).chat.completions.create(**CHAT, stream=True))  # type: ignore[call-overload]
    assert [row["status"] for row in history(running, 2)] == [502, 502]


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        ((400, {"error": {"message": "bad", "type": "invalid_request_error"}}), 400, "invalid_value"),
        ((500, {"error": {"message": "boom"}}), 502, "engine_failed"),
        ((503, "no JSON object"), 502, "engine_failed"),
    ],
)
def test_an_engines_refusal(
    running: Gateway, engine: ScriptedEngine, refusal: tuple[int, Any], status: int, code: str
) -> None:
    engine.refusal = refusal
    for stream in (False, True):
        reply = post(running, "/v1/chat/completions", {**CHAT, "stream": stream})
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_an_overflow_names_both_numbers(running: Gateway, engine: ScriptedEngine) -> None:
    error = {"message": "?", "type": "exceed_context_size_error", "n_prompt_tokens": 4031, "n_ctx": 512}
    engine.refusal = (400, {"error": error})
    found = post(running, "/v1/completions", {"model": "org/base", "prompt": "x"})
    assert found.status_code == 400
    assert found.json()["error"]["code"] == "context_length_exceeded"
    assert "4,031 tokens" in found.json()["error"]["message"]
    assert "512 tokens" in found.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "content", "param"),
    [
        ("chat/completions", b"{", None),
        ("chat/completions", b"", None),
        ("chat/completions", b"[]", None),
        ("chat/completions", b"\xff\xfe", None),
        ("completions", b'{"model": "org/base", "prompt": "x", "temperature": NaN}', None),
        ("completions", b'{"model": "org/base", "prompt": "x", "temperature": 1e999}', None),
        ("completions", b'{"model": "org/base", "prompt": "\\ud800"}', None),
        ("completions", b'{"model": "org/base", "prompt": "x", "temperature": -1}', "temperature"),
        ("completions", b'{"model": "org/base", "prompt": "x", "temperature": "hot"}', "temperature"),
        ("completions", b'{"model": "org/base", "prompt": "x", "top_p": 2}', "top_p"),
        ("completions", b'{"model": "org/base", "prompt": "x", "n": 0}', "n"),
        ("completions", b'{"model": "org/base", "prompt": "x", "stop": 5}', "stop"),
        ("completions", b'{"model": "org/base", "prompt": "x", "max_tokens": 0}', "max_tokens"),
        ("completions", b'{"model": "org/base", "prompt": "x", "seed": 1.5}', "seed"),
        ("completions", b'{"model": "org/base", "prompt": "x", "stream": 1}', "stream"),
        ("completions", b'{"model": "org/base", "prompt": "x", "stream_options": {}}', "stream_options"),
        ("completions", b'{"model": "org/base", "prompt": "x", "echo": true}', "echo"),
        ("completions", b'{"model": "org/base", "prompt": []}', "prompt"),
        ("completions", b'{"model": "org/base", "prompt": [-1]}', "prompt"),
        ("completions", b'{"model": "org/base"}', "prompt"),
        ("completions", b'{"prompt": "x"}', "model"),
        ("completions", b'{"model": 5, "prompt": "x"}', "model"),
        ("chat/completions", b'{"model": "org/base", "messages": []}', "messages"),
        ("chat/completions", b'{"model": "org/base", "messages": "hi"}', "messages"),
        ("chat/completions", b'{"model": "org/base", "messages": [{"role": "boss", "content": "x"}]}', "messages"),
        ("chat/completions", b'{"model": "org/base", "messages": [{"role": "user"}]}', "messages"),
    ],
)
def test_bad_bodies_are_400_that_name_the_field(
    running: Gateway, engine: ScriptedEngine, path: str, content: bytes, param: str | None
) -> None:
    reply = httpx2.post(f"{running.url}/v1/{path}", content=content)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert engine.requests == []


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"a": 1}]},
        {"tools": [{"type": "function", "function": {}}]},
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        {"tool_choice": {"type": "function"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        {"response_format": {"type": "xml"}},
        {"top_logprobs": 3},
    ],
)
def test_tools_and_formats_are_checked_here(running: Gateway, engine: ScriptedEngine, more: dict[str, Any]) -> None:
    """The engine answers 500 to some of these."""
    reply = post(running, "/v1/chat/completions", {**CHAT, **more})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, next(iter(more)))
    assert engine.requests == []


def test_deep_nesting_is_refused(running: Gateway) -> None:
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(400):
        deep = {"type": "object", "properties": {"a": deep}}
    body = {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": deep}}}
    reply = post(running, "/v1/chat/completions", body)
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "the body: nested too deeply")


def test_a_misspelt_option_is_named_with_the_nearest_one(running: Gateway) -> None:
    error = post(running, "/v1/completions", {"model": "org/base", "prompt": "x", "temprature": 0}).json()["error"]
    assert error["code"] == "unknown_parameter"
    assert "did you mean `temperature`?" in error["message"]


def test_unknown_models_routes_and_methods(running: Gateway) -> None:
    for reply, status in (
        (post(running, "/v1/completions", {"model": "nobody", "prompt": "x"}), 404),
        (post(running, "/v1/nothing", {}), 404),
        (httpx2.put(f"{running.url}/health"), 405),
    ):
        assert reply.status_code == status
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    body = {"model": "nobody", "prompt": "x"}
    assert "org/base" in post(running, "/v1/completions", body).json()["error"]["message"]


def test_history_is_kept_unless_it_is_not_wanted(running: Gateway, engine: ScriptedEngine) -> None:
    post(running, "/v1/chat/completions", {**CHAT, "store": False})
    post(running, "/v1/chat/completions", {**CHAT, "user": "ann"})
    post(running, "/v1/chat/completions", {**CHAT, "stream": True})
    streamed, whole = history(running, 2)
    assert json.loads(whole["request"])["user"] == "ann"
    assert (whole["response"], whole["finish_reason"], whole["prompt_tokens"]) == ("disk full 🚀", "stop", 7)
    assert (streamed["response"], streamed["finish_reason"], streamed["status"]) == ("disk full 🚀", "stop", 200)
    assert (streamed["prompt_tokens"], streamed["cached_tokens"], streamed["completion_tokens"]) == (7, 4, 3)
    assert streamed["first_token_s"] <= streamed["seconds"]
    assert "user" not in engine.requests[1]
    shown = httpx2.get(f"{running.url}/v1/studio/sessions/{running.house.all[0].id}/completions").json()["data"]
    assert [row["id"] for row in shown] == [streamed["id"], whole["id"]]


def test_a_session_without_history(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway([plan(engine, keep_history=False)], tmp_path) as running:
        post(running, "/v1/chat/completions", CHAT)
        session = running.house.all[0].id
    from loglore.store.database import open_database

    assert completions.history(open_database(f"sqlite:///{tmp_path / 'loglore.db'}"), session) == []


def test_metrics_count_what_happened(running: Gateway) -> None:
    post(running, "/v1/chat/completions", {**CHAT, "stream": True})
    post(running, "/v1/completions", {"model": "nobody", "prompt": "x"})

    def seen(line: str) -> bool:
        return line in httpx2.get(f"{running.url}/metrics").text.splitlines()

    until(lambda: seen('loglore_requests_total{endpoint="chat/completions",model="org/base",status="200"} 1.0'))
    assert seen('loglore_requests_total{endpoint="completions",model="unknown",status="404"} 1.0')
    assert seen('loglore_tokens_total{kind="completion",model="org/base"} 3.0')
    assert seen('loglore_first_token_seconds_count{model="org/base"} 1.0')
    assert seen('loglore_session_ready{model="org/base"} 1.0')
    assert seen('loglore_requests_waiting{model="org/base"} 0.0')


def test_sessions_are_listed_stopped_and_gone(running: Gateway) -> None:
    root = f"{running.url}/v1/studio/sessions"
    (session,) = httpx2.get(root).json()["data"]
    assert (session["state"], session["models"], session["context"]) == ("ready", ["org/base"], 512)
    assert f"{running.url}/v1/chat/completions" in session["samples"]["curl"]
    assert httpx2.get(f"{root}/{session['id']}").json()["id"] == session["id"]
    assert httpx2.get(f"{root}/ses_none").status_code == 404
    assert httpx2.delete(f"{root}/{session['id']}").json()["state"] == "stopped"
    assert httpx2.get(root).json()["data"] == []
    gone = post(running, "/v1/chat/completions", CHAT)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "session_ended")
    assert "stopped through the API" in gone.json()["error"]["message"]
    assert httpx2.get(f"{running.url}/health").json()["status"] == "degraded"


def test_a_session_has_its_replicas_and_ends_with_them(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway([plan(engine, replicas=3)], tmp_path) as running:
        root = f"{running.url}/v1/studio/sessions"
        rows = httpx2.get(root).json()["data"]
        names = [row["id"] for row in rows]
        assert len(names) == 3 and [row["replicas"] for row in rows] == [names] * 3
        assert {row["node"] for row in rows} == {None}
        assert httpx2.get(root).json()["executors"] == ["local"]
        # One that is being started again takes nothing while others can.
        running.house.all[0].state = "restarting"
        for number in range(4):
            post(running, "/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": f"log {number}"}]})
        assert [row["interactions"] for row in httpx2.get(root).json()["data"]] == [0, 2, 2]
        assert httpx2.delete(f"{root}/{names[1]}").json()["state"] == "stopped"
        assert httpx2.get(root).json()["data"] == []


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replicas": 65}, "replicas"),
        ({"replicas": "2"}, "replicas"),
        ({"executor": "slurm"}, "executor"),
        ({"executor": "ray"}, "this server has no cluster: start it with --executor ray --address URL"),
    ],
)
def test_what_a_session_cannot_be_is_refused(running: Gateway, wish: dict[str, Any], message: str) -> None:
    reply = post(running, "/v1/studio/sessions", {"model": "tuned@1", **wish})
    assert reply.status_code == 400 and message in reply.text


@pytest.mark.parametrize("model", ["../secret", "/etc/passwd", "nothing-like-it", "~nobody", "src", "a\x00b", ""])
def test_only_models_of_the_hub_are_started(running: Gateway, model: str) -> None:
    assert post(running, "/v1/studio/sessions", {"model": model}).status_code == 400


def test_interactions_end_a_session_for_its_callers(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway([plan(engine, limits=Limits(interactions=1))], tmp_path) as running:
        assert post(running, "/v1/chat/completions", CHAT).status_code == 200
        reply = post(running, "/v1/chat/completions", CHAT)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "session_ended")


def test_many_streams_are_not_mixed(running: Gateway, engine: ScriptedEngine) -> None:
    engine.words = [f"{number} " for number in range(50)]
    texts: list[str] = []
    lock = threading.Lock()

    def ask(_: int) -> None:
        while True:
            try:
                chunks = list(client(running).chat.completions.create(**CHAT, stream=True))  # type: ignore[call-overload]
            except openai.RateLimitError:
                time.sleep(0.01)
                continue
            with lock:
                texts.append("".join(c.choices[0].delta.content or "" for c in chunks))
            return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(16)))
    assert texts == ["".join(engine.words)] * 16


def test_a_session_whose_engine_dies_too_often_is_503(
    engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised, "RESTARTS", 0)
    with gateway([plan(engine)], tmp_path) as running:
        (session,) = running.house.all
        assert session.session is not None
        os.kill(session.session.pid, signal.SIGKILL)
        until(session.ended.is_set)
        reply = post(running, "/v1/chat/completions", CHAT)
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "session_failed")
