"""The application: one factory for `loglore studio` (everything) and `loglore serve` (sessions and what chat needs).

    request -> loopback or anywhere -> key and scope -> bounds of the body -> idempotency -> route

All parts share the database, the keys and the guard. Without a `Studio` only the serving part is there.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from loglore import __version__
from loglore.api import (
    accounts,
    ancestry,
    ask,
    chats,
    completions,
    connections,
    datasets,
    errors,
    evals,
    files,
    fine_tuning,
    jobs,
    looks,
    manage,
    models,
    presets,
    results,
    runs,
    versions,
)
from loglore.api import logs as log_routes
from loglore.api.bounds import Bounded
from loglore.api.guard import LoopbackOnly
from loglore.api.house import House, SessionMetrics
from loglore.api.idempotency import Idempotent
from loglore.api.keyring import Keyed, Keyring
from loglore.api.ledger import Ledger
from loglore.api.relay import Source, Upstream
from loglore.api.sessions import Either, OnDemand, Sessions
from loglore.cluster.serving import Place
from loglore.store.database import Database

QUESTIONS_AT_ONCE = 32


@dataclass(frozen=True)
class Parts:
    """What every application is made of.

    Attributes:
        house: sessions; who makes the application starts and closes them.
        database: where everything is kept.
        keyring: who may call.
        history_days: how long completions are kept.
        open_to_all: callers may come from anywhere; else only from this machine and its own pages.
        place: a cluster on which sessions may be started.
    """

    house: House
    database: Database
    keyring: Keyring
    history_days: float = 30.0
    open_to_all: bool = False
    place: Place | None = None


@dataclass(frozen=True)
class Studio:
    """What the studio has beyond serving.

    Attributes:
        runs: folder of run folders; it may not exist yet.
        logs: folder whose files may be asked about by path.
        sessions: starts a model of the hub when it is first asked.
    """

    runs: Path
    logs: Path
    sessions: Sessions = field(default_factory=Sessions)


def create_app(parts: Parts, studio: Studio | None = None) -> FastAPI:
    """The application of `loglore serve`, or with `studio` that of `loglore studio`."""
    registry = CollectorRegistry()
    SessionMetrics(parts.house, registry)
    ledger = Ledger(registry, parts.keyring, parts.database, parts.history_days)
    upstream = Upstream()
    pool = ThreadPoolExecutor(QUESTIONS_AT_ONCE, "ask")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tending = asyncio.ensure_future(parts.house.tend()) if studio else None
        yield
        if studio and tending:
            tending.cancel()
            await asyncio.wait({tending})
            await studio.sessions.close()
            await parts.house.close()
        await upstream.close()
        ledger.close()
        pool.shutdown(wait=False, cancel_futures=True)

    title = "LogLore studio" if studio else "LogLore gateway"
    # The interactive pages would load their scripts from elsewhere.
    app = FastAPI(title=title, version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    # The last one added is the first one met.
    app.add_middleware(Idempotent, database=parts.database)
    app.add_middleware(Bounded)
    app.add_middleware(Keyed, keyring=parts.keyring)
    if not parts.open_to_all:
        app.add_middleware(LoopbackOnly)
    errors.install(app)
    _add_monitoring(app, parts.house, registry, idle_is_fine=studio is not None)
    source: Source = parts.house
    if studio:
        source = Either(parts.house, OnDemand(studio.sessions, parts.database))
    offer = models.Offer(parts.house, parts.database, studio.sessions if studio else None)
    app.include_router(models.router(offer, parts.database, hub=studio is not None))
    _add_tokenize(app, parts.house, upstream)
    app.include_router(completions.router(source, upstream, ledger))
    app.include_router(manage.router(parts.house, parts.database, parts.place))
    if studio:
        _add_studio(app, parts, studio, pool)
    completions.describe(app)
    return app


def _add_studio(app: FastAPI, parts: Parts, studio: Studio, pool: ThreadPoolExecutor) -> None:
    database, folder = parts.database, studio.logs.resolve()
    logs = log_routes.Logs(folder, database)
    app.include_router(files.router(database))
    app.include_router(files.uploads(database))
    app.include_router(fine_tuning.router(database))
    app.include_router(evals.router(database))
    app.include_router(datasets.router(database))
    app.include_router(versions.router(database))
    app.include_router(connections.router(database))
    app.include_router(jobs.router(database, folder))
    app.include_router(results.router(database))
    app.include_router(looks.router(database))
    app.include_router(ancestry.router(database))
    app.include_router(presets.router())
    app.include_router(accounts.router(database))
    app.include_router(runs.router(studio.runs.resolve()))
    app.include_router(log_routes.router(logs))
    app.include_router(chats.router(logs, database))
    source = Either(parts.house, OnDemand(studio.sessions, database))
    app.include_router(ask.router(ask.Asker(logs, source, studio.sessions, database, pool), logs, database))


def _add_monitoring(app: FastAPI, house: House, registry: CollectorRegistry, idle_is_fine: bool) -> None:
    @app.get("/health", tags=["health"])
    def health() -> dict[str, Any]:
        """Whether the server answers, and what its sessions do."""
        states = {name: each.state for each in house.open() for name in each.plan.models}
        fine = (bool(states) or idle_is_fine) and all(state == "ready" for state in states.values())
        return {"status": "ok" if fine else "degraded", "version": __version__, "models": states}

    @app.get("/metrics", tags=["health"], response_class=Response)
    def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _add_tokenize(app: FastAPI, house: House, upstream: Upstream) -> None:
    @app.post("/tokenize", tags=["models"], include_in_schema=False)
    async def tokenize(request: Request) -> Response:
        """llama.cpp's `/tokenize`: `content`, and `model` where several are served."""
        wish = manage.json_object(await request.body())
        names = [card["id"] for card in house.cards()]
        seat = await house.look(str(wish.get("model") or (names or [""])[0]))
        found = await upstream.whole(seat, "/../tokenize", {"content": str(wish.get("content", ""))})
        return Response(found, media_type="application/json")
