"""`/v1/studio/sessions`: list, start and stop sessions, read their history; keys need the scope `manage`."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from loglore.api.errors import ApiError
from loglore.api.house import House
from loglore.api.making import actor
from loglore.cluster.serving import Place
from loglore.hub import models
from loglore.serve.external import EngineKind
from loglore.serve.plans import plan
from loglore.serve.samples import samples
from loglore.serve.supervised import Limits, Supervised
from loglore.store import audit, completions, sessions
from loglore.store.database import Database

LIST_MOST = 1000


HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(@[0-9]+)?$", max_length=100)]


class StartBody(BaseModel):
    """A session to start: a model of the hub, by name; the rest as `loglore serve`. Times in seconds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: HubName = Field(examples=["tuned@1"])
    name: str | None = Field(None, min_length=1, max_length=300)
    adapters: dict[str, HubName] = Field(default_factory=dict, description="hub names of adapters by model id")
    engine: EngineKind | None = None
    context: int | None = Field(None, ge=256)
    parallel: int = Field(1, ge=1, le=256)
    queue: int = Field(64, ge=0, le=10_000)
    idle_s: float | None = Field(None, gt=0)
    duration_s: float | None = Field(None, gt=0)
    interactions: int | None = Field(None, ge=1)
    keep_history: bool = True
    replicas: int = Field(1, ge=1, le=64, description="engines behind the one model id")
    executor: Literal["local", "ray"] = Field("local", description="ray: on the nodes of the server's cluster")


def router(house: House, database: Database, place: Place | None = None) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio/sessions", tags=["sessions"], responses=ERRORS)

    @routes.get("")
    def list_sessions(ended: bool = False) -> dict[str, Any]:
        """Sessions of this server, with `ended` also those that have ended; `executors`: where one can be started."""
        chosen = house.all if ended else house.open()
        executors = ["local", *(["ray"] if place is not None else [])]
        return {
            "object": "list", "data": [_card(database, each, house) for each in chosen], "executors": executors,
        }  # fmt: skip

    @routes.post("", status_code=201)
    async def start_session(wish: StartBody, request: Request) -> dict[str, Any]:
        """Start a session of a model in the hub; answers when it is ready."""
        limits = Limits(wish.idle_s, wish.duration_s, wish.interactions)
        if wish.executor == "ray" and place is None:
            text = "this server has no cluster: start it with --executor ray --address URL"
            raise ApiError(400, text, "invalid_value", "executor")
        for name in (wish.model, *wish.adapters.values()):
            # Names of the hub only: what lies elsewhere on the disk is not for callers of an API.
            if Path(name).exists():
                raise ApiError(400, f"{name!r}: expected the name of a model in the hub", "invalid_value", "model")
        made = await asyncio.to_thread(
            lambda: plan(
                wish.model,
                name=wish.name,
                adapters={name: models.resolve(each) for name, each in wish.adapters.items()},
                engine=wish.engine,
                context=wish.context,
                parallel=wish.parallel,
                queue=wish.queue,
                limits=limits,
                keep_history=wish.keep_history,
                replicas=wish.replicas,
                place=place if wish.executor == "ray" else None,
            )
        )
        started = await house.start(made)
        detail = {"models": list(started.plan.models), "replicas": wish.replicas}
        await asyncio.to_thread(audit.audit, database, actor(request), "session.start", started.id, detail)
        return _card(database, started, house)

    @routes.get("/{session}")
    def read_session(session: str) -> dict[str, Any]:
        """One session, with sample code."""
        return _card(database, house.find(session), house)

    @routes.delete("/{session}")
    async def stop_session(session: str, request: Request) -> dict[str, Any]:
        """End a session now, with all its replicas."""
        found = house.find(session)
        await asyncio.gather(*(each.stop("stopped through the API") for each in house.replicas(found)))
        await asyncio.to_thread(audit.audit, database, actor(request), "session.stop", found.id)
        return _card(database, found, house)

    @routes.get("/{session}/completions")
    def read_history(
        session: str, limit: int = Query(100, ge=1, le=LIST_MOST), before: int | None = Query(None, ge=0, lt=2**63)
    ) -> dict[str, Any]:
        """What a session was asked and answered, the newest first; `before` an id goes further back."""
        found = house.find(session)
        return {"object": "list", "data": completions.history(database, found.id, limit, before)}

    return routes


def json_object(content: bytes) -> dict[str, Any]:
    """A body that is a JSON object. Raises ApiError 400."""
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise ApiError(400, f"the body is not JSON: {fault}") from None
    if not isinstance(found, dict):
        raise ApiError(400, "the body: expected a JSON object")
    return found


def _card(database: Database, session: Supervised, house: House) -> dict[str, Any]:
    row = sessions.find(database, session.id)
    code = samples(row.url, row.models[0], row.needs_key)
    context = session.session.context if session.session is not None else None
    now: dict[str, Any] = {"interactions": session.interactions, "state": session.state, "reason": session.reason}
    # With its replicas, each of which has a row of its own; and the node of a cluster, where it is on one.
    now |= {"replicas": [each.id for each in house.replicas(session)]}
    now |= {"node": session.session.node if session.session is not None else None}
    return {**dataclasses.asdict(row), **now, "context": context, "samples": code}


_ERROR = {"description": "An error in OpenAI's shape."}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 401, 403, 404, 429), _ERROR)
