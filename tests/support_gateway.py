"""What the gateway's tests share: a scripted engine, and a gateway in a thread in front of it."""

import asyncio
import contextlib
import http.server
import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from loglore.api.app import Parts, Studio, create_app
from loglore.api.bounds import PatientOnce
from loglore.api.house import House
from loglore.api.keyring import Keyring
from loglore.api.listening import bind
from loglore.api.serving import GatewayServer
from loglore.cluster.serving import Place
from loglore.serve.engine import Session
from loglore.serve.supervised import Plan
from loglore.store.database import Database, open_database


class ScriptedEngine(http.server.ThreadingHTTPServer):
    """Streams `words`, as llama.cpp's server does. `hold` keeps every answer open after its first word until it is set.

    `requests` are the bodies received; `hung_up` counts callers that left before the end.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Engine)
        self.words = ["disk ", "full ", "🚀"]
        self.refusal: tuple[int, Any] | None = None
        self.break_after: int | None = None
        self.hold = threading.Event()
        self.hold.set()
        self.requests: list[dict[str, Any]] = []
        self.hung_up = threading.Semaphore(0)
        self.running = 0
        self.most_running = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that leaves early is part of the tests."""


class _Engine(http.server.BaseHTTPRequestHandler):
    server: ScriptedEngine
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        server = self.server
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.requests.append({"path": self.path, **wish})
        with server.lock:
            server.running += 1
            server.most_running = max(server.most_running, server.running)
        try:
            if server.refusal is not None:
                self._json(*server.refusal)
            elif wish.get("stream"):
                self._stream(wish)
            else:
                self._whole(wish)
        except OSError:
            server.hung_up.release()
        finally:
            with server.lock:
                server.running -= 1
            self.close_connection = True

    def _whole(self, wish: dict[str, Any]) -> None:
        while not self.server.hold.wait(0.01):
            self.connection.settimeout(0.001)
            with contextlib.suppress(TimeoutError):
                if self.connection.recv(1, socket.MSG_PEEK) == b"":
                    raise OSError("left")
        self.connection.settimeout(None)
        text = "".join(self.server.words)
        choice = {"index": 0, "finish_reason": "stop"}
        choice |= {"message": {"role": "assistant", "content": text}} if "messages" in wish else {"text": text}
        usage = {"prompt_tokens": 7, "completion_tokens": len(self.server.words), "total_tokens": 10}
        self._json(
            200, {"id": "x", "object": "o", "created": 1, "model": wish["model"], "choices": [choice], "usage": usage}
        )

    def _stream(self, wish: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number, word in enumerate(self.server.words):
            if number == self.server.break_after:
                self.wfile.write(b'data: {"choices": [{"ind')
                return
            part = {"delta": {"content": word}} if "messages" in wish else {"text": word}
            self._event(wish, [{"index": 0, "finish_reason": None, **part}])
            while not self.server.hold.wait(0.01):
                self.connection.settimeout(0.001)
                with contextlib.suppress(TimeoutError):
                    if self.connection.recv(1, socket.MSG_PEEK) == b"":
                        raise OSError("left")
            self.connection.settimeout(None)
        timings = {"cache_n": 4, "prompt_n": 3, "predicted_n": len(self.server.words)}
        part = {"delta": {}} if "messages" in wish else {"text": ""}
        self._event(wish, [{"index": 0, "finish_reason": "stop", **part}], timings=timings)
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, wish: dict[str, Any], choices: list[Any], **more: Any) -> None:
        event = {"id": "x", "object": "o", "created": 1, "model": wish["model"], "choices": choices, **more}
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def scripted_engine() -> Iterator[ScriptedEngine]:
    """A scripted engine on loopback."""
    server = ScriptedEngine()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@contextlib.contextmanager
def standing_in(url: str, name: str = "org/base", adapters: tuple[str, ...] = ()) -> Iterator[Session]:
    """A session whose engine is somewhere else; its process does nothing."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield Session(url, name, 512, process.pid, Path("engine.log"), process, adapters)
    finally:
        process.kill()
        process.wait()


@dataclass
class Gateway:
    """A running gateway."""

    url: str
    database: Database
    house: House
    keyring: Keyring
    loop: asyncio.AbstractEventLoop = field(repr=False)


@contextlib.contextmanager
def gateway(
    plans: Sequence[Plan], folder: Path, required: bool = False, days: float = 30.0,
    studio: Studio | None = None, place: Place | None = None,
) -> Iterator[Gateway]:  # fmt: skip
    """The gateway's application with sessions in a thread, as of `loglore serve`, or with `studio` as of that."""
    database = open_database(f"sqlite:///{folder / 'loglore.db'}")
    bound = bind("127.0.0.1", 0)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    ready = threading.Event()
    made: list[Gateway] = []
    servers: list[uvicorn.Server] = []

    async def serve() -> None:
        house = House(database, f"{url}/v1", required)
        keyring = Keyring(database, required)
        app = create_app(Parts(house, database, keyring, days, place=place), studio)
        for plan in plans:
            await house.start(plan)
        made.append(Gateway(url, database, house, keyring, asyncio.get_running_loop()))
        servers.append(
            GatewayServer(uvicorn.Config(app, log_level="warning", http=PatientOnce, timeout_graceful_shutdown=1))
        )
        ready.set()
        await servers[0].serve([bound])
        await house.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(60)
    yield made[0]
    servers[0].should_exit = True
    thread.join(20)
    assert not thread.is_alive()
    database.close()
