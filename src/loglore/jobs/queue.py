"""Work for later: specs checked and queued as jobs, which a worker (`worker`) claims and runs.

A spec is parsed when it is submitted, so that bad input is refused at once and not by a worker hours later. Paths
become absolute. `${id.output}` stands for an output of another job: a worker puts the path in when that job is done.
Jobs are read with `store.jobs` and `store.events`, and stopped and resumed with `store.requests`.
"""

import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore import settings
from loglore.errors import InputError
from loglore.jobs import budget, recipes
from loglore.jobs.checkpoints import NAME as CHECKPOINT
from loglore.jobs.kinds import SPEC_VERSION, spec_class
from loglore.jobs.names import Pins
from loglore.jobs.recipes import REFERENCE, Recipe
from loglore.store import audit, events, jobs, requests, uses, versions
from loglore.store.database import Database
from loglore.store.events import Happening
from loglore.store.jobs import Job

ON_GPUS = ("train", "test")  # kinds that take all GPUs of a worker unless a number is given; others take none
MOST_ATTEMPTS = 1000


class BudgetError(InputError):
    """The month's budget is used up: nothing that costs money is queued."""


@dataclass(frozen=True)
class Order:
    """How a job is to be run, whatever its kind.

    Attributes:
        name: what a person calls it.
        priority: higher is claimed first, -100 to 100.
        depends_on: ids of jobs that must succeed first; those that the spec refers to are added.
        gpus: how many it holds; None: all of its worker's for `train` and `test`, none for other kinds.
        max_attempts: how often it may be started before a crash or a failure is final, 1 to 1,000.
        created_by: id of the key, None for this machine's user.
        metadata: texts to keep with it.
        publish: name in the hub for its model or rows.
        recipe: id of the set that it belongs to.
    """

    name: str = ""
    priority: int = 0
    depends_on: Sequence[str] = ()
    gpus: int | None = None
    max_attempts: int = 3
    created_by: str | None = None
    metadata: Mapping[str, str] | None = None
    publish: str | None = None
    recipe: str | None = None


def submit(
    database: Database,
    kind: str,
    values: Mapping[str, Any],
    order: Order = Order(),
    job_id: str | None = None,
    beside: Path | None = None,
) -> Job:
    """Check a job's spec and queue it.

    Args:
        database: the queue.
        kind: one of `kinds.KINDS`.
        values: of its spec.
        order: how it is run.
        job_id: id from `store.jobs.new_id`, for a caller that put files into `folder_of(job_id)` first.
        beside: folder in which relative paths are looked up before the working directory.

    Raises:
        InputError: an unknown kind or key, a value out of range, a missing input, an unknown job that is needed.
        BudgetError: it costs money, and this month's is spent.
    """
    _check_order(order)
    job_id = job_id or jobs.new_id(kind)
    pins = Pins(database)
    row = _row(kind, values, order, job_id, beside or Path(), pins)
    refuse_over_budget(database, [row])
    needs = [*order.depends_on, *_referred(row["spec"])]
    with database.begin() as connection:
        number = jobs.insert(connection, row, needs)
        uses.keep(connection, job_id, pins.versions)
        events.append(connection, number, [Happening(row["created"], "job queued")])
        audit.note(connection, order.created_by, "job.create", job_id, {"kind": kind, "name": order.name})
    return jobs.find(database, job_id)


def submit_recipe(database: Database, recipe: Recipe, order: Order = Order()) -> list[Job]:
    """Queue all jobs of a recipe, each after those that it refers to; they share a recipe id. All are queued, or none.

    Raises:
        InputError, BudgetError: as for one job; names the job of the recipe.
    """
    _check_order(order)
    recipe_id = f"recipe-{secrets.token_hex(8)}"
    ids = {job.name: jobs.new_id(job.kind) for job in recipe.jobs}
    made = []
    for job in recipe.jobs:
        values = _renamed(job.values, ids)
        own = Order(
            job.name, order.priority, order.depends_on, order.gpus, order.max_attempts, order.created_by,
            order.metadata, job.publish, recipe_id,
        )  # fmt: skip
        try:
            pins = Pins(database)
            made.append((_row(job.kind, values, own, ids[job.name], recipe.path.parent, pins), pins.versions))
        except InputError as fault:
            raise InputError(f"{recipe.path}: job {job.name}: {fault}") from None
    refuse_over_budget(database, [row for row, _ in made])
    with database.begin() as connection:
        for row, held in made:
            number = jobs.insert(connection, row, [*order.depends_on, *_referred(row["spec"])])
            uses.keep(connection, row["id"], held)
            events.append(connection, number, [Happening(row["created"], "job queued")])
            detail = {"kind": row["kind"], "name": row["name"], "recipe": recipe_id}
            audit.note(connection, order.created_by, "job.create", row["id"], detail)
    return [jobs.find(database, row["id"]) for row, _ in made]


