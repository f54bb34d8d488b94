"""The app: its parts, made once and handed to the routers, and their end."""

import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from fastapi import FastAPI

from loglore import __version__
from loglore.api import ask, chat, errors, models, runs, uploads
from loglore.api import logs as log_routes
from loglore.api.guard import LoopbackOnly
from loglore.api.sessions import Sessions

QUESTIONS_AT_ONCE = 32
CONNECT_TIMEOUT_S = 10.0


def create_app(runs_root: Path, logs_root: Path, uploaded: uploads.Uploads) -> FastAPI:
    """The studio's API.

    Args:
        runs_root: folder of run folders; it may not exist yet.
        logs_root: folder whose files may be asked about by path.
        uploaded: where uploads go.
    """
    sessions = Sessions()
    # An engine may think for minutes before its first token; only the connection has to be quick.
    engines = httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S), trust_env=False)
    pool = ThreadPoolExecutor(QUESTIONS_AT_ONCE, "ask")

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await sessions.close()
        await engines.aclose()
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
    app.include_router(chat.router(sessions, engines))
    app.include_router(uploads.router(uploaded))
    app.include_router(runs.router(runs_root.resolve()))
    app.include_router(log_routes.router(logs))
    app.include_router(ask.router(logs, sessions, pool))
    return app
