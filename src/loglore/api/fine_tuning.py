"""`/v1/fine_tuning/jobs`: OpenAI's routes over train jobs, whoever queued them."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from loglore.api import fine_tuning_objects as objects
from loglore.api import inputs
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, known
from loglore.api.fine_tuning_objects import CreateJob, Shown
from loglore.api.inputs import Named
from loglore.api.making import Making, actor, make
from loglore.api.paging import After, Limit, cut, page
from loglore.api.streams import Held
from loglore.errors import InputError
from loglore.hub.models import NAME
from loglore.jobs.queue import Order
from loglore.runs import files
from loglore.store import asked, costs, events, jobs, requests
from loglore.store.database import Database
from loglore.store.jobs import ENDED, Job
from loglore.train import checkpoints

KIND = "train"
# Part of a JSON path in the database's own language.
METADATA_KEY = re.compile(r"[^\x00-\x1f\"'\\\[\]$]{1,64}")
POLL_S = 0.5
STREAMED = 500
# A proxy closes a connection on which nothing comes for a minute.
SIGN_OF_LIFE_S = 15.0
HYPERPARAMETERS = "hyperparameters.json"

EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page of events, or with `stream` the events as they come.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


def router(database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"], responses=ERRORS)

    @routes.post("")
    def create_job(wish: CreateJob, request: Request) -> dict[str, Any]:
        """Queue a fine-tuning job; its files are checked row by row first."""
        return shown(database, [make(database, request, making(database, wish))])[0]

    @routes.get("")
    def list_jobs(request: Request, after: After = None, limit: Limit = 20) -> dict[str, Any]:
        """Jobs, the newest first; `metadata[KEY]=VALUE` chooses by metadata."""
        if after is not None:
            _known(database, after)
        wanted = _metadata(request)
        found = jobs.jobs(database, kinds=[KIND], metadata=wanted, after=after, limit=limit + 1)
        return page(shown(database, found), limit)

    @routes.get("/{job}")
    def read_job(job: str) -> dict[str, Any]:
        """One job."""
        return shown(database, [_known(database, job)])[0]

    @routes.post("/{job}/cancel")
    def cancel_job(job: str, request: Request) -> dict[str, Any]:
        """End a job for good."""
        _known(database, job)
        return shown(database, [requests.cancel(database, job, actor(request))])[0]

    @routes.post("/{job}/pause")
    def pause_job(job: str, request: Request) -> dict[str, Any]:
        """Let a job wait; one that is running leaves a checkpoint first."""
        _known(database, job)
        return shown(database, [requests.pause(database, job, actor(request))])[0]

    @routes.post("/{job}/resume")
    def resume_job(job: str, request: Request) -> dict[str, Any]:
        """Let a paused or failed job go on from its checkpoint."""
        _known(database, job)
        return shown(database, [requests.resume(database, job, actor(request))])[0]

    @routes.get("/{job}/checkpoints")
    def list_checkpoints(job: str, after: After = None, limit: Limit = 10) -> dict[str, Any]:
        """Published checkpoints, the newest first."""
        found = _checkpoints(_known(database, job))
        return page(cut(found, [each["id"] for each in found], after, limit), limit)

    _add_events(routes, database)
    return routes


def _add_events(routes: APIRouter, database: Database) -> None:
    @routes.get("/{job}/events", responses=EVENTS, response_model=None)
    def list_events(
        job: str,
        after: After = None,
        limit: Limit = 20,
        stream: Annotated[bool, Query(description="server-sent events from `after` on, until the job ends")] = False,
        last_event_id: Annotated[str | None, Header(max_length=200)] = None,
    ) -> dict[str, Any] | Response:
        """Events, the newest first; with `stream` in order and as they come."""
        found = _known(database, job)
        if stream:
            return streamed(database, found, after or last_event_id)
        number = objects.event_number(job, after) if after else 0
        listed = events.events(database, found.id, number, limit + 1, newest_first=True)
        return page([objects.event_object(each) for each in listed], limit)


def making(database: Database, wish: CreateJob) -> Making:
    """What a request makes.

    Raises:
        ApiError: 400 for hyperparameters, files or rows that are not as they should be, 404 for what is not there.
    """
    values = objects.requested(wish)
    named = Named()
    formats = objects.FORMATS[wish.kind]
    base = inputs.model(database, wish.model, named)
    train = inputs.rows(database, wish.training_file, named, "training_file", ["fine-tune"])
    validation = None
    if wish.validation_file is not None:
        validation = inputs.rows(database, wish.validation_file, named, "validation_file", ["fine-tune"])
        inputs.check_rows(validation, wish.validation_file, formats, "validation_file")
    inputs.check_rows(train, wish.training_file, formats, "training_file")

    def spec(folder: Path) -> dict[str, Any]:
        files.write_json(folder / HYPERPARAMETERS, values)
        held_out = str(validation) if validation else None
        return objects.spec(wish, base, str(train), held_out, str(folder / HYPERPARAMETERS))

    order = Order(
        name=wish.suffix or "",
        priority=wish.priority,
        depends_on=wish.depends_on,
        gpus=wish.gpus,
        metadata=wish.metadata or {},
        publish=wish.suffix or _default_name(wish),
    )
    return Making(KIND, order, wish.model_dump(mode="json", exclude_none=True), spec, named)


def _default_name(wish: CreateJob) -> str:
    """`BASE-METHOD`, cut to what the hub takes."""
    base = re.split("[:/]", wish.model.partition("@")[0])[-1].lower()
    name = f"{base[:50]}-{wish.kind}"
    return name if NAME.fullmatch(name) else f"model-{wish.kind}"


def shown(database: Database, found: Sequence[Job]) -> list[dict[str, Any]]:
    """Jobs as objects."""
    ids = [each.id for each in found]
    bodies, spent = asked.of(database, ids), costs.of_jobs(database, ids)
    return [
        objects.job_object(
            each,
            Shown(
                bodies.get(each.id, {}), _values(each), vars(spent[each.id]) if each.id in spent else {}, _finish(each)
            ),
        )
        for each in found
    ]


def _values(job: Job) -> dict[str, Any]:
    """The hyperparameters that were asked for; none where their file is gone."""
    try:
        found = files.read_json(Path(str(job.spec["hyperparameters"])))
    except (InputError, KeyError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _finish(job: Job) -> float | None:
    """When a running job will be done, if it goes on as it did: from its steps so far."""
    if job.state != "running":
        return None
    folder = Path(job.folder)
    planned = [row for row in files.read_jsonl_log(folder / "events.jsonl") if row.get("event") == "planned"]
    steps = [row for row in files.read_jsonl_log(folder / "metrics.jsonl") if "seconds" in row]
    if not planned or not steps:
        return None
    left = int(planned[-1]["steps"]) - int(steps[-1]["step"])
    return time.time() + left * float(sum(row["seconds"] for row in steps)) / len(steps)


def _known(database: Database, job_id: str) -> Job:
    """A train job. Raises ApiError 404."""
    found = known(lambda: jobs.find(database, job_id))
    if found.kind != KIND:
        raise ApiError(404, f"job {job_id!r} is no fine-tuning job but one of the kind {found.kind}", "not_found")
    return found


def _metadata(request: Request) -> dict[str, str] | None:
    """`metadata[KEY]=VALUE` of the query."""
    names = [name for name in request.query_params if name.startswith("metadata[") and name.endswith("]")]
    if request.query_params.get("metadata") == "null":
        raise ApiError(400, "metadata: null is not offered; leave it out", "invalid_value", "metadata")
    found = {name[9:-1]: request.query_params[name] for name in names}
    for key in found:
        if not METADATA_KEY.fullmatch(key):
            raise ApiError(400, f"metadata: {key[:64]!r}: no key to look for", "invalid_value", "metadata")
    return found or None


def _checkpoints(job: Job) -> list[dict[str, Any]]:
    folder = Path(job.folder)
    rows = files.read_jsonl_log(folder / "metrics.jsonl")
    found = reversed(checkpoints.complete(folder / "published"))
    return [objects.checkpoint_object(job.id, checkpoints.step_of(path), path.stat().st_mtime, rows) for path in found]


def streamed(database: Database, job: Job, after: str | None) -> Response:
    """The events of a job as they come, each with its id, which `Last-Event-ID` of the next request goes on from."""
    start = objects.event_number(job.id, after) if after else 0
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    pieces = _stream(database, job.id, start)
    stack = AsyncExitStack()
    stack.push_async_callback(pieces.aclose)
    return Held(pieces, stack, media_type="text/event-stream", headers=headers)


async def _stream(database: Database, job_id: str, after: int) -> AsyncGenerator[bytes, None]:
    quiet = 0.0
    while True:
        # The state is read first: what is written before the end is then seen.
        try:
            over = (await asyncio.to_thread(jobs.find, database, job_id)).state in ENDED
            found = await asyncio.to_thread(events.events, database, job_id, after, STREAMED)
        except InputError:
            break  # deleted meanwhile
        for each in found:
            yield _sent(objects.event_object(each))
        if found:
            after, quiet = found[-1].number, 0.0
        elif over:
            break
        else:
            await asyncio.sleep(POLL_S)
            quiet += POLL_S
            if quiet >= SIGN_OF_LIFE_S:
                quiet = 0.0
                yield b": waiting\n\n"
    yield b"data: [DONE]\n\n"


def _sent(found: dict[str, Any]) -> bytes:
    return b"id: " + str(found["id"]).encode() + b"\ndata: " + orjson.dumps(found) + b"\n\n"
