"""What tests of several rooms share: a tiny GGUF made by the real converter, and a scripted OpenAI-like server."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny_gguf(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as GGUF (f32), converted once a test run."""
    from loglore.export.gguf import convert

    target = tmp_path_factory.getbasetemp() / "tiny-gguf" / "tiny.gguf"
    return target if target.exists() else convert(tiny_model, target, "f32", "tiny", target.with_suffix(".log"))


class ScriptedServer(http.server.ThreadingHTTPServer):
    """Streams `answer` word by word, as OpenAI does, and remembers every request body in `requests`.

    `status` other than 200 is sent as an OpenAI error; `break_after` pieces it drops the connection; with `hold` it
    waits for that event after three pieces.
    """

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.answer = "Nothing."
        self.status = 200
        self.break_after: int | None = None
        self.hold: threading.Event | None = None
        self.requests: list[dict[str, Any]] = []
        self.cards: list[dict[str, Any]] = [{"id": "scripted", "object": "model", "owned_by": "test"}]

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is part of the tests."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._json(200, {"object": "list", "data": self.server.cards})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append({"path": self.path, "key": self.headers["Authorization"], **body})
        if self.server.status != 200:
            self._json(self.server.status, {"error": {"message": "scripted refusal", "type": "x", "code": None}})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        pieces = self.server.answer.split(" ")
        for number, piece in enumerate(pieces):
            if number == self.server.break_after:
                self.close_connection = True
                return
            if number == 3 and self.server.hold is not None:
                self.server.hold.wait(60)
            self._chunk(
                [{"index": 0, "delta": {"content": piece if number == 0 else f" {piece}"}, "finish_reason": None}]
            )
        self._chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
        words = sum(len(message["content"].split()) for message in body["messages"])
        usage = {"prompt_tokens": words, "completion_tokens": len(pieces), "total_tokens": words + len(pieces)}
        self._chunk([], usage)
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _chunk(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> None:
        chunk = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "scripted", "choices": choices}
        self.wfile.write(b"data: " + json.dumps({**chunk, "usage": usage}).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A scripted server on loopback."""
    server = ScriptedServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
