"""From a request to a queued job: its inputs held, its own files written, the request kept for the answers about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import Request

from loglore.api.errors import ApiError
from loglore.api.idempotency import reserved
from loglore.api.inputs import Named
from loglore.errors import InputError
from loglore.jobs import queue
from loglore.jobs.queue import BudgetError, Order
from loglore.store import asked, jobs, uses
from loglore.store.database import Database
from loglore.store.jobs import Job

# OpenAI's clients try a 429 again unless they are told that it is of no use.
NO_RETRY = {"x-should-retry": "false"}


@dataclass(frozen=True)
class Making:
    """A job to be made.

    Attributes:
        kind: of job.
        order: how it is run; `created_by` is filled in from the request.
        body: the request's body, kept.
        values: makes the spec's values; it may write files into the folder it is given, which is the job's.
        named: ids of what the values name.
    """

    kind: str
    order: Order
    body: Mapping[str, Any]
    values: Callable[[Path], Mapping[str, Any]]
    named: Named = field(default_factory=Named)


def actor(request: Request) -> str | None:
    """Id of the caller's key, for the audit trail; None without one."""
    key = getattr(request.state, "key", None)
    return key.id if key else None


def make(database: Database, request: Request, wish: Making) -> Job:
    """Queue a job; repeated under its idempotency key, the job that was made.

    Raises:
        ApiError: 400 for a spec that is not as it should be; 429 `insufficient_quota` over the budget.
    """
    job_id = f"{'ftjob' if wish.kind == 'train' else 'job'}-{reserved(request)}"
    made = _find(database, job_id)
    if made is not None:
        return made
    folder = queue.home_of(job_id)
    folder.mkdir(parents=True, exist_ok=True)
    uses.hold(database, job_id, wish.named.versions, wish.named.stored)
    try:
        values = wish.values(folder)
        asked.keep(database, job_id, wish.body)
        return queue.submit(database, wish.kind, values, replace(wish.order, created_by=actor(request)), job_id)
    except BudgetError as fault:
        _give_up(database, job_id)
        raise ApiError(429, str(fault), "insufficient_quota", headers=NO_RETRY) from None
    except InputError as fault:
        _give_up(database, job_id)
        raise ApiError(400, str(fault), "invalid_value") from None


def _give_up(database: Database, job_id: str) -> None:
    uses.release(database, job_id)
    folder = queue.home_of(job_id)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _find(database: Database, job_id: str) -> Job | None:
    try:
        return jobs.find(database, job_id)
    except InputError:
        return None
