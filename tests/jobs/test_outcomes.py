"""What an exit status, and what the job left behind, mean for the job."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loglore.errors import InputError
from loglore.jobs import family, worker
from loglore.jobs.executor import BAD_INPUT, BUSY, DISK_FULL, DONE, FAILED, STOPPED
from loglore.jobs.queue import Order, submit
from loglore.jobs.work import gpus_here
from loglore.jobs.worker import Held, Patience, Worker, outcome_of
from loglore.runs import files
from loglore.store import claims, jobs
from loglore.store.claims import Claim
from loglore.store.database import Database


@pytest.fixture
def database_url(home: Path) -> str:
    return f"sqlite:///{home / 'loglore.db'}"


@pytest.fixture
def held(database: Database, short: dict[str, Any]) -> Held:
    submit(database, "prepare", short, Order(max_attempts=3))
    claim = claims.claim(database, "w", 0, 0, 0.0)
    assert claim is not None
    return Held(claim, None, (), 0, False, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "end", "error"),
    [
        (FAILED, "again", "job_failed"), (BAD_INPUT, "failed", "invalid_input"), (STOPPED, "stopped", None),
        (BUSY, "stopped", None), (DISK_FULL, "held", "disk_full"), (-9, "again", "crashed"), (-11, "again", "crashed"),
        (70, "again", "crashed"),
    ],
)  # fmt: skip
def test_ends(held: Held, code: int, end: str, error: str | None) -> None:
    found = outcome_of(held, code, 0.0, 5.0)
    assert (found.end, found.code) == (end, error)
    assert (found.not_before > 0) == (code in (FAILED, BUSY, -9, -11, 70))
    # Told to stop, a job may end in any way: it goes on later.
    held.told = "pause requested"
    assert outcome_of(held, code, 0.0, 5.0).end == "stopped"


def test_unfinished_work_is_tried_again_while_there_are_attempts(held: Held) -> None:
    files.write_json(Path(held.claim.job.folder) / "report.json", {"outputs": {}, "unfinished": True})
    assert outcome_of(held, DONE, 0.0, 5.0).end == "again"
    held.claim = Claim(held.claim.token, replace(held.claim.job, attempts=3))
    assert outcome_of(held, DONE, 0.0, 5.0).end == "succeeded"


def test_success_without_a_report_is_none(held: Held) -> None:
    found = outcome_of(held, DONE, 0.0, 5.0)
    assert found.end == "again" and found.message is not None and "report.json: no such file" in found.message


def test_waits_grow_and_end(held: Held) -> None:
    waits = [
        outcome_of(replace(held, claim=Claim("t", replace(held.claim.job, attempts=n))), -9, 0.0, 5.0).not_before
        for n in (1, 2, 3, 50)
    ]
    assert waits == [5, 10, 20, worker.LONGEST_RETRY_S]


def test_a_spec_of_a_newer_version_is_refused(held: Held, database: Database) -> None:
    newer = Claim(held.claim.token, replace(held.claim.job, spec_version=99))
    with pytest.raises(InputError, match="version 99, of a newer LogLore; this one knows 1"):
        Worker(database, None)._assignment(newer, ())  # type: ignore[arg-type]


def test_names_of_workers_tell_who_is_gone() -> None:
    own = family.own_name()
    assert not family.is_gone(own)
    place, pid, started = own.rsplit(".", 2)
    assert pid == str(os.getpid())
    # Another process got its number; no process has it; it is on another machine.
    assert family.is_gone(f"{place}.{pid}.{int(started) - 1}")
    assert family.is_gone(f"{place}.{2**22 + 1}.1")
    assert not family.is_gone(f"elsewhere.1.{2**22 + 1}.1")


def test_heartbeats_count_by_their_change_and_not_by_any_clock(held: Held, database: Database) -> None:
    patience = Patience(beat_s=0.01, lost_s=0.3)
    observer = Worker(database, None, say=lambda text: None, patience=patience)  # type: ignore[arg-type]
    with database.begin() as connection:
        connection.execute(jobs.JOBS.update().values(worker="elsewhere.1.1.1"))
    # A worker whose clock runs backwards is alive.
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert claims.beat(database, held.claim, until - time.monotonic()) == "run"
        observer.look(claiming=False)
    # One without heartbeats is not.
    while jobs.find(database, held.claim.job.id).state == "running":
        observer.look(claiming=False)
    assert jobs.find(database, held.claim.job.id).note == "worker elsewhere.1.1.1 was lost"


def test_time_in_which_nobody_looked_says_nothing(held: Held, database: Database) -> None:
    patience = Patience(beat_s=0.01, lost_s=0.1)
    observer = Worker(database, None, say=lambda text: None, patience=patience)  # type: ignore[arg-type]
    with database.begin() as connection:
        connection.execute(jobs.JOBS.update().values(worker="elsewhere.1.1.1"))
    time.sleep(0.02)
    observer.look(claiming=False)
    time.sleep(0.5)  # as if the machine had stood still
    observer.look(claiming=False)
    assert jobs.find(database, held.claim.job.id).state == "running"


def test_gpus_are_those_that_may_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert gpus_here(None) == ["2", "3"] and gpus_here(1) == ["2"]
    with pytest.raises(InputError, match="3 GPUs are wanted, and there are 2"):
        gpus_here(3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus_here(None) == []


SPAWN = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


def test_what_a_killed_job_has_started_is_found_and_ended() -> None:
    # As torchrun's processes: in sessions of their own, they outlive a parent that is killed.
    mark = family.mark("job-test", str(os.getpid()))
    environment = {**os.environ, family.MARK: mark}
    with subprocess.Popen([sys.executable, "-c", SPAWN], env=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"started\n"
        assert len(family.members(mark)) == 2
        parent.kill()
    assert len(family.members(mark)) == 1
    assert family.members(family.mark("job-test", "other")) == []
    family.end_family(mark)
    assert family.members(mark) == []
