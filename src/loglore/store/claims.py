"""Jobs moved through their states by workers: claimed, kept by heartbeats, and ended. `requests` is what people ask.

Every change is one conditional update: a claim takes a queued job that nobody else took, and all later changes ask for
the claim's token. A worker that lost its claim therefore changes nothing any more.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from loglore.store import costs, events
from loglore.store.database import Database
from loglore.store.events import Happening
from loglore.store.jobs import DEPENDENCIES, ENDED, JOBS, SHOWN, Job, State, Wanted, rows
from loglore.store.uses import USES

LONGEST_WAIT_S = 600.0  # a job that would wait longer was queued by a clock that has gone back since
LEFT = {"worker": None, "claim": None, "heartbeat": None, "wanted": "run"}


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds; `token` is the proof."""

    token: str
    job: Job


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        end: `succeeded`; `failed` for good; `again`: it may be tried again, if any attempt is left; `stopped`: told to,
            it will go on; `held`: it waits, paused, for somebody to make room (disk, money).
        report: of a job that succeeded.
        code, message: of the error, if there was one.
        note: why it is in its new state.
        not_before: when it may be claimed again, seconds since 1970.
    """

    end: Literal["succeeded", "failed", "again", "stopped", "held"]
    report: Mapping[str, Any] | None = None
    code: str | None = None
    message: str | None = None
    note: str = ""
    not_before: float = 0.0


@dataclass(frozen=True)
class Running:
    """A running job as other workers see it: the claim is alive as long as `heartbeat` changes."""

    number: int
    id: str
    token: str
    worker: str
    heartbeat: float


def claim(database: Database, worker: str, gpus: int, free: int, now: float) -> Claim | None:
    """Take the most urgent job that can start: its dependencies succeeded, its GPUs are free.

    A job that fits the worker but not what is free now keeps later ones that want GPUs waiting, so that a large job is
    not starved by small ones.

    Args:
        database: where the jobs are.
        worker: who claims.
        gpus: GPUs of the worker; a job that wants more is left to others.
        free: those that no job of the worker holds.
        now: seconds since 1970.
    """
    wants = sa.func.coalesce(JOBS.c.gpus, gpus)
    other = JOBS.alias()
    waiting = (
        sa.select(DEPENDENCIES.c.job)
        .join(other, other.c.number == DEPENDENCIES.c.needs)
        .where(DEPENDENCIES.c.job == JOBS.c.number, other.c.state != "succeeded")
    )
    due = sa.or_(JOBS.c.not_before <= now, JOBS.c.not_before > now + LONGEST_WAIT_S)
    ready = sa.and_(JOBS.c.state == "queued", due, ~waiting.exists())
    first = sa.select(JOBS.c.number).where(ready).order_by(JOBS.c.priority.desc(), JOBS.c.number).limit(1)
    token = secrets.token_hex(16)
    with database.begin() as connection:
        room = free
        if free < gpus:
            head = sa.select(wants).where(ready, wants > 0, wants <= gpus)
            largest = connection.execute(head.order_by(JOBS.c.priority.desc(), JOBS.c.number).limit(1)).scalar()
            room = free if largest is not None and largest <= free else 0
        chosen = first.where(wants <= room).with_for_update(skip_locked=True).scalar_subquery()
        taken = connection.execute(
            JOBS.update()
            .where(JOBS.c.number == chosen, JOBS.c.state == "queued")
            .values(
                state="running",
                wanted="run",
                note="",
                worker=worker,
                claim=token,
                heartbeat=now,
                started=sa.func.coalesce(JOBS.c.started, now),
                ended=None,
                attempts=JOBS.c.attempts + 1,
                error_code=None,
                error=None,
            )
            .returning(JOBS.c.number)
        ).scalar()
        if taken is None:
            return None
        (job,) = rows(connection, sa.select(*SHOWN).where(JOBS.c.number == taken))
        again = "" if job.attempts == 1 else f", attempt {job.attempts} of {job.max_attempts}"
        events.append(connection, taken, [Happening(now, f"job started by worker {worker}{again}")])
    return Claim(token, job)


def beat(database: Database, claim: Claim, now: float, gpu_seconds: float = 0.0) -> Wanted | None:
    """A sign of life of a job, with its GPU-seconds since the last one; says what is wanted of it. None: claim lost."""
    with database.begin() as connection:
        mine = _mine(claim).values(heartbeat=now).returning(JOBS.c.wanted)
        wanted: Wanted | None = connection.execute(mine).scalar()
        if wanted is not None and gpu_seconds > 0:
            dollars = gpu_seconds / 3600 * claim.job.price
            costs.add(connection, claim.job.number, costs.month_of(now), gpu_seconds, dollars)
        return wanted


def index(database: Database, claim: Claim, happenings: list[Happening], marks: Mapping[str, Any]) -> bool:
    """Add what a run folder's files say, together with how far they were read; False: claim lost, nothing added."""
    with database.begin() as connection:
        if not connection.execute(_mine(claim).values(indexed=dict(marks))).rowcount:
            return False
        events.append(connection, claim.job.number, happenings)
        return True


