"""The app: its parts, made once and handed to the routers, and their end."""

import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastapi import FastAPI

from loglore import __version__
from loglore.api import ask, completions, errors, models, runs, uploads
from loglore.api import logs as log_routes
from loglore.api.guard import LoopbackOnly
from loglore.api.relay import Exchange, Upstream
from loglore.api.sessions import OnDemand, Sessions

QUESTIONS_AT_ONCE = 32


def create_app(runs_root: Path, logs_root: Path, uploaded: uploads.Uploads) -> FastAPI:
    """The studio's API.

    Args:
        runs_root: folder of run folders; it may not exist yet.
        logs_root: folder whose files may be asked about by path.
        uploaded: where uploads go.
    """
    sessions = Sessions()
    upstream = Upstream()
    pool = ThreadPoolExecutor(QUESTIONS_AT_ONCE, "ask")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await sessions.close()
        await upstream.close()
        pool.shutdown(wait=False, cancel_futures=True)

    # The interactive pages would load their scripts from elsewhere.
    app = FastAPI(title="LogLore studio", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(LoopbackOnly)
    errors.install(app)

    @app.get("/health", tags=["health"])
    def health() -> dict[str, str]:
        """Whether the API answers."""
        return {"status": "ok", "version": __version__}

    logs = log_routes.Logs(logs_root.resolve(), uploaded)
    app.include_router(models.router(sessions))
    app.include_router(completions.router(OnDemand(sessions), upstream, NoLedger()))
    app.include_router(uploads.router(uploaded))
    app.include_router(runs.router(runs_root.resolve()))
    app.include_router(log_routes.router(logs))
    app.include_router(ask.router(logs, sessions, pool))
    completions.describe(app)
    return app


class NoLedger:
    """The studio's chat is its own user's: nothing is limited, counted or kept."""

    def admit(self, exchange: Exchange) -> None:
        """Everything is welcome."""

    def finish(self, exchange: Exchange) -> None:
        """Nothing is noted."""
