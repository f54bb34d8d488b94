"""What an exit status, and what the job left behind, mean for the job."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loglore.jobs import family, worker
from loglore.jobs.executor import BAD_INPUT, BUSY, DISK_FULL, DONE, FAILED, STOPPED
from loglore.jobs.queue import Order, submit
from loglore.jobs.worker import Held, Worker, outcome_of
from loglore.runs import files
from loglore.store import claims
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
    return Held(claim, None, (), 0, 0.0)  # type: ignore[arg-type]


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


def test_waits_grow_and_end(held: Held) -> None:
    waits = [
        outcome_of(replace(held, claim=Claim("t", replace(held.claim.job, attempts=n))), -9, 0.0, 5.0).not_before
        for n in (1, 2, 3, 50)
    ]
    assert waits == [5, 10, 20, worker.LONGEST_RETRY_S]


def test_a_spec_of_a_newer_version_is_refused(held: Held, database: Database) -> None:
    from loglore.errors import InputError

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
