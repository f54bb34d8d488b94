"""What people ask of jobs: cancel, pause, go on, delete. Each request is checked against the job's state and audited.

A job that waits changes at once; of a running one it is noted, and its worker, which looks with every heartbeat, stops
it at a checkpoint.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store import audit, claims, costs, events
from loglore.store import jobs as rows
from loglore.store.database import Database
from loglore.store.events import Happening
from loglore.store.jobs import DEPENDENCIES, JOBS, Job, State, Wanted


@dataclass(frozen=True)
class _Way:
    """One way to grant a request: of a job in these states, and of which this is wanted (None: whatever).

    values: what changes. said: its event. then: what follows, with the job's number and the time.
    """

    states: Sequence[State]
    values: Mapping[str, Any]
    said: str
    wanted: Wanted | None = None
    then: Callable[[sa.Connection, int, float], None] | None = None


def cancel(database: Database, job_id: str, actor: str | None = None) -> Job:
    """End a job for good; one that is running stops within seconds. Those that need it are cancelled, too.

    Raises:
        InputError: no such job, or it has ended.
    """
    over = {"state": "cancelled", "ended": time.time(), "note": "", "error_code": None, "error": None}
    ways = (
        _Way(("queued", "paused"), over, "job cancelled", "run", _let_go),
        _Way(("running",), {"wanted": "cancel"}, "cancellation requested"),
    )
    return _granted(database, job_id, actor, "cancel", ways, "a job that is queued, running or paused can be cancelled")


def pause(database: Database, job_id: str, actor: str | None = None) -> Job:
    """Let a job wait until it is resumed; one that is running leaves a checkpoint.

    Raises:
        InputError: no such job, or it is neither queued nor running.
    """
    ways = (
        _Way(("queued",), {"state": "paused", "note": ""}, "job paused"),
        _Way(("running",), {"wanted": "pause"}, "pause requested", "run"),
    )
    return _granted(database, job_id, actor, "pause", ways, "a job that is queued or running can be paused")


def resume(database: Database, job_id: str, actor: str | None = None) -> Job:
    """Queue a paused or failed job again, to go on where it stopped, and what was cancelled because it had failed.

    Raises:
        InputError: no such job, or it is in another state.
    """
    ways = (
        _Way(("paused", "failed"), _afresh(), "job resumed", then=_revive_dependents),
        _Way(("running",), {"wanted": "run"}, "pause withdrawn", "pause"),
    )
    return _granted(database, job_id, actor, "resume", ways, "a job that is paused or failed can be resumed")


def delete(database: Database, job_id: str, actor: str | None = None) -> Job:
    """Forget a job that has ended or is paused, with its events; its files are the caller's to remove.

    What it cost stays in its months.

    Raises:
        InputError: no such job, it is queued or running, or another one that has not ended needs it.
    """
    job = rows.find(database, job_id)
    with database.write() as connection:
        # On PostgreSQL nobody can come to need it meanwhile.
        connection.execute(sa.select(JOBS.c.id).where(JOBS.c.number == job.number).with_for_update())
        needed = connection.execute(
            sa.select(JOBS.c.id)
            .join(DEPENDENCIES, DEPENDENCIES.c.job == JOBS.c.number)
            .where(DEPENDENCIES.c.needs == job.number, JOBS.c.state.not_in(rows.ENDED))
        ).scalar()
        if needed is not None:
            raise InputError(f"job {job_id}: job {needed} needs it")
        costs.keep(connection, job.number)
        if not rows.delete(connection, job_id):
            raise _impossible(connection, job, "a job that is paused or ended can be deleted")
        audit.note(connection, actor, "job.delete", job_id, {"kind": job.kind, "name": job.name})
    return job


def _afresh() -> dict[str, Any]:
    return {
        "state": "queued", "wanted": "run", "note": "", "attempts": 0, "not_before": 0.0, "ended": None,
        "error_code": None, "error": None,
    }  # fmt: skip


def _granted(database: Database, job_id: str, actor: str | None, action: str, ways: Sequence[_Way], rule: str) -> Job:
    """Change the job in the first way that its state allows, with its event and its entry in the audit trail."""
    job = rows.find(database, job_id)
    now = time.time()
    with database.begin() as connection:
        for way in ways:
            update = JOBS.update().where(JOBS.c.number == job.number, JOBS.c.state.in_(way.states)).values(way.values)
            if way.wanted is not None:
                update = update.where(JOBS.c.wanted == way.wanted)
            if connection.execute(update).rowcount:
                events.append(connection, job.number, [Happening(now, way.said)])
                if way.then is not None:
                    way.then(connection, job.number, now)
                break
        else:
            raise _impossible(connection, job, rule)
        audit.note(connection, actor, f"job.{action}", job_id)
    return rows.find(database, job_id)


def _let_go(connection: sa.Connection, number: int, now: float) -> None:
    claims.let_go(connection, number)
    claims.cancel_dependents(connection, number, now)


def _impossible(connection: sa.Connection, job: Job, rule: str) -> InputError:
    found = connection.execute(sa.select(JOBS.c.state, JOBS.c.wanted).where(JOBS.c.number == job.number)).first()
    state = "gone" if found is None else found.state
    if found is not None and state == "running" and found.wanted != "run":
        state = f"running and about to {found.wanted}"
    return InputError(f"job {job.id} is {state}: only {rule}")


def _revive_dependents(connection: sa.Connection, number: int, now: float) -> None:
    dependents = sa.select(DEPENDENCIES.c.job).where(DEPENDENCIES.c.needs == number)
    revived = connection.execute(
        JOBS.update()
        .where(JOBS.c.number.in_(dependents), JOBS.c.state == "cancelled", JOBS.c.error_code == "dependency")
        .values(_afresh())
        .returning(JOBS.c.number)
    )
    for each in revived.scalars().all():
        events.append(connection, each, [Happening(now, "job queued again: what it needs was resumed")])
        _revive_dependents(connection, each, now)
