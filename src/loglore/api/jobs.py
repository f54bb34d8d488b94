"""`/v1/studio/jobs`: jobs of every kind: queue, list, follow, stop, resume; estimates and synthesis are jobs made easy.

A spec is the one of the kind's recipe; what it reads is named as `inputs` says, never by a path of the server.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import Field, model_validator

from loglore.api import fine_tuning, inputs, runs
from loglore.api import fine_tuning_objects as objects
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, known
from loglore.api.files import attachment
from loglore.api.fine_tuning_objects import Metadata
from loglore.api.inputs import Named
from loglore.api.making import Making, actor, make
from loglore.api.paging import After, Limit, page
from loglore.api.plain import HubName, Values
from loglore.api.wishes import Strict
from loglore.errors import InputError
from loglore.jobs import queue
from loglore.jobs.kinds import KINDS
from loglore.jobs.queue import Order
from loglore.runs import files
from loglore.store import costs, events, jobs, requests
from loglore.store.database import Database
from loglore.store.jobs import STATES, Job

LOG_BYTES = 1 << 20
# Bytes of a job's telemetry are megabytes after a day.
LAST_ROWS = 2000
Kind = Literal["import", "nlplog", "synth", "prepare", "train", "test", "compare", "export", "ask"]


class CreateJob(Strict):
    """A job of any kind. `hyperparameters` of a train job may be the JSON itself. publish: name in the hub."""

    kind: Kind
    spec: Values = Field(examples=[{"rows": "dataset:incidents@1", "validation_share": 0.01}])
    name: str = Field("", max_length=200)
    publish: HubName | None = None
    priority: int = Field(0, ge=-100, le=100)
    depends_on: list[str] = Field(default_factory=list, max_length=100)
    gpus: int | None = Field(None, ge=0, le=1024)
    max_attempts: int = Field(3, ge=1, le=100)
    metadata: Metadata | None = None


class Synthesis(Strict):
    """Answers of a teacher about logs: `chat` rows for fine-tuning, or `nlplog` rows for pretraining.

    logs: ids of stored files with the purpose `user_data`, or `log:PATH` of the server's folder. options: further keys
    of the kind's spec. publish: name of the dataset in the hub.
    """

    task: Literal["chat", "nlplog"] = "chat"
    logs: list[str] = Field(min_length=1, max_length=1000, examples=[["file-0123456789abcdef01234567"]])
    teacher: Literal["analyst"] | list[Values] = "analyst"
    options: Values = Field(default_factory=dict)
    name: str = Field("", max_length=200)
    publish: HubName | None = None
    priority: int = Field(0, ge=-100, le=100)
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _once(self) -> "Synthesis":
        for name in ("logs", "teacher"):
            if name in self.options:
                raise ValueError(f"options.{name}: it belongs beside `options`")
        return self


def router(database: Database, logs: Path) -> APIRouter:
    """The routes; `logs` is the folder whose files a spec may name."""
    routes = APIRouter(prefix="/v1/studio", tags=["jobs"], responses=ERRORS)

    @routes.post("/jobs", status_code=201)
    def create_job(wish: CreateJob, request: Request) -> dict[str, Any]:
        """Queue a job of any kind."""
        order = Order(
            name=wish.name, priority=wish.priority, depends_on=wish.depends_on, gpus=wish.gpus,
            max_attempts=wish.max_attempts, metadata=wish.metadata or {}, publish=wish.publish,
        )  # fmt: skip
        body = wish.model_dump(mode="json", exclude_none=True)
        return _shown(database, make(database, request, making(database, wish.kind, wish.spec, order, logs, body)))

    @routes.post("/synthesis", status_code=201)
    def create_synthesis(wish: Synthesis, request: Request) -> dict[str, Any]:
        """Queue a job that writes training rows about logs."""
        kind = {"chat": "synth", "nlplog": "nlplog"}[wish.task]
        spec = {**wish.options, "logs": wish.logs, "teacher": wish.teacher}
        order = Order(name=wish.name, priority=wish.priority, metadata=wish.metadata or {}, publish=wish.publish)
        body = wish.model_dump(mode="json", exclude_none=True)
        return _shown(database, make(database, request, making(database, kind, spec, order, logs, body)))

    @routes.post("/estimates")
    def create_estimate(
        wish: objects.CreateJob,
        measure: Annotated[bool, Query(description="train a few rows here, for time and cost")] = False,
    ) -> dict[str, Any]:
        """What a fine-tuning job would take, before it is queued: steps, tokens, memory. The body is that job's."""
        return {"object": "studio.estimate", **_estimate(fine_tuning.making(database, wish), measure)}

    @routes.get("/jobs")
    def list_jobs(
        kind: Annotated[list[Kind] | None, Query(max_length=len(KINDS))] = None,
        state: Annotated[list[Literal[STATES]] | None, Query(max_length=len(STATES))] = None,  # type: ignore[valid-type]
        created_by: Annotated[str | None, Query(max_length=40)] = None,
        recipe: Annotated[str | None, Query(max_length=40)] = None,
        name: Annotated[str | None, Query(max_length=200, description="a part of the name")] = None,
        after: After = None,
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """Jobs of all kinds, the newest first."""
        found = jobs.jobs(database, kind, state, created_by, recipe, name=name, after=after, limit=limit + 1)
        spent = costs.of_jobs(database, [each.id for each in found])
        return page([job_object(each, vars(spent[each.id])) for each in found], limit)

    _add_one(routes, database)
    _add_telemetry(routes, database)
    return routes


def _add_one(routes: APIRouter, database: Database) -> None:
    """What can be done with one job."""

    @routes.get("/jobs/{job}")
    def read_job(job: str) -> dict[str, Any]:
        """One job with its spec, the optimizer steps done if it trains, and its report when it is over."""
        found = known(lambda: jobs.find(database, job))
        folder = Path(found.folder)
        steps = runs.progress(folder, files.read_jsonl_log(folder / "events.jsonl")) if found.kind == "train" else None
        return {**_shown(database, found), "spec": dict(found.spec), "report": found.report, "progress": steps}

    @routes.post("/jobs/{job}/cancel")
    def cancel_job(job: str, request: Request) -> dict[str, Any]:
        """End a job for good."""
        known(lambda: jobs.find(database, job))
        return _shown(database, requests.cancel(database, job, actor(request)))

    @routes.post("/jobs/{job}/pause")
    def pause_job(job: str, request: Request) -> dict[str, Any]:
        """Let a job wait until it is resumed."""
        known(lambda: jobs.find(database, job))
        return _shown(database, requests.pause(database, job, actor(request)))

    @routes.post("/jobs/{job}/resume")
    def resume_job(job: str, request: Request) -> dict[str, Any]:
        """Queue a paused or failed job again."""
        known(lambda: jobs.find(database, job))
        return _shown(database, requests.resume(database, job, actor(request)))

    @routes.delete("/jobs/{job}")
    def delete_job(job: str, request: Request) -> dict[str, Any]:
        """Forget a job that is over, with its events; its folder stays, and what it cost in its months."""
        known(lambda: jobs.find(database, job))
        requests.delete(database, job, actor(request))
        return {"id": job, "object": "studio.job", "deleted": True}


def _add_telemetry(routes: APIRouter, database: Database) -> None:
    """What a job says and measures."""

    @routes.get("/jobs/{job}/events", responses=fine_tuning.EVENTS, response_model=None)
    def list_events(
        job: str,
        after: After = None,
        limit: Limit = 20,
        stream: bool = False,
        last_event_id: Annotated[str | None, Header(max_length=200)] = None,
    ) -> dict[str, Any] | Response:
        """Events, the newest first; with `stream` in order and as they come."""
        found = known(lambda: jobs.find(database, job))
        if stream:
            return fine_tuning.streamed(database, found, after or last_event_id)
        number = objects.event_number(found.id, after) if after else 0
        listed = events.events(database, found.id, number, limit + 1, newest_first=True)
        return page([objects.event_object(each) for each in listed], limit)

    @routes.get("/jobs/{job}/metrics")
    def read_metrics(job: str, most: Annotated[int | None, Query(ge=2, le=10**6)] = None) -> dict[str, Any]:
        """`data`: rows by optimizer step; `system`: the last samples of processor, memory, disk and GPUs.

        With `most`, about so many of either, evenly chosen: evaluations, the first and the last row are always there.
        """
        folder = Path(known(lambda: jobs.find(database, job)).folder)
        rows = files.read_jsonl_log(folder / "metrics.jsonl")
        system = files.read_jsonl_log(folder / "system.jsonl")[-LAST_ROWS:]
        return {"object": "list", "data": _thinned(rows, most), "system": _thinned(system, most)}

    @routes.get("/jobs/{job}/log", response_class=Response)
    def read_log(job: str, offset: Annotated[int, Query(ge=0, lt=2**63)] = 0) -> Response:
        """What the job printed, at most a megabyte from `offset` on, as bytes."""
        path = queue.log_of(known(lambda: jobs.find(database, job)))
        content = b""
        if path.is_file():
            with path.open("rb") as stream:
                stream.seek(offset)
                content = stream.read(LOG_BYTES)
        return attachment(iter([content]), f"{job}.txt", len(content))


def making(
    database: Database, kind: str, spec: Mapping[str, Any], order: Order, logs: Path, body: Mapping[str, Any]
) -> Making:
    """A job of any kind from its spec as a caller writes it."""
    named = Named()
    values = dict(spec)
    inline = values.pop("hyperparameters", None) if kind == "train" else None
    found = inputs.spec(database, kind, values, logs, named)
    if inline is not None and not isinstance(inline, dict):
        raise ApiError(400, "spec.hyperparameters: expected the JSON object itself", "invalid_value")

    def written(folder: Path) -> dict[str, Any]:
        if inline is None:
            return found
        files.write_json(folder / fine_tuning.HYPERPARAMETERS, inline)
        return {**found, "hyperparameters": str(folder / fine_tuning.HYPERPARAMETERS)}

    return Making(kind, order, body, written, named)


def job_object(found: Job, cost: Mapping[str, float]) -> dict[str, Any]:
    """A job of any kind, without its spec and report."""
    return {
        "id": found.id,
        "object": "studio.job",
        "kind": found.kind,
        "name": found.name,
        "state": found.state,
        "wanted": found.wanted,
        "note": found.note,
        "error": objects.error_object(found),
        "created_at": int(found.created),
        "started_at": int(found.started) if found.started else None,
        "ended_at": int(found.ended) if found.ended else None,
        "created_by": found.created_by,
        "priority": found.priority,
        "depends_on": list(found.needs),
        "attempts": found.attempts,
        "max_attempts": found.max_attempts,
        "gpus": found.gpus,
        "worker": found.worker,
        "recipe": found.recipe,
        "metadata": dict(found.metadata),
        "published": objects.published_as(found),
        "outputs": sorted((found.report or {}).get("outputs", {})),
        "cost": dict(cost),
    }


def _shown(database: Database, found: Job) -> dict[str, Any]:
    return job_object(found, vars(costs.of_jobs(database, [found.id])[found.id]))


def _thinned(rows: list[dict[str, Any]], most: int | None) -> list[dict[str, Any]]:
    step = 1 if most is None else math.ceil(len(rows) / most)
    last = len(rows) - 1
    return [row for place, row in enumerate(rows) if place % step == 0 or place == last or "eval_loss" in row]


def _estimate(wish: Making, measure: bool) -> dict[str, Any]:
    import dataclasses

    from loglore.jobs.names import model_path
    from loglore.runs.folder import RunFolder
    from loglore.train.forecast import forecast
    from loglore.train.job import TrainSpec

    with TemporaryDirectory(prefix="loglore-estimate-") as place:
        folder = Path(place)
        try:
            values = dict(wish.values(folder))
            values["model"] = str(model_path(str(values["model"]), server=True))
            spec = TrainSpec.parse(values, "job")
            return dataclasses.asdict(forecast(spec, RunFolder(folder / "run", {}), measure))
        except InputError as fault:
            raise ApiError(400, str(fault), "invalid_value") from None