def indexed(database: Database, job_id: str) -> dict[str, Any]:
    """How far the files of a job were read, as `index` was told."""
    with database.begin() as connection:
        return dict(connection.execute(sa.select(JOBS.c.indexed).where(JOBS.c.id == job_id)).scalar_one())


def end(database: Database, claim: Claim, outcome: Outcome, now: float) -> State | None:
    """End an attempt; returns the job's new state, or None when the claim was lost."""
    with database.begin() as connection:
        return _end(connection, _mine(claim), claim.job.number, outcome, now)


def running(database: Database) -> list[Running]:
    """All claims, for a look whether their workers live."""
    columns = (JOBS.c.number, JOBS.c.id, JOBS.c.claim, JOBS.c.worker, JOBS.c.heartbeat)
    with database.begin() as connection:
        return [Running(*row) for row in connection.execute(sa.select(*columns).where(JOBS.c.state == "running"))]


def reclaim(database: Database, lost: Running, now: float) -> State | None:
    """Take a job from a worker that is gone; returns its new state, or None when it was alive after all."""
    unchanged = JOBS.update().where(
        JOBS.c.number == lost.number, JOBS.c.claim == lost.token, JOBS.c.heartbeat == lost.heartbeat
    )
    message = f"worker {lost.worker} was lost"
    outcome = Outcome("again", code="lost", message=message, note=message)
    with database.begin() as connection:
        return _end(connection, unchanged, lost.number, outcome, now)


def _mine(claim: Claim) -> sa.Update:
    return JOBS.update().where(JOBS.c.number == claim.job.number, JOBS.c.claim == claim.token)


def _end(connection: sa.Connection, where: sa.Update, number: int, outcome: Outcome, now: float) -> State | None:
    values: dict[str, Any] = {**LEFT, "note": outcome.note, "error_code": outcome.code, "error": outcome.message}
    wish = [(JOBS.c.wanted == "cancel", "cancelled"), (JOBS.c.wanted == "pause", "paused")]
    if outcome.end == "succeeded":
        values |= {"state": "succeeded", "report": outcome.report}
    elif outcome.end == "failed":
        values["state"] = "failed"
    elif outcome.end == "again":
        exhausted = (JOBS.c.attempts >= JOBS.c.max_attempts, "failed")
        values |= {"state": sa.case(*wish, exhausted, else_="queued"), "not_before": outcome.not_before}
    else:
        other = "queued" if outcome.end == "stopped" else "paused"
        values |= {
            "state": sa.case(*wish, else_=other),
            "attempts": JOBS.c.attempts - 1,
            "not_before": outcome.not_before,
        }
    state: State | None = connection.execute(where.values(values).returning(JOBS.c.state)).scalar()
    if state is None:
        return None
    said = ": ".join(text for text in (f"job {state}", outcome.message or outcome.note) if text)
    level: events.Level = "error" if state == "failed" else "warn" if outcome.code else "info"
    events.append(connection, number, [Happening(now, said, level)])
    if state in ENDED:
        connection.execute(JOBS.update().where(JOBS.c.number == number).values(ended=now))
        let_go(connection, number)
    if state in ("failed", "cancelled"):
        cancel_dependents(connection, number, now)
    return state


def let_go(connection: sa.Connection, number: int) -> None:
    """Release what was held for a job, by number, that has ended."""
    holder = sa.select(JOBS.c.id).where(JOBS.c.number == number).scalar_subquery()
    connection.execute(USES.delete().where(USES.c.holder == holder))


def cancel_dependents(connection: sa.Connection, number: int, now: float) -> None:
    """Cancel what can never start because a job it needs, by number, failed or was cancelled."""
    job_id, state = connection.execute(sa.select(JOBS.c.id, JOBS.c.state).where(JOBS.c.number == number)).one()
    message = f"job {job_id}, which it needs, {'failed' if state == 'failed' else 'was cancelled'}"
    dependents = sa.select(DEPENDENCIES.c.job).where(DEPENDENCIES.c.needs == number)
    cancelled = connection.execute(
        JOBS.update()
        .where(JOBS.c.number.in_(dependents), JOBS.c.state.in_(("queued", "paused")))
        .values(state="cancelled", ended=now, error_code="dependency", error=message, note=message)
        .returning(JOBS.c.number)
    )
    for each in cancelled.scalars().all():
        events.append(connection, each, [Happening(now, f"job cancelled: {message}", "warn")])
        let_go(connection, each)
        cancel_dependents(connection, each, now)
