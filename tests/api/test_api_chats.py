"""Chats as the API keeps them, their owners, answers that break off, and the preview of what would leave."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from support_serving import ScriptedServer
from support_studio import events_of

from loglore.api.app import Parts, Studio, create_app
from loglore.api.chats import Record
from loglore.api.house import House
from loglore.api.keyring import Keyring
from loglore.store import chats, keys
from loglore.store.database import Database, open_database

LINE = "2026-03-01 10:00:0{} ERROR app: login of alice from 203.0.113.9 failed, password=hunter2secret\n"
LOGS = [{"path": "app.log"}]


@pytest.fixture
def model() -> Iterator[ScriptedServer]:
    """A scripted model off loopback by its name."""
    server = ScriptedServer("127.0.0.2")
    server.answer = 'Line 1 says "login of alice".'
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGLORE_PRIVATE_ENDPOINTS", "1")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_text("".join(LINE.format(n) for n in range(6)))
    with open_database() as opened:
        yield opened


def _client(database: Database, logs: Path, *, required: bool) -> TestClient:
    house = House(database, "http://127.0.0.1:1/v1", required)
    parts = Parts(house, database, Keyring(database, required), open_to_all=True)
    return TestClient(create_app(parts, Studio(logs / "runs", logs)))


@pytest.fixture
def client(database: Database, tmp_path: Path) -> Iterator[TestClient]:
    with _client(database, tmp_path / "logs", required=False) as made:
        yield made


def _ask(client: TestClient, model: ScriptedServer, **wish: Any) -> list[tuple[str, dict[str, Any]]]:
    body = {"logs": LOGS, "question": "Why?", "endpoint": {"url": model.url}, **wish}
    reply = client.post("/v1/studio/ask", json=body)
    assert reply.status_code == 200, reply.text
    return events_of(reply.text)


def _chat(client: TestClient) -> str:
    made = client.post("/v1/studio/chats", json={"logs": LOGS})
    assert made.status_code == 201
    return str(made.json()["id"])


def test_turns_and_sides_are_kept_in_order(client: TestClient, model: ScriptedServer) -> None:
    chat = _chat(client)
    assert client.get("/v1/studio/chats").json()["data"] == [], "nothing was asked in it yet"
    first = _ask(client, model, chat=chat, question="What failed?")
    assert first[0][1]["turn"] == 0
    _ask(client, model, chat=chat, question="What failed?", turn=0, side=1)
    _ask(client, model, chat=chat, question="And then?")
    found = client.get(f"/v1/studio/chats/{chat}").json()
    assert found["title"] == "What failed?"
    assert [(each["turn"], each["side"], each["state"]) for each in found["turns"]] == [
        (0, 0, "answered"), (0, 1, "answered"), (1, 0, "answered"),
    ]  # fmt: skip
    assert found["turns"][0]["answer"] == first[-1][1]
    # The second question of a side goes on from the first, its log stands in the first turn.
    assert [len(each["messages"]) for each in model.requests] == [1, 1, 3]
    assert "turns" not in client.get(f"/v1/studio/chats/{chat}?turns=false").json()
    assert client.delete(f"/v1/studio/chats/{chat}").json()["deleted"] is True
    assert client.get(f"/v1/studio/chats/{chat}").status_code == 404


def test_what_came_before_the_end_is_kept(client: TestClient, model: ScriptedServer) -> None:
    chat = _chat(client)
    model.break_after = 3
    assert _ask(client, model, chat=chat)[-1][0] == "error"
    (turn,) = client.get(f"/v1/studio/chats/{chat}").json()["turns"]
    assert (turn["state"], turn["text"], turn["answer"]) == ("failed", "Line 1 says", None)
    assert "broke off" in turn["fault"]
    model.break_after = None
    _ask(client, model, chat=chat, turn=0)
    (turn,) = client.get(f"/v1/studio/chats/{chat}").json()["turns"]
    assert (turn["state"], turn["text"]) == ("answered", model.answer)


@pytest.mark.parametrize(
    ("wish", "status", "named"),
    [
        ({"chat": "chat_x"}, 404, "chat_x"),
        ({"turn": 1}, 400, "chat"),
        ({"side": 1}, 400, "chat"),
        ({"logs": [{"path": "app.log"}, {"path": "app.log"}], "chat": "HERE"}, 400, "other logs"),
        ({"chat": "HERE", "turn": 3}, 400, "no such turn"),
        ({"chat": "HERE", "conversation": "conv_1"}, 400, "either"),
    ],
)
def test_bad_requests_name_what_is_wrong(
    client: TestClient, model: ScriptedServer, wish: dict[str, Any], status: int, named: str
) -> None:
    here = _chat(client)
    body = {"logs": LOGS, "question": "Why?", "endpoint": {"url": model.url}}
    body |= {name: here if value == "HERE" else value for name, value in wish.items()}
    reply = client.post("/v1/studio/ask", json=body)
    assert reply.status_code == status
    assert named in reply.json()["error"]["message"]
    assert model.requests == []


def test_a_chat_belongs_to_its_key(database: Database, tmp_path: Path, model: ScriptedServer) -> None:
    texts = [keys.create(database, name, keys.SCOPES, 0.0)[1] for name in ("one", "two")]
    with _client(database, tmp_path / "logs", required=True) as client:
        mine, theirs = ({"Authorization": f"Bearer {text}"} for text in texts)
        client.headers = mine
        chat = _chat(client)
        _ask(client, model, chat=chat)
        assert [each["id"] for each in client.get("/v1/studio/chats").json()["data"]] == [chat]
        client.headers = theirs
        assert client.get("/v1/studio/chats").json()["data"] == []
        assert client.get(f"/v1/studio/chats/{chat}").status_code == 404
        assert client.delete(f"/v1/studio/chats/{chat}").status_code == 404
        body = {"logs": LOGS, "question": "Why?", "chat": chat, "endpoint": {"url": model.url}}
        assert client.post("/v1/studio/ask", json=body).status_code == 404


def test_what_comes_after_the_caller_left_is_not_kept(database: Database) -> None:
    chat = chats.create(database, LOGS, None)
    turn, _ = chats.begin(database, chat.id, None, 0, "Why?", "m")
    record = Record(database, chat, turn, 0)

    async def leave() -> None:
        record.heard("text", {"text": "Line "})
        await record.close()
        record.heard("text", {"text": "1 is full."})
        record.heard("answer", {"answer": "Line 1 is full."})
        await record.close()

    asyncio.run(leave())
    (kept,) = chats.turns(database, chat.id)
    assert (kept.state, kept.text, kept.answer) == ("stopped", "Line ", None)


def test_answers_of_a_server_that_ended_are_stopped(database: Database) -> None:
    chat = chats.create(database, LOGS, None)
    assert chats.begin(database, chat.id, None, 0, "Why?", "m") == (0, False)
    assert chats.begin(database, chat.id, 0, 0, "Why?", "m") == (0, True)
    assert chats.interrupt(database) == 1
    assert [each.state for each in chats.turns(database, chat.id)] == ["stopped"]
    chats.delete(database, chat.id, None)
    chats.end(database, chat.id, 0, 0, "answered", "late")
    assert chats.turns(database, chat.id) == []


def test_the_preview_is_what_is_sent_and_nothing_leaves_before(client: TestClient, model: ScriptedServer) -> None:
    body = {"logs": LOGS, "question": "Why?", "endpoint": {"url": model.url}}
    shown = client.post("/v1/studio/ask/preview", json=body).json()
    assert model.requests == []
    assert shown["redacts"] is True
    assert shown["replaced"] == {"IP": 1, "SECRET": 1}
    (message,) = shown["messages"]
    assert "203.0.113.9" not in message["content"]
    assert "hunter2secret" not in message["content"]
    _ask(client, model)
    assert model.requests[0]["messages"] == shown["messages"]
    local = client.post("/v1/studio/ask/preview", json={"logs": LOGS, "question": "Why?", "model": "x"})
    assert local.status_code in (400, 404)


def test_two_windows_are_put_before_the_model(client: TestClient, model: ScriptedServer) -> None:
    events = _ask(client, model, before="10:00:00..10:00:02", after="10:00:02..10:00:06")
    evidence = dict(events)["evidence"]["text"]
    assert "Compared: 2026-03-01 10:00:00 to 2026-03-01 10:00:02 (2 lines)" in evidence
