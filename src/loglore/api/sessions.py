"""The one running session: started when a model is first asked, replaced when another is, stopped with the server.

One at a time, because two models rarely fit a small machine. A model that is answering is not taken away: who asks
another one meanwhile gets 503 `session_busy`, which OpenAI's clients retry by themselves.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from loglore.api.errors import ApiError
from loglore.api.house import House
from loglore.api.models import canonical
from loglore.api.relay import Seat, Source, check_length
from loglore.jobs import checkpoints
from loglore.store.database import Database

if TYPE_CHECKING:
    from loglore.serve.engine import Session


class Sessions:
    """Keeps at most one engine running."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._open = contextlib.ExitStack()
        self._session: Session | None = None
        self._model = ""
        self._users = 0

    @property
    def model(self) -> str | None:
        """The model that is running."""
        return self._model if self._is_running() else None

    @contextlib.asynccontextmanager
    async def use(self, model: str) -> "AsyncIterator[Session]":
        """A session of `model` (a full name) that is kept running meanwhile.

        Raises:
            ApiError: 503 while another model answers. InputError, JobError: it cannot be started.
        """
        # Shielded: a client that leaves while the engine starts must not leave an engine that nobody knows.
        left = asyncio.Event()
        starting = asyncio.ensure_future(self._claim(model, left))
        try:
            session = await asyncio.shield(starting)
        except asyncio.CancelledError:
            left.set()
            if starting.done() and not starting.cancelled() and starting.exception() is None:
                self._users -= 1
            raise
        try:
            yield session
        finally:
            self._users -= 1

    async def close(self) -> None:
        """Stop what is running."""
        async with self._lock:
            await asyncio.to_thread(self._stop)

    async def _claim(self, model: str, left: asyncio.Event) -> "Session":
        async with self._lock:
            if not (self._model == model and self._is_running()):
                if self._users and self._is_running():
                    text = f"model {self._model} is answering, and one session runs at a time; try again in a moment"
                    raise ApiError(503, text, "session_busy", "model")
                await asyncio.to_thread(self._stop)
                self._session = await asyncio.to_thread(self._start, model)
                self._model = model
            assert self._session is not None
            if not left.is_set():
                self._users += 1
            return self._session

    def _start(self, model: str) -> "Session":
        from loglore.serve.sessions import session

        if checkpoints.NAME.fullmatch(model):
            return self._open.enter_context(session(str(checkpoints.as_model_apart(model)), name=model))
        return self._open.enter_context(session(model))

    def _stop(self) -> None:
        self._session = None
        self._open.close()

    def _is_running(self) -> bool:
        return self._session is not None and self._session.is_running()


class OnDemand:
    """Seats at the one session, for models of the hub by their names."""

    def __init__(self, sessions: Sessions, database: Database) -> None:
        self._sessions, self._database = sessions, database

    @contextlib.asynccontextmanager
    async def use(self, model: str, text_bytes: int, opening: str = "") -> AsyncIterator[Seat]:
        """A seat for one request to `model`; starts its session, of which there is one, on first use.

        Raises:
            ApiError: 400 for a prompt of so many bytes that it cannot fit; else as `Sessions.use`.
        """
        name = await asyncio.to_thread(canonical, model, self._database)
        async with self._sessions.use(name) as session:
            check_length(session, text_bytes)
            yield Seat(session, session.model_id)


class Either:
    """Seats at sessions that somebody started, else at the one that is started on demand."""

    def __init__(self, house: House, on_demand: OnDemand) -> None:
        self._house, self._on_demand = house, on_demand

    def serves(self, model: str) -> bool:
        """Whether somebody started a session that has this model id."""
        return self._house.serves(model)

    @contextlib.asynccontextmanager
    async def use(self, model: str, text_bytes: int, opening: str = "") -> AsyncIterator[Seat]:
        """A seat for one request to `model`. Raises as `House.use` and `OnDemand.use`."""
        source: Source = self._house if self._house.serves(model) else self._on_demand
        async with source.use(model, text_bytes, opening) as seat:
            yield seat
