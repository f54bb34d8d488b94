"""What jobs cost: GPU-seconds and dollars, by job and by the month in which they fell (UTC).

A job's GPU-seconds are those for which it held its GPUs, whatever it did with them; a worker adds them while it runs,
and what the job paid for the tokens of endpoints.
"""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

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
    sa.Column("endpoint_dollars", sa.Double, nullable=False),
    sa.Index("ix_job_costs_month", "month"),
)
# Of jobs that were deleted: what was spent stays spent.
PAST_COSTS = sa.Table(
    "past_costs",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("created_by", sa.String(40)),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("gpu_seconds", sa.Double, nullable=False),
    sa.Column("dollars", sa.Double, nullable=False),
    sa.Column("endpoint_dollars", sa.Double, nullable=False),
    sa.Index("ix_past_costs_month", "month"),
)
AMOUNTS = (COSTS.c.gpu_seconds, COSTS.c.dollars, COSTS.c.endpoint_dollars)


@dataclass(frozen=True)
class Cost:
    """What one job cost so far: GPU-seconds, dollars for a GPU-hour, dollars in all, and how many went to endpoints."""

    gpu_seconds: float
    price: float
    dollars: float
    endpoint_dollars: float


@dataclass(frozen=True)
class Share:
    """What the jobs of one kind and key cost in a month.

    Attributes:
        month: `2026-11`.
        created_by: id of the key, None for this machine's user.
        kind: kind of job.
        jobs: how many there were, deleted ones included.
        gpu_seconds, dollars: in all.
        endpoint_dollars: the part of `dollars` that was paid to endpoints.
    """

    month: str
    created_by: str | None
    kind: str
    jobs: int
    gpu_seconds: float
    dollars: float
    endpoint_dollars: float


def month_of(time: float) -> str:
    """The month, in UTC, of seconds since 1970."""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m")


def add(
    connection: sa.Connection,
    job: int,
    now: float,
    gpu_seconds: float = 0.0,
    gpu_dollars: float = 0.0,
    endpoint_dollars: float = 0.0,
) -> None:
    """Add to what a job (by its number) cost, within a transaction; one worker at a time does so.

    Args:
        connection: of the transaction.
        job: its number.
        now: seconds since 1970; says in which month it fell.
        gpu_seconds: for which it held GPUs, and gpu_dollars: what they cost.
        gpu_dollars: see there.
        endpoint_dollars: what it paid to endpoints.
    """
    more = {
        "gpu_seconds": gpu_seconds, "dollars": gpu_dollars + endpoint_dollars, "endpoint_dollars": endpoint_dollars,
    }  # fmt: skip
    here = {"job": job, "month": month_of(now)}
    added = {name: COSTS.c[name] + amount for name, amount in more.items()}
    this = sa.and_(*(COSTS.c[name] == value for name, value in here.items()))
    if not connection.execute(COSTS.update().where(this).values(added)).rowcount:
        connection.execute(COSTS.insert().values({**here, **more}))


def of_jobs(database: Database, job_ids: Iterable[str]) -> dict[str, Cost]:
    """What these jobs cost, by id; one that held no GPU and paid nobody cost nothing."""
    query = (
        sa.select(
            JOBS.c.id,
            JOBS.c.price,
            *(sa.func.coalesce(sa.func.sum(column), 0.0) for column in AMOUNTS),
        )
        .outerjoin(COSTS, COSTS.c.job == JOBS.c.number)
        .where(JOBS.c.id.in_(list(job_ids)))
        .group_by(JOBS.c.id, JOBS.c.price)
    )
    with database.begin() as connection:
        found = connection.execute(query)
        return {job_id: Cost(seconds, price, *dollars) for job_id, price, seconds, *dollars in found}


def keep(connection: sa.Connection, job: int) -> None:
    """Keep what a job (by its number) cost, within the transaction that deletes it."""
    query = _live().where(COSTS.c.job == job)
    columns = [column.name for column in query.selected_columns]
    connection.execute(PAST_COSTS.insert().from_select(columns, query))


def by_month(database: Database, month: str | None = None) -> list[Share]:
    """What was spent, by month (the newest first), key and kind; `month` (`2026-11`) chooses one."""
    every = _every()
    columns = (every.c.month, every.c.created_by, every.c.kind)
    amounts = (sa.func.sum(every.c[column.name]) for column in AMOUNTS)
    query = (
        sa.select(*columns, sa.func.count(), *amounts)
        .group_by(*columns)
        .order_by(every.c.month.desc(), every.c.created_by, every.c.kind)
    )
    if month is not None:
        query = query.where(every.c.month == month)
    with database.begin() as connection:
        return [Share(*row) for row in connection.execute(query)]


def spent(database: Database, month: str) -> float:
    """Dollars that all jobs together cost in a month (`2026-11`)."""
    every = _every()
    total = sa.select(sa.func.coalesce(sa.func.sum(every.c.dollars), 0.0)).where(every.c.month == month)
    with database.begin() as connection:
        return float(connection.execute(total).scalar_one())


def _live() -> sa.Select[Any]:
    """The costs of jobs that are there, as `PAST_COSTS` has those of others."""
    columns = (COSTS.c.month, JOBS.c.created_by, JOBS.c.kind, *AMOUNTS)
    return sa.select(*columns).join(JOBS, JOBS.c.number == COSTS.c.job)


def _every() -> sa.Subquery:
    past = sa.select(*(column for column in PAST_COSTS.c if column.name != "number"))
    return sa.union_all(_live(), past).subquery()
