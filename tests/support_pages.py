"""An API without a worker, and jobs as the studio's pages show them without the hours that they would take.

Such jobs are rows in the database and files in folders, written as a worker and a run would.
"""

import contextlib
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from loglore.store import audit, costs, jobs
from loglore.store.database import Database
from loglore.store.jobs import JOBS

KINDS = ("train", "test", "synth", "export")
STATES = ("succeeded", "succeeded", "failed", "cancelled")
METRICS = ("fuzzy_match", "bleu", "rouge1", "rouge2", "rougeL", "rougeLsum")
SHOWN = 60  # of the hub of the tests
LAST = 6  # jobs at the end of the list that are there to be looked at, see `add_jobs`
SCORE = {"value": 0.4, "low": 0.3, "high": 0.5, "significant": True}
START = 1.79e9  # seconds since 1970 of the first job; one comes every second


def add_jobs(database: Database, home: Path, count: int, steps: int = 20, rows: int = 12) -> dict[str, str]:
    """Queue nothing, but leave what `count` jobs would have left.

    Args:
        database: to add them to.
        home: where their folders are made.
        count: of jobs, at least `LAST`.
        steps: optimizer steps of the train jobs to look at.
        rows: of the test jobs to look at.

    Returns:
        Ids of the newest ones by what they are: `train` (succeeded), `running` (a train job), `test`, `test-before`,
        `compare` and `synth`.
    """
    made = [_row(home, number, KINDS[number % 4], STATES[number // 4 % 4]) for number in range(1, count - LAST + 1)]
    shown = {
        name: _row(home, count - LAST + place, kind, state)
        for place, (name, kind, state) in enumerate(
            [("test-before", "test", "succeeded"), ("test", "test", "succeeded"), ("compare", "compare", "succeeded"),
             ("synth", "synth", "succeeded"), ("train", "train", "succeeded"), ("running", "train", "running")], 1
        )
    }  # fmt: skip
    shown["train"]["report"] = {
        "loss": {"first": 2.0, "last": 1.0},
        "tokens": 10**6,
        "hyperparameters": [HYPERPARAMETER],
    }
    shown["synth"]["report"] = {"job": {"published": "rows@1", "datasets": {"train": "rows@1"}}}
    for name in ("test-before", "test"):
        shown[name]["report"] = {"scores": dict.fromkeys(METRICS, SCORE)}
    shown["compare"]["report"] = {"outputs": {"comparison": "comparison.json"}}
    with database.begin() as connection:
        connection.execute(JOBS.insert(), [*made, *shown.values()])
        for row in made:
            within = datetime.datetime(2026, 1 + row["number"] % 11, 15, tzinfo=datetime.UTC).timestamp()
            costs.add(connection, row["number"], within, 3600.0, 2.31)
            audit.note(connection, None, "job.create", row["id"])
    for name, row in shown.items():
        _write(Path(row["folder"]), name, steps, rows)
    return {name: row["id"] for name, row in shown.items()}


HYPERPARAMETER = {"key": "epochs", "requested": 1, "status": "effective", "effective": 1, "note": ""}


def _row(home: Path, number: int, kind: str, state: str) -> dict[str, Any]:
    return {
        "number": number, "id": jobs.new_id(kind), "kind": kind, "spec": {"stage": "sft"}, "spec_version": 1,
        "name": f"job {number}", "state": state, "wanted": "run", "note": "", "priority": 0, "created": START + number,
        "started": START + number, "ended": None if state == "running" else START + number + 60, "not_before": 0.0,
        "attempts": 1, "max_attempts": 3, "folder": str(home / "jobs" / str(number) / "run"), "metadata": {},
        "events": 0, "indexed": {}, "price": 2.31, "report": {},
        "error": "the disk is full" if state == "failed" else None,
    }  # fmt: skip


def _write(folder: Path, name: str, steps: int, rows: int) -> None:
    folder.mkdir(parents=True)
    (folder.parent / "log.txt").write_text("one line of output\n" * 200)
    if name in ("train", "running"):
        values = {"learning_rate": 1e-5, "grad_norm": 1.0}
        rows_of = [{"step": step, "loss": 2 - step / steps, **values} for step in range(1, steps + 1)]
        _lines(folder / "metrics.jsonl", rows_of)
        _lines(folder / "events.jsonl", [{"time": "2026-11-26T10:00:00+00:00", "event": "planned", "steps": 2 * steps}])
        _lines(folder / "system.jsonl", [_sample(number) for number in range(steps)])
    elif name.startswith("test"):
        _write_rows(folder / "rows.parquet", rows, 0.5 if name == "test" else 1.0)
    elif name == "compare":
        scores = dict.fromkeys(METRICS, SCORE)
        found = {
            "rows": rows, "baseline": "a", "models": [{"label": each, "scores": scores} for each in "abc"],
            "differences": [{"model": each, "against": "a", "scores": scores} for each in "bc"], "findings": ["None."],
        }  # fmt: skip
        (folder / "comparison.json").write_text(json.dumps(found))


def _sample(number: int) -> dict[str, Any]:
    """Telemetry of every fifth second, with a GPU."""
    return {
        "time": f"2026-11-26T{10 + number // 720}:{number // 12 % 60:02}:{number % 12 * 5:02}.000+00:00",
        "machine_cpu_percent": 50.0, "machine_memory_percent": 30.0, "memory_bytes": 10**9,
        "network_sent_bytes": 10**6 * number, "network_received_bytes": 10**6 * number,
        "gpus": [{"gpu": 0, "utilisation_percent": 97.0, "memory_mb": 70_000.0, "memory_percent": 88.0,
                  "power_watts": 650.0, "power_percent": 93.0}],
    }  # fmt: skip


def _write_rows(path: Path, count: int, share: float) -> None:
    """Rows of a test job; the first has the worst scores, which are `share` of what the last one could have."""
    import polars as pl

    texts = [f"The disk {number} is full." for number in range(count)]
    columns: dict[str, Any] = {
        "row": range(1, count + 1), "turn": [1] * count, "key": [f"k{number}" for number in range(count)],
        "task": [""] * count, "source": [""] * count, "input": texts, "truth": texts, "output": texts,
        "finish": ["stop"] * count, "tokens": [9] * count, "latency_s": [1.0] * count,
        **{name: [share * number / count for number in range(count)] for name in METRICS},
    }  # fmt: skip
    pl.DataFrame(columns).write_parquet(path)


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@dataclass(frozen=True)
class Hub:
    """An API process without a worker: its URL, its home, its admin key; ids of jobs to look at, see `add_jobs`."""

    url: str
    home: Path
    admin: str
    jobs: dict[str, str]

    def get(self, path: str) -> Any:
        """The answer of `/v1` + path."""
        return _answer(httpx2.get(f"{self.url}/v1{path}", timeout=60))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer of `/v1` + path to a JSON body."""
        return _answer(httpx2.post(f"{self.url}/v1{path}", json=body, timeout=60))

    def dataset(self, name: str, rows: list[dict[str, Any]]) -> str:
        """A dataset of rows, as `NAME@1`."""
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        sent = httpx2.post(
            f"{self.url}/v1/files", files={"file": (f"{name}.jsonl", content)}, data={"purpose": "fine-tune"}
        )
        body = {"name": name, "file": _answer(sent)["id"], "licence": "CC0-1.0"}
        return str(self.post("/studio/datasets", body)["id"])


def _answer(reply: httpx2.Response) -> Any:
    assert reply.status_code < 300, reply.text
    return reply.json()


@contextlib.contextmanager
def api_of(home: Path, logs: Path, jobs: dict[str, str] | None = None, **environment: str) -> Iterator[Hub]:
    """`python -m loglore.api` over a home and a folder of logs."""
    command = [sys.executable, "-m", "loglore.api", "--port", "0", "--until-eof", "--logs", str(logs)]
    command += ["--runs", str(home / "runs")]
    surroundings = {**os.environ, "LOGLORE_HOME": str(home), "LOGLORE_THREADS": "1", **environment}
    surroundings.pop("LOGLORE_DATABASE", None)
    with subprocess.Popen(
        command, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield Hub(process.stdout.readline().strip(), home, process.stdout.readline().strip(), jobs or {})
        process.stdin.close()
        assert process.wait(20) == 0
