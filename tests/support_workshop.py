"""A real API process and a real worker process over one home, with a tiny model in the hub, for end-to-end tests."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

CORPUS = [{"text": f"Human: What does event {n} mean?\nAssistant: The disk {n} was full.\n"} for n in range(24)]
CHATS = [
    {"messages": [{"role": "user", "content": f"Why {n}?"}, {"role": "assistant", "content": f"The disk {n} is full."}]}
    for n in range(12)
]
ITEMS = [{"item": {"log": f"ERROR disk {n} full", "cause": f"The disk {n} is full."}} for n in range(4)]
QUICK = {"batch_size": 2, "gradient_accumulation_steps": 1, "max_sequence_length": 64, "mixed_precision": "none"}


@dataclass
class Workshop:
    """A running studio without pages: its URL, its home, its admin key, its processes."""

    url: str
    home: Path
    admin: str
    environment: dict[str, str] = field(repr=False)
    worker: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def client(self) -> openai.OpenAI:
        """The official client, unchanged; it retries nothing, so that a test sees every error."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=120)

    def wait(self, job: str) -> Any:
        """Follow a fine-tuning job to its end through its events, and read it again."""
        events = self.client.get(
            f"/fine_tuning/jobs/{job}/events",
            cast_to=object,
            stream=True,
            stream_cls=openai.Stream[Any],
            options={"params": {"stream": True}},
        )
        for _ in events:
            pass
        return self.client.fine_tuning.jobs.retrieve(job)

    def stored(self, rows: list[dict[str, Any]], purpose: Any = "fine-tune", name: str = "rows.jsonl") -> str:
        """The id of a stored file of rows."""
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return self.client.files.create(file=(name, content), purpose=purpose).id

    def start_worker(self) -> None:
        """Start a worker in place of one that has ended."""
        self.worker = _worker(self.environment)

    def stop_worker(self) -> None:
        """Ctrl-C."""
        self.worker.send_signal(signal.SIGINT)
        self.worker.wait(120)
        assert self.worker.stdout is not None
        self.worker.stdout.close()


def _worker(environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "loglore.jobs.work"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.fixture(scope="module")
def workshop(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """`python -m loglore.api` and a worker, with the model `tiny@1` in the hub and a log below the server's folder."""
    root = tmp_path_factory.mktemp("workshop")
    home = root / "home"
    (root / "logs").mkdir()
    (root / "logs" / "app.log").write_text("".join(f"2026-03-01 10:00:{n:02} ERROR disk {n} full\n" for n in range(60)))
    environment = {
        **os.environ,
        "LOGLORE_HOME": str(home),
        "LOGLORE_THREADS": "1",
        "LOGLORE_ENDPOINT_KEY": "",
    }
    environment.pop("LOGLORE_DATABASE", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLORE_HOME", str(home))
        patch.delenv("LOGLORE_DATABASE", raising=False)
        from loglore.hub import models

        models.add("tiny", tiny_model, {"from": "test"})
    command = [sys.executable, "-m", "loglore.api", "--port", "0", "--until-eof"]
    command += ["--runs", str(root / "runs"), "--logs", str(root / "logs")]
    log = (root / "api.log").open("wb")
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = process.stdout.readline().decode().strip()
        admin = process.stdout.readline().decode().strip()
        made = Workshop(url, home, admin, environment, _worker(environment))
        yield made
        made.stop_worker()
        process.stdin.close()
        assert process.wait(20) == 0
    log.close()
    errors = (root / "api.log").read_text()
    assert "Traceback" not in errors, errors
    assert made.admin not in errors
