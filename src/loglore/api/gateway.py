"""The gateway's application: one OpenAI-compatible URL for all sessions of a server."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from loglore import __version__
from loglore.api import completions, errors, manage
from loglore.api.bounds import Bounded
from loglore.api.errors import ApiError
from loglore.api.guard import LoopbackOnly
from loglore.api.house import House, SessionMetrics
from loglore.api.keyring import Keyed, Keyring
from loglore.api.ledger import Ledger
from loglore.api.relay import Upstream
from loglore.store.database import Database


def create_gateway(
    house: House, database: Database, keyring: Keyring, history_days: float, open_to_all: bool
) -> FastAPI:
    """The application.

    Args:
        house: its sessions; who calls this starts and closes them.
        database: where keys and history are.
        keyring: who may call.
        history_days: how long completions are kept.
        open_to_all: callers may come from anywhere; else only from this machine and its own pages.
    """
    registry = CollectorRegistry()
    SessionMetrics(house, registry)
    ledger = Ledger(registry, keyring, database, history_days)
    upstream = Upstream()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await upstream.close()
        ledger.close()

    # The interactive pages would load their scripts from elsewhere.
    app = FastAPI(title="LogLore gateway", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    # The last one added is the first one met.
    app.add_middleware(Bounded)
    app.add_middleware(Keyed, keyring=keyring)
    if not open_to_all:
        app.add_middleware(LoopbackOnly)
    errors.install(app)
    _add_monitoring(app, house, registry)
    _add_models(app, house, upstream)
    app.include_router(completions.router(house, upstream, ledger))
    app.include_router(manage.router(house, database))
    completions.describe(app)
    return app


def _add_monitoring(app: FastAPI, house: House, registry: CollectorRegistry) -> None:
    @app.get("/health", tags=["health"])
    def health() -> dict[str, Any]:
        """Whether the server answers, and what its sessions do."""
        states = {name: each.state for each in house.open() for name in each.plan.models}
        fine = bool(states) and all(state == "ready" for state in states.values())
        return {"status": "ok" if fine else "degraded", "version": __version__, "models": states}

    @app.get("/metrics", tags=["health"], response_class=Response)
    def metrics() -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _add_models(app: FastAPI, house: House, upstream: Upstream) -> None:
    @app.get("/v1/models", tags=["models"])
    def list_models() -> dict[str, Any]:
        """All models served."""
        return {"object": "list", "data": house.cards()}

    @app.get("/v1/models/{model:path}", tags=["models"], responses={404: {"description": "No such model."}})
    def read_model(model: str) -> dict[str, Any]:
        """One model; its id may contain `/`."""
        for card in house.cards():
            if card["id"] == model:
                return card
        raise ApiError(404, f"model {model!r}: not served here", "model_not_found", "model")

    @app.post("/tokenize", tags=["models"], include_in_schema=False)
    async def tokenize(request: Request) -> Response:
        """llama.cpp's `/tokenize`: `content`, and `model` where several are served."""
        wish = manage.json_object(await request.body())
        names = [card["id"] for card in house.cards()]
        seat = await house.look(str(wish.get("model") or (names or [""])[0]))
        found = await upstream.whole(seat, "/../tokenize", {"content": str(wish.get("content", ""))})
        return Response(found, media_type="application/json")
