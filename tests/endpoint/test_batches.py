"""The batch mode against a local server with files and batches."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loglore.endpoint.batches import run_batches
from loglore.endpoint.items import Accept, Again, Item, Reject
from loglore.endpoint.limits import Budget
from loglore.endpoint.runner import Fanout
from loglore.endpoint.target import Answer, Request, Target
from loglore.errors import InputError, JobError


class BatchServer(http.server.ThreadingHTTPServer):
    """Answers every request of a batch by its last message in capitals; `bad` custom ids get a 500."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.polls = 0
        self.slow = 1
        self.status = "completed"
        self.fail_words: set[str] = set()
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
            choice = {"index": 0, "message": {"role": "assistant", "content": text.upper()}, "finish_reason": "stop"}
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
            if self.server.polls >= self.server.slow:
                out, err = self.server.answer(batch["input_file_id"])
                batch |= {"status": self.server.status, "output_file_id": out, "error_file_id": err}
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


@pytest.fixture
def server() -> Iterator[BatchServer]:
    started = BatchServer()
    thread = threading.Thread(target=started.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield started
    started.shutdown()
    started.server_close()
    thread.join()


def items(*texts: str) -> list[Item]:
    return [Item(text, Request(({"role": "user", "content": text},), 10)) for text in texts]


def judge(item: Item, answer: Answer, turn: int) -> Accept | Again | Reject:
    if item.id.startswith("again") and turn == 0:
        return Again("and once more")
    return Reject("bad word") if "bad" in item.id else Accept(answer.text)


def work(server: BatchServer, folder: Path, texts: list[str], **options: Any) -> Fanout:
    target = Target(url=server.url, model="m", price_out=1e6, **options.pop("target", {}))
    fanout = Fanout([target], folder / "cache.jsonl", folder / "out.jsonl", **options)
    fanout.tally = run_batches(
        fanout, items(*texts), judge, folder / "batches.jsonl", lambda amount=1, note="": None, 0.01
    )
    return fanout


def test_upload_wait_fetch_and_a_repair_in_a_second_batch(server: BatchServer, tmp_path: Path) -> None:
    server.slow = 3
    fanout = work(server, tmp_path, ["one", "two", "again", "bad"])
    assert (fanout.tally.accepted, fanout.tally.repaired, fanout.tally.rejected) == (3, 1, 1)
    assert [fanout.outcome(name)["value"] for name in ("one", "again")] == ["ONE", "AND ONCE MORE"]  # type: ignore[index]
    assert len(server.batches) == 2
    assert fanout.tally.cost == fanout.tally.paid == 10
    assert list(tmp_path.glob("batch-*.jsonl")) == []


def test_a_batch_is_found_again(server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.slow = 10**9

    async def killed(seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("loglore.endpoint.batches.asyncio.sleep", killed)
        with pytest.raises(KeyboardInterrupt):
            work(server, tmp_path, ["one", "two"])
    server.slow = 0
    assert work(server, tmp_path, ["one", "two"]).tally.accepted == 2
    assert len(server.batches) == 1
    # A kill between the creation of a batch and its note: the note is gone, the batch is not.
    for name in ("batches.jsonl", "cache.jsonl", "out.jsonl"):
        (tmp_path / name).unlink()
    assert work(server, tmp_path, ["one", "two"]).tally.accepted == 2
    assert len(server.batches) == 1


def test_failed_rows_are_listed_and_go_into_a_new_batch(server: BatchServer, tmp_path: Path) -> None:
    server.fail_words = {"two"}
    fanout = work(server, tmp_path, ["one", "two"])
    assert (fanout.tally.accepted, fanout.tally.failed) == (1, 1)
    assert "500" in fanout.outcome("two")["reason"]  # type: ignore[index]
    server.fail_words = set()
    assert work(server, tmp_path, ["one", "two"]).tally.accepted == 2
    assert len(server.batches) == 2
    assert sum(body["messages"][0]["content"] == "one" for body in server.sent) == 1


def test_expired_and_failed_batches(server: BatchServer, tmp_path: Path) -> None:
    server.status = "failed"
    with pytest.raises(JobError, match="batch batch-0 failed: no reason given"):
        work(server, tmp_path, ["one"])
    server.status = "expired"
    assert work(server, tmp_path, ["one"]).tally.accepted == 1
    assert len(server.batches) == 2


def test_redaction_survives_the_process_that_sent(server: BatchServer, tmp_path: Path) -> None:
    from loglore.endpoint.redaction import Redactor

    def redactor() -> Redactor:
        return Redactor(tmp_path / "redaction.json")

    server.slow = 1
    fanout = work(server, tmp_path, ["why 10.9.8.7?"], redactor=redactor(), target={"redact": True})
    assert server.sent[0]["messages"][0]["content"] == "why <IP_1>?"
    assert fanout.outcome("why 10.9.8.7?")["value"] == "WHY 10.9.8.7?"  # type: ignore[index]
    assert redactor().restore("<IP_1>") == "10.9.8.7"
    # A changed spec clears the folder; the batch is found by its mark, and so are its placeholders.
    for name in ("batches.jsonl", "cache.jsonl", "out.jsonl", "redaction.json"):
        (tmp_path / name).unlink()
    fanout = work(server, tmp_path, ["why 10.9.8.7?"], redactor=redactor(), target={"redact": True})
    assert len(server.batches) == 1
    assert fanout.outcome("why 10.9.8.7?")["value"] == "WHY 10.9.8.7?"  # type: ignore[index]


def test_the_budget_holds(server: BatchServer, tmp_path: Path) -> None:
    fanout = work(server, tmp_path, ["one", "two", "three"], budget=Budget(dollars=25))
    assert (fanout.tally.accepted, fanout.tally.unasked, fanout.tally.stopped) == (2, 1, "budget")


def test_one_endpoint_only(server: BatchServer, tmp_path: Path) -> None:
    target = Target(url=server.url, model="m")
    fanout = Fanout([target, target], tmp_path / "c.jsonl", tmp_path / "o.jsonl")
    with pytest.raises(InputError, match="expected one endpoint, found 2"):
        run_batches(fanout, items("x"), judge, tmp_path / "b.jsonl", lambda amount=1, note="": None)
