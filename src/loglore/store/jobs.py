"""Jobs as rows: what was asked, by whom, and what became of it. `claims` moves them through their states.

    queued → running → succeeded | failed | cancelled
       ↕        ↓
      paused ←──┘        a job whose worker died, or that may be tried again, is queued again

Their numbers, not their times, give the order: a clock may go backwards.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.schema import METADATA

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "paused"]
STATES: tuple[State, ...] = get_args(State)
ENDED: tuple[State, ...] = ("succeeded", "failed", "cancelled")
Wanted = Literal["run", "pause", "cancel"]

JOBS = sa.Table(
    "jobs",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("spec", sa.JSON, nullable=False),
    sa.Column("spec_version", sa.Integer, nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("publish", sa.String(64)),
    sa.Column("recipe", sa.String(40)),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("wanted", sa.String(8), nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("started", sa.Double),
    sa.Column("ended", sa.Double),
    sa.Column("not_before", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(40)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("max_attempts", sa.Integer, nullable=False),
    sa.Column("gpus", sa.Integer),
    sa.Column("worker", sa.String(200)),
    sa.Column("claim", sa.String(32)),
    sa.Column("heartbeat", sa.Double),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("error_code", sa.String(40)),
    sa.Column("error", sa.Text),
    sa.Column("report", sa.JSON(none_as_null=True)),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("indexed", sa.JSON, nullable=False),
    sa.Column("price", sa.Double, nullable=False),
    sa.UniqueConstraint("id"),
    sa.Index("ix_jobs_state_priority_number", "state", "priority", "number"),
    sa.Index("ix_jobs_kind_number", "kind", "number"),
    sa.Index("ix_jobs_created_by_number", "created_by", "number"),
    sa.Index("ix_jobs_recipe", "recipe"),
    sqlite_autoincrement=True,
)
DEPENDENCIES = sa.Table(
    "job_dependencies",
    METADATA,
    sa.Column("job", sa.ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    sa.Column("needs", sa.ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    sa.Index("ix_job_dependencies_needs", "needs"),
)


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes:
        number: 1, 2, 3… in the order of creation.
        id: `job-…`, of training jobs `ftjob-…`.
        kind: one of `jobs.kinds.KINDS`.
        spec: its values; `${id.output}` stands for an output of another job, until it is claimed.
        spec_version: of the shape of `spec`.
        name: what a person calls it; may be empty.
        publish: name in the hub under which its model is published; None publishes nothing.
        recipe: what it was submitted with; None when it stands alone.
        state: see above. wanted: what somebody wants of a running job.
        note: why it is in this state (`interrupted`, `disk full` …); may be empty.
        priority: higher is claimed first; of equals the older.
        created, started, ended: seconds since 1970; `started` is of the first start.
        not_before: not claimed earlier (seconds since 1970).
        created_by: id of the key, None for this machine's user.
        attempts, max_attempts: starts that count (an interruption does not), and how many there may be.
        gpus: how many it holds while it runs; None for all of its worker's.
        worker, heartbeat: who runs it, and that worker's last sign of life, by its clock.
        folder: its run folder.
        error_code, error: of a failed job (`invalid_input`, `job_failed`, `crashed`, `lost`, `dependency`), or why it
            waits (`disk_full`, `budget`).
        report: what the job returned.
        metadata: texts that the caller keeps with it.
        price: dollars for a GPU-hour.
        needs: ids of the jobs that must have succeeded before it is claimed.
    """

    number: int
    id: str
    kind: str
    spec: Mapping[str, Any]
    spec_version: int
    name: str
    publish: str | None
    recipe: str | None
    state: State
    wanted: Wanted
    note: str
    priority: int
    created: float
    started: float | None
    ended: float | None
    not_before: float
    created_by: str | None
    attempts: int
    max_attempts: int
    gpus: int | None
    worker: str | None
    heartbeat: float | None
    folder: str
    error_code: str | None
    error: str | None
    report: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    price: float
    needs: tuple[str, ...]


# What `Job` shows; the rest is the queue's own.
SHOWN = [column for column in JOBS.c if column.name not in ("claim", "events", "indexed")]


def new_id(kind: str) -> str:
    """An id that no job has."""
    return f"{'ftjob' if kind == 'train' else 'job'}-{secrets.token_hex(12)}"


