"""`loglore jobs …` and `loglore worker`: work that is queued, and the process that does it."""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loglore.cli.cluster import Address, Bucket, ExecutorOption, on_ray
from loglore.cli.output import AsJson, say, table
from loglore.errors import InputError

if TYPE_CHECKING:
    from loglore.store.database import Database
    from loglore.store.jobs import Job

app = typer.Typer(help="Queued work: submit, watch, pause, go on.", no_args_is_help=True)

COLUMNS = ["id", "name", "kind", "state", "created", "seconds", "dollars", "note"]
JobId = Annotated[str, typer.Argument(help="Id, see `list`.")]


@app.command("submit")
def submit(
    what: Annotated[str, typer.Argument(help="A recipe file, or a kind of job: train, test, synth …")],
    spec: Annotated[Path | None, typer.Argument(help="Spec file of one job (YAML).")] = None,
    name: Annotated[str, typer.Option(help="What you call it.")] = "",
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher is first.")] = 0,
    after: Annotated[list[str] | None, typer.Option(help="Id of a job that must succeed first. Repeatable.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Default: for train and test all of a worker's.")] = None,
    attempts: Annotated[int, typer.Option(min=1, max=1000, help="Starts before a failure is final.")] = 3,
    publish: Annotated[str | None, typer.Option(help="Name in the hub for what it makes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Queue one job, or all jobs of a recipe; a worker (`loglore worker`, `loglore studio`) runs them."""
    from loglore.jobs import queue, recipes
    from loglore.jobs.queue import Order

    order = Order(name, priority, after or [], gpus, attempts, publish=publish)
    if spec is None:
        if name or publish:
            raise InputError("--name and --publish belong to one job: loglore jobs submit KIND SPEC")
        made = queue.submit_recipe(_database(), recipes.load(Path(what)), order)
    else:
        made = [queue.submit(_database(), what, recipes.read_yaml(spec), order, beside=spec.parent)]
    _show(made, as_json)


@app.command("list")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only in this state. Repeatable.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only of this kind. Repeatable.")] = None,
    name: Annotated[str | None, typer.Option(help="Only with this in their name.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Jobs, the newest first."""
    from loglore.jobs.kinds import KINDS
    from loglore.store import jobs

    for given, known, what in ((state, jobs.STATES, "state"), (kind, tuple(KINDS), "kind")):
        for each in given or []:
            if each not in known:
                raise InputError(f"--{what} {each}: expected one of {', '.join(known)}")
    _show(jobs.jobs(_database(), kind or None, state or None, name=name, limit=limit), as_json)


@app.command("show")
def show(job: JobId, as_json: AsJson = False) -> None:
    """One job: its spec, where its files are, what it cost, why it failed."""
    import json

    from loglore.jobs import queue
    from loglore.store import costs, jobs

    database = _database()
    found = jobs.find(database, job)
    facts = {**asdict(found), **asdict(costs.of_jobs(database, [job])[job]), "log": str(queue.log_of(found))}
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for key, value in facts.items():
        if value not in (None, "", [], {}, ()):
            print(f"{key}: {_text(key, value)}")


@app.command("follow")
def follow(
    job: JobId,
    after: Annotated[int, typer.Option(min=0, help="Begin after the event with this number.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """What happens in a job, as it happens, until it ends; Ctrl-C leaves the job alone."""
    import json

    from loglore.errors import JobError
    from loglore.store import events, jobs

    database = _database()
    for event in events.follow(database, job, after):
        line = json.dumps(asdict(event), ensure_ascii=False) if as_json else f"{_time(event.time)} {event.message}"
        print(line, flush=True)
    found = jobs.find(database, job)
    if found.state == "failed":
        raise JobError(f"job {job} failed: {found.error}")


@app.command("cancel")
def cancel(job: JobId, as_json: AsJson = False) -> None:
    """End a job for good; what needs it is cancelled, too."""
    from loglore.store import requests

    _request(requests.cancel, job, as_json)


@app.command("pause")
def pause(job: JobId, as_json: AsJson = False) -> None:
    """Let a job wait; one that is running saves a checkpoint first."""
    from loglore.store import requests

    _request(requests.pause, job, as_json)


@app.command("resume")
def resume(job: JobId, as_json: AsJson = False) -> None:
    """Queue a paused or failed job again, to go on where it stopped."""
    from loglore.store import requests

    _request(requests.resume, job, as_json)


@app.command("delete")
def delete(job: JobId) -> None:
    """Forget a job that has ended or is paused, and remove its files."""
    from loglore.jobs import queue

    queue.delete(_database(), job)
    say(f"deleted {job}")


@app.command("costs")
def costs(
    month: Annotated[str | None, typer.Option(help="Such as 2026-11; default: all.")] = None, as_json: AsJson = False
) -> None:
    """GPU-hours, what endpoints were paid, and dollars in all, by month, key and kind of job."""
    from loglore.store import costs as store

    rows = [
        {
            **asdict(each),
            "gpu_hours": round(each.gpu_seconds / 3600, 3),
            "dollars": round(each.dollars, 2),
            "endpoint_dollars": round(each.endpoint_dollars, 2),
        }
        for each in store.by_month(_database(), month)
    ]
    table(rows, ["month", "created_by", "kind", "jobs", "gpu_hours", "endpoint_dollars", "dollars"], as_json)


@app.command("audit")
def audit(
    job: Annotated[str | None, typer.Argument(help="Id of a job or a key; default: all.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """Who did what, the newest first."""
    from loglore.store import audit as store

    rows = [{**asdict(each), "time": _time(each.time)} for each in store.entries(_database(), limit, target=job)]
    table(rows, ["time", "actor", "action", "target", "detail"], as_json)


def worker(
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to give out; default: those that are here.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Most jobs at once; default: one a GPU.")] = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when no job can be started.")] = False,
    executor: ExecutorOption = "local",
    address: Address = None,
    storage: Bucket = None,
) -> None:
    """Run queued jobs until Ctrl-C, which lets them save; they go on at the next start."""
    from loglore.jobs.work import work

    on_ray(executor, address, storage)
    work(gpus, slots, until_idle, executor=executor, address=address)


def _database() -> "Database":
    from loglore.store.database import open_database

    return open_database()


def _request(what: "Callable[[Database, str], Job]", job: str, as_json: bool) -> None:
    _show([what(_database(), job)], as_json)


def _show(jobs: "Iterable[Job]", as_json: bool) -> None:
    from loglore.store import costs

    found = list(jobs)
    spent = costs.of_jobs(_database(), [job.id for job in found])
    table([_row(job, spent[job.id].dollars, as_json) for job in found], COLUMNS, as_json)


def _row(job: "Job", dollars: float, as_json: bool) -> dict[str, Any]:
    if as_json:
        return {**asdict(job), "dollars": dollars}
    seconds = round(job.ended - job.started) if job.started and job.ended else None
    note = job.error or job.note
    facts = {
        "created": _time(job.created),
        "seconds": seconds,
        "dollars": f"{dollars:.2f}" if dollars else "",
        "note": note,
    }
    return {**asdict(job), **facts}


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).astimezone().isoformat(" ", timespec="seconds")


def _text(key: str, value: Any) -> str:
    import json

    if key in ("created", "started", "ended", "heartbeat"):
        return _time(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
