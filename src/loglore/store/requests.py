"""What people ask of jobs: cancel, pause, go on, delete. Each request is checked against the job's state and audited.

A job that waits changes at once; of a running one it is noted, and its worker, which looks with every heartbeat, stops
it at a checkpoint.
"""

import time
from typing import Any

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store import audit, claims, events
from loglore.store import jobs as rows
from loglore.store.database import Database
from loglore.store.events import Happening
from loglore.store.jobs import DEPENDENCIES, JOBS, Job


def cancel(database: Database, job_id: str, actor: str | None = None) -> Job:
    """End a job for good; one that is running stops within seconds. Those that need it are cancelled, too.

    Raises:
        InputError: no such job, or it has ended.
    """
    job = rows.find(database, job_id)
    now = time.time()
    with database.begin() as connection:
        values = {"state": "cancelled", "ended": now, "note": "", "error_code": None, "error": None}
        if _change(connection, job, ("queued", "paused"), "run", values):
            events.append(connection, job.number, [Happening(now, "job cancelled")])
            claims.let_go(connection, job.number)
            claims.cancel_dependents(connection, job.number, now)
        elif _change(connection, job, ("running",), None, {"wanted": "cancel"}):
            events.append(connection, job.number, [Happening(now, "cancellation requested")])
        else:
            raise _impossible(connection, job, "cancelled", "queued, running or paused")
        audit.note(connection, actor, "job.cancel", job_id)
    return rows.find(database, job_id)


def pause(database: Database, job_id: str, actor: str | None = None) -> Job:
    """Let a job wait until it is resumed; one that is running leaves a checkpoint.

    Raises:
        InputError: no such job, or it is neither queued nor running.
    """
    job = rows.find(database, job_id)
    now = time.time()
    with database.begin() as connection:
        if _change(connection, job, ("queued",), None, {"state": "paused", "note": ""}):
            events.append(connection, job.number, [Happening(now, "job paused")])
        elif _change(connection, job, ("running",), "run", {"wanted": "pause"}):
            events.append(connection, job.number, [Happening(now, "pause requested")])
        else:
            raise _impossible(connection, job, "paused", "queued or running")
        audit.note(connection, actor, "job.pause", job_id)
    return rows.find(database, job_id)


def resume(database: Database, job_id: str, actor: str | None = None) -> Job:
    """Queue a paused or failed job again, to go on where it stopped, and what was cancelled because it had failed.

    Raises:
        InputError: no such job, or it is in another state.
    """
    job = rows.find(database, job_id)
    now = time.time()
    with database.begin() as connection:
        if _change(connection, job, ("paused", "failed"), None, _afresh()):
            events.append(connection, job.number, [Happening(now, "job resumed")])
            _revive_dependents(connection, job.number, now)
        elif _change(connection, job, ("running",), "pause", {"wanted": "run"}):
            events.append(connection, job.number, [Happening(now, "pause withdrawn")])
        else:
            raise _impossible(connection, job, "resumed", "paused or failed")
        audit.note(connection, actor, "job.resume", job_id)
    return rows.find(database, job_id)


def delete(database: Database, job_id: str, actor: str | None = None) -> Job:
    """Forget a job that has ended or is paused, with its events and costs; its files are the caller's to remove.

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
        if not rows.delete(connection, job_id):
            raise _impossible(connection, job, "deleted", "paused or ended")
        audit.note(connection, actor, "job.delete", job_id, {"kind": job.kind, "name": job.name})
    return job


def _afresh() -> dict[str, Any]:
    return {
        "state": "queued", "wanted": "run", "note": "", "attempts": 0, "not_before": 0.0, "ended": None,
        "error_code": None, "error": None,
    }  # fmt: skip


def _change(
    connection: sa.Connection, job: Job, states: tuple[str, ...], wanted: str | None, values: dict[str, Any]
) -> bool:
    """Change the job if it is in one of the states, and `wanted` (None: whatever) is wanted of it."""
    update = JOBS.update().where(JOBS.c.number == job.number, JOBS.c.state.in_(states)).values(values)
    if wanted is not None:
        update = update.where(JOBS.c.wanted == wanted)
    return bool(connection.execute(update).rowcount)


def _impossible(connection: sa.Connection, job: Job, what: str, states: str) -> InputError:
    found = connection.execute(sa.select(JOBS.c.state, JOBS.c.wanted).where(JOBS.c.number == job.number)).first()
    state = "gone" if found is None else found.state
    if found is not None and state == "running" and found.wanted != "run":
        state = f"running and about to {found.wanted}"
    return InputError(f"job {job.id} is {state}: only a job that is {states} can be {what}")


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
