"""What jobs cost: GPU-seconds and dollars, by job and by the month in which they fell (UTC).

A job's GPU-seconds are those for which it held its GPUs, whatever it did with them; a worker adds them while it runs.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from loglore.store.database import Database
from loglore.store.jobs import JOBS
from loglore.store.schema import METADATA

COSTS = sa.Table(
    "job_costs",
    METADATA,
    sa.Column("job", sa.ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("month", sa.String(7), primary_key=True),
    sa.Column("gpu_seconds", sa.Double, nullable=False),
    sa.Column("dollars", sa.Double, nullable=False),
    sa.Index("ix_job_costs_month", "month"),
)


@dataclass(frozen=True)
class Cost:
    """What one job cost so far: GPU-seconds, dollars for a GPU-hour, dollars in all."""

    gpu_seconds: float
    price: float
    dollars: float


@dataclass(frozen=True)
class Share:
    """What the jobs of one kind and key cost in a month.

    Attributes:
        month: `2026-11`.
        created_by: id of the key, None for this machine's user.
        kind: kind of job.
        jobs: how many there were.
        gpu_seconds, dollars: in all.
    """

    month: str
    created_by: str | None
    kind: str
    jobs: int
    gpu_seconds: float
    dollars: float


def month_of(time: float) -> str:
    """The month, in UTC, of seconds since 1970."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m")


def add(connection: sa.Connection, job: int, month: str, gpu_seconds: float, dollars: float) -> None:
    """Add to what a job (by its number) cost in a month, within a transaction; one worker at a time does so."""
    more = {"gpu_seconds": COSTS.c.gpu_seconds + gpu_seconds, "dollars": COSTS.c.dollars + dollars}
    here = sa.and_(COSTS.c.job == job, COSTS.c.month == month)
    if not connection.execute(COSTS.update().where(here).values(more)).rowcount:
        connection.execute(COSTS.insert().values(job=job, month=month, gpu_seconds=gpu_seconds, dollars=dollars))


def of_jobs(database: Database, job_ids: Iterable[str]) -> dict[str, Cost]:
    """What these jobs cost, by id; one that held no GPU cost nothing."""
    query = (
        sa.select(
            JOBS.c.id,
            JOBS.c.price,
            sa.func.coalesce(sa.func.sum(COSTS.c.gpu_seconds), 0.0),
            sa.func.coalesce(sa.func.sum(COSTS.c.dollars), 0.0),
        )
        .outerjoin(COSTS, COSTS.c.job == JOBS.c.number)
        .where(JOBS.c.id.in_(list(job_ids)))
        .group_by(JOBS.c.id, JOBS.c.price)
    )
    with database.begin() as connection:
        found = connection.execute(query)
        return {job_id: Cost(seconds, price, dollars) for job_id, price, seconds, dollars in found}


def by_month(database: Database, month: str | None = None) -> list[Share]:
    """What was spent, by month (the newest first), key and kind; `month` (`2026-11`) chooses one."""
    columns = (COSTS.c.month, JOBS.c.created_by, JOBS.c.kind)
    query = (
        sa.select(*columns, sa.func.count(), sa.func.sum(COSTS.c.gpu_seconds), sa.func.sum(COSTS.c.dollars))
        .join(JOBS, JOBS.c.number == COSTS.c.job)
        .group_by(*columns)
        .order_by(COSTS.c.month.desc(), JOBS.c.created_by, JOBS.c.kind)
    )
    if month is not None:
        query = query.where(COSTS.c.month == month)
    with database.begin() as connection:
        return [Share(*row) for row in connection.execute(query)]


def spent(database: Database, month: str) -> float:
    """Dollars that all jobs together cost in a month (`2026-11`)."""
    with database.begin() as connection:
        total = sa.select(sa.func.coalesce(sa.func.sum(COSTS.c.dollars), 0.0)).where(COSTS.c.month == month)
        return float(connection.execute(total).scalar_one())
