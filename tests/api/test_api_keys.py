"""Keys on the gateway: who gets in, for what, and how often."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from support_gateway import Gateway, ScriptedEngine, gateway, scripted_engine, standing_in

from loglore.api.keyring import Budget
from loglore.serve.supervised import Plan
from loglore.store import keys

CHAT = {"model": "org/base", "messages": [{"role": "user", "content": "What failed?"}]}


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as started:
        yield started


@pytest.fixture
def running(engine: ScriptedEngine, tmp_path: Path) -> Iterator[Gateway]:
    with gateway(
        [Plan(("org/base",), "llama.cpp", lambda: standing_in(engine.url))], tmp_path, required=True
    ) as started:
        yield started


def ask(running: Gateway, key: str | None, path: str = "/v1/chat/completions") -> httpx2.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    if path == "/v1/chat/completions":
        return httpx2.post(running.url + path, json=CHAT, headers=headers)
    return httpx2.get(running.url + path, headers=headers)


def test_only_valid_keys_get_in(running: Gateway) -> None:
    now = time.time()
    _, good = keys.create(running.database, "good", ["chat"], now)
    revoked, bad = keys.create(running.database, "revoked", ["chat"], now)
    keys.revoke(running.database, revoked.id, now)
    _, old = keys.create(running.database, "old", ["chat"], now - 10, expires=now - 1)
    assert ask(running, good).status_code == 200
    for key, said in (
        (None, "needs a valid key"),
        ("none", "needs a valid key"),
        (good + "x", "valid key"),
        (good[:-1], "valid key"),
        ("ll-000000000000-x", "valid key"),
        (bad, "is revoked"),
        (old, "is expired"),
    ):
        reply = ask(running, key)
        assert reply.status_code == 401, key
        assert said in reply.json()["error"]["message"]
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert good.split("-", 2)[2] not in reply.text
    assert ask(running, None, "/health").status_code == 200
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/studio/sessions"):
        assert ask(running, None, path).status_code == 401, path


def test_scopes(running: Gateway) -> None:
    _, chat = keys.create(running.database, "chat", ["chat"], 1.0)
    _, manage = keys.create(running.database, "manage", ["manage"], 1.0)
    for path, allowed in (
        ("/v1/chat/completions", chat),
        ("/v1/models", chat),
        ("/metrics", manage),
        ("/v1/studio/sessions", manage),
    ):
        other = manage if allowed is chat else chat
        assert ask(running, allowed, path).status_code == 200, path
        refused = ask(running, other, path)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "insufficient_scope"), path


def test_a_key_revoked_elsewhere_stops_working_soon(running: Gateway) -> None:
    key, text = keys.create(running.database, "x", ["chat"], 1.0)
    assert ask(running, text).status_code == 200
    keys.revoke(running.database, key.id, time.time())
    deadline = time.monotonic() + 10
    while ask(running, text).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_requests_and_tokens_per_minute(running: Gateway) -> None:
    key, few = keys.create(running.database, "few", ["chat"], 1.0, requests_per_minute=2)
    assert [ask(running, few).status_code for _ in range(3)] == [200, 200, 429]
    refused = ask(running, few)
    assert 1 <= int(refused.headers["Retry-After"]) <= 30
    assert refused.json()["error"]["type"] == "rate_limit_error"
    _, small = keys.create(running.database, "small", ["chat"], 1.0, tokens_per_minute=15)
    # One answer is 10 tokens: the second is still let in, and leaves a debt.
    assert [ask(running, small).status_code for _ in range(3)] == [200, 200, 429]
    assert "tokens" in ask(running, small).json()["error"]["message"]
    assert ask(running, small, "/v1/models").status_code == 200
    deadline = time.monotonic() + 20
    while keys.find(running.database, key.id).last_used is None:
        assert time.monotonic() < deadline
        ask(running, small)
        time.sleep(0.1)


def test_on_loopback_a_key_is_checked_only_when_it_is_one(engine: ScriptedEngine, tmp_path: Path) -> None:
    with gateway([Plan(("org/base",), "llama.cpp", lambda: standing_in(engine.url))], tmp_path) as running:
        assert ask(running, None).status_code == 200
        assert ask(running, "none").status_code == 200
        assert ask(running, "ll-000000000000-x").status_code == 401
        assert httpx2.get(running.url + "/health", headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_budget_refills_evenly_and_pays_its_debt() -> None:
    now = 0.0
    budget = Budget(60, lambda: now)
    assert budget.wait_s(60) == 0
    budget.spend(90)
    assert budget.wait_s(1) == 31
    now = 30.0
    assert budget.wait_s(1) == 1
    now = 31.0
    assert budget.wait_s(1) == 0
    now = 1000.0
    assert budget.wait_s(60) == 0
    budget.spend(60)
    assert budget.wait_s(1) == 1
