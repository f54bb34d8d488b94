"""What the tests of the API and of the pages share: a real API process with tiny models, runs and logs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loglore.runs.folder import RunFolder

SECRET = "this file is nobody's business"
LINES = [
    "2026-03-01 10:00:00 INFO app: started on 10.0.0.5:8080",
    "2026-03-01 10:00:05 ERROR app: disk full while writing /var/lib/app/data",
    "2026-03-01 10:00:06 ERROR app: disk full while writing /var/lib/app/data",
    "2026-03-01 10:00:09 WARNING app: <script>alert(1)</script> ![x](http://example.org/x.png)",
    "2026-03-01 10:00:20 INFO app: stopped",
]


@dataclass(frozen=True)
class Served:
    """A running API: its URL, its folders, its process."""

    url: str
    runs: Path
    logs: Path
    home: Path
    process: "subprocess.Popen[bytes]"


@pytest.fixture(scope="session")
def served(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`python -m loglore.api` with the models tiny@1 and other@1, three runs and one log."""
    root = tmp_path_factory.mktemp("studio")
    (root / "secret.txt").write_text(SECRET)
    (root / "logs" / "deep").mkdir(parents=True)
    (root / "logs" / "app.log").write_text("\n".join(LINES) + "\n")
    (root / "logs" / "deep" / "b.log").write_text("one\ntwo\n")
    (root / "logs" / "link.log").symlink_to(root / "secret.txt")
    make_runs(root / "runs")
    environment = {**os.environ, "LOGLORE_HOME": str(root / "home"), "LOGLORE_THREADS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLORE_HOME", str(root / "home"))
        from loglore.hub import models

        models.add("other", tiny_gguf, {"from": "test"})
        models.add("tiny", tiny_gguf, {"from": "test"})
    command = [sys.executable, "-m", "loglore.api", "--port", "0", "--until-eof"]
    command += ["--runs", str(root / "runs"), "--logs", str(root / "logs")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        url = process.stdout.readline().decode().strip()
        yield Served(url, root / "runs", root / "logs", root / "home", process)
        process.stdin.close()
        assert process.wait(15) == 0


def make_runs(root: Path) -> None:
    """A run with a finished training, test and comparison, one that broke off, and a job that ran alone."""
    train = RunFolder(root / "first" / "cpt", {"kind": "train", "fingerprint": "x", "stage": "cpt"})
    train.event("job started")
    train.event("planned", steps=3)
    train.metric(0, eval_loss=3.5)
    for step, loss in enumerate([3.2, 2.9, 2.5], 1):
        train.metric(step, loss=loss, seconds=1.0)
    train.metric(3, eval_loss=2.6)
    train.finish(
        {
            "outputs": {},
            "steps": 3,
            "tokens": 3000,
            "tokens_per_second": 1000.0,
            "loss": {"first": 3.2, "last": 2.5},
            "eval_loss": {"first": 3.5, "last": 2.6},
            "hyperparameters": [
                {"key": "epochs", "requested": 1, "status": "effective", "effective": 1, "note": ""},
            ],
            "job": {"kind": "train", "seconds": 3.0, "published": "tiny@1"},
        }
    )
    test = RunFolder(root / "first" / "test-base", {"kind": "test", "fingerprint": "x"})
    test.event("job started")
    score = {"value": 0.312, "low": 0.25, "high": 0.38}
    test.finish({"outputs": {}, "scores": {"rougeL": score}, "rows": 40, "job": {"kind": "test", "seconds": 9.0}})
    compare = RunFolder(root / "first" / "report", {"kind": "compare", "fingerprint": "x"})
    compare.event("job started")
    (compare.path / "report.html").write_text("<h1>Comparison</h1>")
    (compare.path / "comparison.png").write_bytes(b"\x89PNG")
    (compare.path / "weights.safetensors").write_bytes(b"weights")
    (compare.path / "link.html").symlink_to(root.parent / "secret.txt")
    compare.finish({"outputs": {"report_html": "report.html"}, "rows": 40, "job": {"kind": "compare", "seconds": 1.0}})
    broken = RunFolder(root / "broken" / "sft", {"kind": "train", "fingerprint": "x", "stage": "sft"})
    (broken.path / "events.jsonl").write_text(
        '{"time": "2026-01-01T10:00:00+00:00", "event": "job started"}\n'
        '{"time": "2026-01-01T10:00:30+00:00", "event": "planned", "steps": 8}\n{"time": "torn'
    )
    broken.metric(2, loss=1.0)
    alone = RunFolder(root / "alone", {"kind": "nlplog", "fingerprint": "x"})
    alone.event("job started")
    alone.finish({"outputs": {}, "rows": 12, "job": {"kind": "nlplog", "seconds": 0.5}})


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and data of a stream of server-sent events; comments (signs of life of a silent model) are left out."""
    blocks = [block.split("\n") for block in text.strip().split("\n\n") if not block.startswith(":")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]
