"""A teacher that answers when it is told to: a job that asks it is in the middle of its work until then."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER = {
    "grok": "%{GREEDYDATA:line}", "insight": "It says that the link is down.", "root_cause": None, "components": None,
    "forecast": None,
}  # fmt: skip


class Gate:
    """A server on loopback. `asked` is set with the first request; none is answered before `open`."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.requests = 0
        self._open = threading.Event()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                gate.requests += 1
                gate.asked.set()
                gate._open.wait()
                message = {"role": "assistant", "content": json.dumps(ANSWER)}
                body = {
                    "id": "x", "object": "chat.completion", "created": 0, "model": "gate",
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                }  # fmt: skip
                data = json.dumps(body).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # who asked was killed meanwhile
                    pass

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def open(self) -> None:
        self._open.set()

    def wait_until_asked(self, timeout_s: float = 120) -> None:
        assert self.asked.wait(timeout_s), "the job never asked"
        self.asked.clear()

    def close(self) -> None:
        self.open()
        self._server.shutdown()
        self._server.server_close()