def delete(database: Database, job_id: str, actor: str | None = None) -> Job:
    """Forget a job that has ended or is paused, and remove its folder.

    Raises:
        InputError: no such job, it is queued or running, or another one that has not ended needs it.
    """
    job = requests.delete(database, job_id, actor)
    shutil.rmtree(Path(job.folder).parent, ignore_errors=True)
    return job


def home_of(job_id: str) -> Path:
    """The folder of a job: its run folder `run`, what it printed (`log.txt`), files that were submitted with it."""
    return settings.load().home / "jobs" / job_id


def log_of(job: Job) -> Path:
    """What the job printed; the file may not exist yet."""
    return Path(job.folder).parent / "log.txt"


def outputs_of(job: Job) -> dict[str, Path]:
    """Paths of what a job that succeeded has written, by name; `run` is its run folder."""
    folder = Path(job.folder)
    return {"run": folder, **{name: folder / path for name, path in (job.report or {}).get("outputs", {}).items()}}


def resolved(database: Database, job: Job) -> dict[str, Any]:
    """The job's spec with the outputs of other jobs in place of its references.

    Raises:
        InputError: a job that it refers to has no such output.
    """
    outputs = {needed: outputs_of(jobs.find(database, needed)) for needed in _referred(job.spec)}
    return {key: recipes.filled(value, outputs, f"job {job.id}") for key, value in job.spec.items()}


def parents_of(database: Database, job: Job) -> list[str]:
    """Versions of the hub that a job reads: those held for it, and what the jobs it needs have published.

    Of a checkpoint, those that its job's own result was made from.
    """
    found = uses.versions_of(database, job.id)
    for reference in CHECKPOINT.findall(str(job.spec)):
        found += _parents_of_published(database, jobs.find(database, reference[0]))
    for needed in job.needs:
        made = (jobs.find(database, needed).report or {}).get("job", {})
        if "published" in made and "datasets" not in made:
            found.append(f"model:{made['published']}")
        found += [f"dataset:{reference}" for reference in made.get("datasets", {}).values()]
    return found


def _parents_of_published(database: Database, job: Job) -> Sequence[str]:
    published = (job.report or {}).get("job", {}).get("published")
    return versions.find(database, "model", published).parents if published else ()


def refuse_over_budget(database: Database, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse jobs, as rows to be inserted, that cost money once the month's budget is spent.

    Raises:
        BudgetError: with what was spent and what may be.
    """
    if any(budget.costs_money(row["spec"], row["gpus"], row["price"]) for row in rows):
        message = budget.over(database)
        if message is not None:
            raise BudgetError(message)


def _row(kind: str, values: Mapping[str, Any], order: Order, job_id: str, beside: Path, pins: Pins) -> dict[str, Any]:
    found = recipes.placed(kind, values, beside, pins)
    spec_class(kind, "job").parse(found, kind)
    home = settings.load()
    price = found.get("price_per_gpu_hour")
    return {
        "id": job_id,
        "kind": kind,
        "spec": found,
        "spec_version": SPEC_VERSION,
        "name": order.name,
        "publish": order.publish,
        "recipe": order.recipe,
        "priority": order.priority,
        "created": time.time(),
        "created_by": order.created_by,
        "max_attempts": order.max_attempts,
        "gpus": order.gpus if order.gpus is not None or kind in ON_GPUS else 0,
        "folder": str(home_of(job_id).absolute() / "run"),
        "metadata": dict(order.metadata or {}),
        "price": home.gpu_hour_dollars if price is None else float(price),
    }


def _check_order(order: Order) -> None:
    if len(order.name) > 200:
        raise InputError(f"name of a job: {len(order.name)} characters, expected at most 200")
    if not -100 <= order.priority <= 100:
        raise InputError(f"priority {order.priority}: expected -100 to 100")
    if not 1 <= order.max_attempts <= MOST_ATTEMPTS:
        raise InputError(f"attempts {order.max_attempts}: expected 1 to {MOST_ATTEMPTS:,}")
    if order.gpus is not None and not 0 <= order.gpus <= 1024:
        raise InputError(f"GPUs {order.gpus}: expected 0 to 1,024")


def _referred(values: Any) -> list[str]:
    return list(dict.fromkeys(job_id for job_id, _ in REFERENCE.findall(str(values))))


def _renamed(value: Any, ids: Mapping[str, str]) -> Any:
    """References by the recipe's names as references by job ids."""
    if isinstance(value, dict):
        return {key: _renamed(part, ids) for key, part in value.items()}
    if isinstance(value, list):
        return [_renamed(part, ids) for part in value]
    if not isinstance(value, str):
        return value
    return REFERENCE.sub(lambda match: f"${{{ids[match[1]]}.{match[2]}}}", value)
