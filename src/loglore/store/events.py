"""What happened in jobs, one row each, numbered from 1 within a job, so that a reader goes on from any number.

While a job runs the files of its run folder are the truth; these rows index them, and add what the queue did.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.jobs import ENDED, JOBS
from loglore.store.schema import METADATA

Level = Literal["info", "warn", "error"]
Type = Literal["message", "metrics"]
POLL_S = 0.5

EVENTS = sa.Table(
    "job_events",
    METADATA,
    sa.Column("job", sa.ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("level", sa.String(5), nullable=False),
    sa.Column("type", sa.String(8), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("data", sa.JSON(none_as_null=True)),
    sqlite_with_rowid=False,
)


@dataclass(frozen=True)
class Happening:
    """An event before it has a number: `time` in seconds since 1970, `data` what a program reads, or None."""

    time: float
    message: str
    level: Level = "info"
    type: Type = "message"
    data: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Event:
    """One event of a job.

    Attributes:
        job: id of the job.
        number: 1, 2, 3… within the job.
        time: seconds since 1970.
        level: `info`, `warn` or `error`.
        type: `message`, or `metrics` with the numbers of a step in `data`.
        message: one line.
        data: what a program reads, or None.
    """

    job: str
    number: int
    time: float
    level: Level
    type: Type
    message: str
    data: Mapping[str, Any] | None


def append(connection: sa.Connection, job: int, happenings: Sequence[Happening]) -> None:
    """Add events to a job (by its number) within a transaction."""
    if not happenings:
        return
    counted = JOBS.update().where(JOBS.c.number == job).values(events=JOBS.c.events + len(happenings))
    last = int(connection.execute(counted.returning(JOBS.c.events)).scalar_one())
    numbers = range(last - len(happenings) + 1, last + 1)
    connection.execute(
        EVENTS.insert(),
        [{"job": job, "number": number, **vars(each)} for number, each in zip(numbers, happenings, strict=True)],
    )


def events(
    database: Database, job_id: str, after: int = 0, limit: int = 100, newest_first: bool = False
) -> list[Event]:
    """Events of a job with numbers above `after`, in order; or, the newest first, those below `after` (0: all).

    Raises:
        InputError: no such job.
    """
    with database.begin() as connection:
        job = connection.execute(sa.select(JOBS.c.number).where(JOBS.c.id == job_id)).scalar()
        if job is None:
            raise InputError(f"job {job_id!r}: no such id; see `loglore jobs list`")
        query = EVENTS.select().where(EVENTS.c.job == job).limit(limit)
        if newest_first:
            query = query.order_by(EVENTS.c.number.desc())
            query = query.where(EVENTS.c.number < after) if after else query
        else:
            query = query.order_by(EVENTS.c.number).where(EVENTS.c.number > after)
        return [Event(**{**row, "job": job_id}) for row in connection.execute(query).mappings()]


def follow(
    database: Database,
    job_id: str,
    after: int = 0,
    poll_s: float = POLL_S,
    wait: Callable[[float], object] = time.sleep,
) -> Iterator[Event]:
    """Events from `after` on as they come, until the job has ended and nothing is left; `wait` pauses between looks.

    Raises:
        InputError: no such job.
    """
    while True:
        # The state is read first: what is written before the end is then seen.
        over = _ended(database, job_id)
        page = events(database, job_id, after, limit=500)
        yield from page
        if page:
            after = page[-1].number
        elif over:
            return
        else:
            wait(poll_s)


def _ended(database: Database, job_id: str) -> bool:
    with database.begin() as connection:
        return connection.execute(sa.select(JOBS.c.state).where(JOBS.c.id == job_id)).scalar() in ENDED
