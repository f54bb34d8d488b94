"""A disk that fills under a job: the job is paused, not lost, and goes on when there is room."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_full_disk import needs_namespaces

from loglore.jobs import queue
from loglore.jobs.queue import Order
from loglore.store import jobs
from loglore.store.database import Database

ROOT = Path(__file__).parents[2]
SCRIPT = """
mount -t tmpfs -o size=60k tmpfs "$DISK"
"$@" worker --until-idle 2>first.err
"$@" jobs show "$JOB" --json >first.json
mount -o remount,size=64m "$DISK"
"$@" jobs resume "$JOB" --json >resumed.json
"$@" worker --until-idle 2>second.err
"$@" jobs show "$JOB" --json >second.json
wc -l <"$DISK/$JOB/run/train.jsonl" >rows
"""


@pytest.fixture
def database_url(home: Path) -> str:
    return f"sqlite:///{home / 'loglore.db'}"


@needs_namespaces
def test_a_full_disk_pauses_a_job_and_room_lets_it_go_on(database: Database, home: Path, tmp_path: Path) -> None:
    values = {
        "logs": [str(ROOT / "examples" / "logs" / "redis.log")], "test_chunks": 2, "validation_chunks": 1,
        "test_rows": 5, "validation_rows": 2, "train_rows": 60,
    }  # fmt: skip
    job = queue.submit(database, "synth", values, Order(max_attempts=1))
    (home / "jobs").mkdir()
    subprocess.run(
        ["unshare", "-rm", "sh", "-c", SCRIPT, "sh", sys.executable, "-m", "loglore"],
        cwd=tmp_path,
        env={**os.environ, "DISK": str(home / "jobs"), "JOB": job.id},
        check=True,
        timeout=200,
    )
    first = json.loads((tmp_path / "first.json").read_text())
    assert (first["state"], first["error_code"], first["attempts"]) == ("paused", "disk_full", 0)
    assert "disk full while writing" in first["error"]
    second = json.loads((tmp_path / "second.json").read_text())
    assert second["state"] == "succeeded", (tmp_path / "second.err").read_text()
    assert int((tmp_path / "rows").read_text()) == second["report"]["rows"]["train"]
    assert jobs.find(database, job.id).state == "succeeded"
