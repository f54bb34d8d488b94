"""Evals: what is measured and when it counts as passed; and their runs: test jobs, or answers already there."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.jobs import JOBS
from loglore.store.schema import METADATA

EVALS = sa.Table(
    "evals",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("criteria", sa.JSON, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("updated", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(40)),
    sqlite_autoincrement=True,
)
EVAL_RUNS = sa.Table(
    "eval_runs",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("eval_id", sa.ForeignKey(EVALS.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("job_id", sa.String(40), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("model", sa.String(300), nullable=False),
    sa.Column("source", sa.JSON, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("results", sa.JSON(none_as_null=True)),
    sa.Column("created", sa.Double, nullable=False),
    sa.Index("ix_eval_runs_eval_id_number", "eval_id", "number"),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class Eval:
    """One eval.

    Attributes:
        number: 1, 2, 3… in the order of creation.
        id: `eval_…`.
        name: what a person calls it.
        config: what its items look like, as it was sent.
        criteria: when an item counts as passed, as they were sent.
        metadata: texts that the caller keeps with it.
        created, updated: seconds since 1970.
        created_by: id of the key, None without one.
    """

    number: int
    id: str
    name: str
    config: Mapping[str, Any]
    criteria: Sequence[Mapping[str, Any]]
    metadata: Mapping[str, str]
    created: float
    updated: float
    created_by: str | None


@dataclass(frozen=True)
class EvalRun:
    """One run of an eval.

    Attributes:
        number: 1, 2, 3… in the order of creation.
        id: `evalrun_…`.
        eval_id: its eval.
        job_id: the test job that does the work; empty when nothing was asked, as all answers were there.
        name: what a person calls it.
        model: as the caller named it.
        source: the data source, as it was sent.
        metadata: texts that the caller keeps with it.
        results: counts by criterion once they were counted, else None.
        created: seconds since 1970.
    """

    number: int
    id: str
    eval_id: str
    job_id: str
    name: str
    model: str
    source: Mapping[str, Any]
    metadata: Mapping[str, str]
    results: Mapping[str, Any] | None
    created: float


def new_id(prefix: str) -> str:
    """`eval_…` or `evalrun_…`."""
    return f"{prefix}_{secrets.token_hex(12)}"


def add(
    database: Database,
    name: str,
    config: Mapping[str, Any],
    criteria: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, str],
    by: str | None = None,
) -> Eval:
    """A new eval; arguments as the attributes of `Eval`."""
    now = time.time()
    made = {
        "id": new_id("eval"), "name": name, "config": dict(config), "criteria": [dict(each) for each in criteria],
        "metadata": dict(metadata), "created": now, "updated": now, "created_by": by,
    }  # fmt: skip
    with database.begin() as connection:
        connection.execute(EVALS.insert().values(made))
    return find(database, str(made["id"]))


def find(database: Database, eval_id: str) -> Eval:
    """One eval by its id.

    Raises:
        InputError: no such eval.
    """
    with database.begin() as connection:
        row = connection.execute(EVALS.select().where(EVALS.c.id == eval_id)).mappings().first()
    if row is None:
        raise InputError(f"eval {eval_id!r}: no such id")
    return Eval(**row)


def evals(
    database: Database, after: str | None = None, limit: int = 20, newest_first: bool = False, by_update: bool = False
) -> list[Eval]:
    """A page of evals, in the order of creation or of their last change.

    Raises:
        InputError: `after` is no eval.
    """
    column = EVALS.c.updated if by_update else EVALS.c.number
    here = sa.tuple_(column, EVALS.c.number)
    query = EVALS.select()
    if after is not None:
        last = find(database, after)
        place = sa.tuple_(sa.literal(last.updated if by_update else last.number), sa.literal(last.number))
        query = query.where(here < place if newest_first else here > place)
    order = [part.desc() if newest_first else part for part in (column, EVALS.c.number)]
    with database.begin() as connection:
        return [Eval(**row) for row in connection.execute(query.order_by(*order).limit(limit)).mappings()]


def update(database: Database, eval_id: str, **values: Any) -> Eval:
    """Change an eval's name or metadata.

    Raises:
        InputError: no such eval.
    """
    with database.begin() as connection:
        connection.execute(EVALS.update().where(EVALS.c.id == eval_id).values(updated=time.time(), **values))
    return find(database, eval_id)


def delete(database: Database, eval_id: str) -> Eval:
    """Forget an eval with its runs; their jobs stay.

    Raises:
        InputError: no such eval.
    """
    found = find(database, eval_id)
    with database.begin() as connection:
        connection.execute(EVALS.delete().where(EVALS.c.id == eval_id))
    return found


def add_run(
    database: Database,
    eval_id: str,
    job_id: str,
    name: str,
    model: str,
    source: Mapping[str, Any],
    metadata: Mapping[str, str],
    run_id: str,
    results: Mapping[str, Any] | None = None,
) -> EvalRun:
    """A new run; arguments as the attributes of `EvalRun`. One with this id is taken for the same.

    Raises:
        InputError: no such eval.
    """
    find(database, eval_id)
    values = {
        "id": run_id, "eval_id": eval_id, "job_id": job_id, "name": name, "model": model, "source": dict(source),
        "metadata": dict(metadata), "results": results, "created": time.time(),
    }  # fmt: skip
    with database.begin() as connection:
        known = connection.execute(sa.select(EVAL_RUNS.c.id).where(EVAL_RUNS.c.id == run_id)).scalar()
        if known is None:
            connection.execute(EVAL_RUNS.insert().values(values))
    return find_run(database, eval_id, run_id)


def find_run(database: Database, eval_id: str, run_id: str) -> EvalRun:
    """One run of an eval.

    Raises:
        InputError: no such run.
    """
    query = EVAL_RUNS.select().where(EVAL_RUNS.c.id == run_id, EVAL_RUNS.c.eval_id == eval_id)
    with database.begin() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        raise InputError(f"run {run_id!r} of {eval_id!r}: no such id")
    return EvalRun(**row)


def runs(
    database: Database,
    eval_id: str,
    states: Sequence[str] | None = None,
    after: str | None = None,
    limit: int = 20,
    newest_first: bool = False,
) -> list[EvalRun]:
    """A page of an eval's runs; `states` chooses by the states of their jobs; one without a job has succeeded.

    Raises:
        InputError: `after` is no run of it.
    """
    query = EVAL_RUNS.select().where(EVAL_RUNS.c.eval_id == eval_id)
    if after is not None:
        last = find_run(database, eval_id, after).number
        query = query.where(EVAL_RUNS.c.number < last if newest_first else EVAL_RUNS.c.number > last)
    if states is not None:
        of_jobs = EVAL_RUNS.c.job_id.in_(sa.select(JOBS.c.id).where(JOBS.c.state.in_(states)))
        query = query.where(sa.or_(of_jobs, EVAL_RUNS.c.job_id == "") if "succeeded" in states else of_jobs)
    order = EVAL_RUNS.c.number.desc() if newest_first else EVAL_RUNS.c.number
    with database.begin() as connection:
        return [EvalRun(**row) for row in connection.execute(query.order_by(order).limit(limit)).mappings()]


def keep_results(database: Database, run_id: str, results: Mapping[str, Any]) -> None:
    """Keep what was counted of a run that is over."""
    with database.begin() as connection:
        connection.execute(EVAL_RUNS.update().where(EVAL_RUNS.c.id == run_id).values(results=dict(results)))


def delete_run(database: Database, eval_id: str, run_id: str) -> EvalRun:
    """Forget a run; its job stays.

    Raises:
        InputError: no such run.
    """
    found = find_run(database, eval_id, run_id)
    with database.begin() as connection:
        connection.execute(EVAL_RUNS.delete().where(EVAL_RUNS.c.id == run_id))
    return found
