"""A local server with files and batches, as OpenAI's."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any


class BatchServer(http.server.ThreadingHTTPServer):
    """Answers every request of a batch, as `reply` says, at the look number `slow`.

    Attributes:
        reply: the answer to a body; its last message in capitals. fail_words: last messages that get a 500.
        status: of a batch that is over. polls: looks so far. sent: bodies that were answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.polls = 0
        self.slow = 1
        self.status = "completed"
        self.fail_words: set[str] = set()
        self.reply: Callable[[dict[str, Any]], str] = lambda asked: str(asked["messages"][-1]["content"]).upper()
        self.sent: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, file: str) -> tuple[str, str]:
        good, bad = [], []
        for line in self.files[file].splitlines():
            row = json.loads(line)
            self.sent.append(row["body"])
            text = row["body"]["messages"][-1]["content"]
            if text in self.fail_words:
                bad.append({"custom_id": row["custom_id"], "response": {"status_code": 500, "body": {}}})
                continue
            said = self.reply(row["body"])
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            body = {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
            good.append({"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}})
        for name, rows in (("out", good), ("err", bad)):
            self.files[f"{file}-{name}"] = "\n".join(json.dumps(row) for row in rows).encode()
        return f"{file}-out", f"{file}-err"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: BatchServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")[1:]
        if parts == ["models"]:
            self._json({"object": "list", "data": [{"id": "m", "object": "model"}]})
        elif parts == ["batches"]:
            self._json({"object": "list", "data": list(self.server.batches.values()), "has_more": False})
        elif parts[0] == "batches":
            self.server.polls += 1
            batch = self.server.batches[parts[1]]
            if batch["status"] == "in_progress" and self.server.polls >= self.server.slow:
                batch["status"] = self.server.status
                if batch["status"] != "failed":
                    batch["output_file_id"], batch["error_file_id"] = self.server.answer(batch["input_file_id"])
            self._json(batch)
        else:
            self._send(self.server.files[parts[1]], "application/jsonl")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/files"):
            name = f"file-{len(self.server.files)}"
            lines = [line.strip() for line in body.split(b"\n")]
            self.server.files[name] = b"\n".join(line for line in lines if line.startswith(b'{"custom_id"'))
            self._json({"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "x", "purpose": "batch"})
            return
        asked = json.loads(body)
        name = f"batch-{len(self.server.batches)}"
        batch = {**asked, "id": name, "object": "batch", "status": "in_progress", "created_at": 0}
        self.server.batches[name] = batch
        self._json(batch)

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def batch_server() -> Iterator[BatchServer]:
    """A running one."""
    started = BatchServer()
    thread = threading.Thread(target=started.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield started
    finally:
        started.shutdown()
        started.server_close()
        thread.join()
