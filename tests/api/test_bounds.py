"""Too much, or too slowly: the client is told or dropped, and everybody else is served."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from support_gateway import Gateway, gateway, scripted_engine, standing_in

from loglore.api import bounds
from loglore.api.bounds import PatientOnce
from loglore.serve.supervised import Plan

CHAT = {"model": "org/base", "messages": [{"role": "user", "content": "What failed?"}]}


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(PatientOnce, "head_timeout_s", 1.5)
    monkeypatch.setattr(bounds.Bounded.__init__, "__defaults__", (1_000_000, 0.5))
    with (
        scripted_engine() as engine,
        gateway([Plan(("org/base",), "llama.cpp", lambda: standing_in(engine.url))], tmp_path) as started,
    ):
        yield started


def connect(running: Gateway) -> socket.socket:
    parts = urlsplit(running.url)
    found = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)
    return found


def head(length: str) -> bytes:
    return f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode()


def answer(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(65536):
        found += piece
    return found


def is_served(running: Gateway) -> bool:
    return httpx2.post(f"{running.url}/v1/chat/completions", json=CHAT).status_code == 200


def test_a_body_that_is_said_to_be_huge_is_refused_before_it_comes(running: Gateway) -> None:
    with connect(running) as connection:
        connection.sendall(head("Content-Length: 99999999999"))
        said = answer(connection)
    assert said.startswith(b"HTTP/1.1 413")
    assert "larger than 1,000,000 bytes" in json.loads(said.split(b"\r\n\r\n")[1])["error"]["message"]
    assert is_served(running)


def test_a_body_that_grows_too_large_is_413(running: Gateway) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with connect(running) as connection:
        connection.sendall(head("Transfer-Encoding: chunked") + piece * 32 + b"0\r\n\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 413")
    assert is_served(running)


def test_a_body_without_end_is_cut_off(running: Gateway) -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with connect(running) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        with pytest.raises(OSError):
            while True:
                connection.sendall(piece)
    assert is_served(running)


def test_a_body_that_trickles_is_408(running: Gateway) -> None:
    with connect(running) as connection:
        connection.sendall(head("Content-Length: 1000") + b"{")
        assert answer(connection).startswith(b"HTTP/1.1 408")
    assert is_served(running)


def test_heads_that_trickle_are_dropped(running: Gateway) -> None:
    slow = [connect(running) for _ in range(20)]
    for connection in slow[:10]:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: loc")
    assert is_served(running)
    assert [answer(connection) for connection in slow] == [b""] * 20
    for connection in slow:
        connection.close()


def test_a_second_head_on_the_same_connection_has_its_time_too(running: Gateway) -> None:
    with connect(running) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = b""
        while not first.endswith(b"}}"):
            first += connection.recv(65536)
        connection.sendall(b"GET /health HTTP/1.1\r\nHo")
        # Without a limit this would end in the socket's own timeout.
        assert answer(connection) == b""


def test_a_head_without_end_is_dropped(running: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatientOnce, "head_timeout_s", 30.0)
    with connect(running) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        with pytest.raises(OSError):
            for number in range(10_000):
                connection.sendall(f"X-{number}: {'y' * 1000}\r\n".encode())
            answer(connection)
            raise OSError("dropped without a reset")
    assert is_served(running)


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"\x00" * 100]
)
def test_what_is_no_http_is_refused(running: Gateway, garbage: bytes) -> None:
    with connect(running) as connection:
        connection.sendall(garbage)
        assert answer(connection)[:12] in (b"HTTP/1.1 400", b"")
    assert is_served(running)


def test_answers_and_idle_streams_outlast_the_time_for_heads(running: Gateway) -> None:
    """The clock is for heads alone: a stream that says nothing for longer goes on."""
    with httpx2.stream(
        "POST", f"{running.url}/v1/chat/completions", json={**CHAT, "stream": True}, timeout=20
    ) as reply:
        time.sleep(0.7)
        assert b"[DONE]" in b"".join(reply.iter_raw())