def insert(connection: sa.Connection, values: Mapping[str, Any], needs: Sequence[str] = ()) -> int:
    """Add a queued job within a transaction; returns its number.

    Args:
        connection: of the transaction.
        values: id, kind, spec, spec_version, created, folder; others have a default.
        needs: ids of jobs that must succeed first.

    Raises:
        InputError: the id is taken, or a job that is needed does not exist, failed or was cancelled.
    """
    defaults: dict[str, Any] = {
        "name": "", "state": "queued", "wanted": "run", "note": "", "priority": 0, "not_before": 0.0, "attempts": 0,
        "max_attempts": 3, "metadata": {}, "events": 0, "indexed": {}, "price": 0.0,
    }  # fmt: skip
    try:
        # No savepoint: SQLite's driver would commit with its release, and a job with an unknown need would stay.
        inserted = connection.execute(JOBS.insert().values({**defaults, **values}).returning(JOBS.c.number))
        number = int(inserted.scalar_one())
    except sa.exc.IntegrityError:
        raise InputError(f"job {values['id']!r}: there is one with this id") from None
    # Locked until the end: a job that fails meanwhile finds this one, and cancels it.
    known = connection.execute(
        sa.select(JOBS.c.id, JOBS.c.number, JOBS.c.state).where(JOBS.c.id.in_(needs)).with_for_update()
    )
    found = {row.id: row for row in known}
    for each in dict.fromkeys(needs):
        if each not in found:
            raise InputError(f"job {each!r}: no such id; see `loglore jobs list`")
        if found[each].state in ("failed", "cancelled"):
            raise InputError(f"job {each} is {found[each].state}: nothing can wait for it")
        connection.execute(DEPENDENCIES.insert().values(job=number, needs=found[each].number))
    return number


def find(database: Database, job_id: str) -> Job:
    """One job by its id.

    Raises:
        InputError: no such job.
    """
    found = read(database, sa.select(*SHOWN).where(JOBS.c.id == job_id))
    if not found:
        raise InputError(f"job {job_id!r}: no such id; see `loglore jobs list`")
    return found[0]


def jobs(
    database: Database,
    kinds: Sequence[str] | None = None,
    states: Sequence[str] | None = None,
    created_by: str | None = None,
    recipe: str | None = None,
    metadata: Mapping[str, str] | None = None,
    name: str | None = None,
    after: str | None = None,
    limit: int = 20,
) -> list[Job]:
    """A page of jobs, the newest first.

    Args:
        database: where they are.
        kinds: only of these kinds; None takes all, here and below.
        states: only in these states.
        created_by: only of this key.
        recipe: only of this set.
        metadata: only with these texts.
        name: only with this text in their name; ASCII letters of either case are the same.
        after: id of the last job of the page before.
        limit: most jobs of a page; ask for one more to learn whether there are more.

    Raises:
        InputError: `after` is no job's id.
    """
    query = sa.select(*SHOWN).order_by(JOBS.c.number.desc()).limit(limit)
    if after is not None:
        query = query.where(JOBS.c.number < find(database, after).number)
    if kinds is not None:
        query = query.where(JOBS.c.kind.in_(kinds))
    if states is not None:
        query = query.where(JOBS.c.state.in_(states))
    if created_by is not None:
        query = query.where(JOBS.c.created_by == created_by)
    if recipe is not None:
        query = query.where(JOBS.c.recipe == recipe)
    for key, value in (metadata or {}).items():
        query = query.where(JOBS.c.metadata[key].as_string() == value)
    if name is not None:
        query = query.where(JOBS.c.name.icontains(name, autoescape=True))
    return read(database, query)


def delete(connection: sa.Connection, job_id: str) -> bool:
    """Forget a job that has ended or is paused, with its events; False when it is queued or running."""
    over = JOBS.c.state.in_((*ENDED, "paused"))
    return bool(connection.execute(JOBS.delete().where(JOBS.c.id == job_id, over)).rowcount)


def read(database: Database, query: sa.Select[Any]) -> list[Job]:
    """The jobs that a query over `SHOWN` finds."""
    with database.begin() as connection:
        return rows(connection, query)


def rows(connection: sa.Connection, query: sa.Select[Any]) -> list[Job]:
    """The same within a transaction."""
    found = connection.execute(query).mappings().all()
    needs: dict[int, list[str]] = {row["number"]: [] for row in found}
    wanted = (
        sa.select(DEPENDENCIES.c.job, JOBS.c.id)
        .join(JOBS, JOBS.c.number == DEPENDENCIES.c.needs)
        .where(DEPENDENCIES.c.job.in_(needs))
        .order_by(DEPENDENCIES.c.needs)
    )
    for number, job_id in connection.execute(wanted) if needs else ():
        needs[number].append(job_id)
    return [Job(**row, needs=tuple(needs[row["number"]])) for row in found]
