"""The gateway's sessions: which model id is whose, and the figures that a monitor wants of them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psutil
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from loglore.api.errors import ApiError
from loglore.api.relay import Seat, check_length
from loglore.errors import InputError
from loglore.serve.replicas import Routes
from loglore.serve.seats import FullError
from loglore.serve.supervised import TICK_S, EndedError, Plan, Supervised
from loglore.store import sessions
from loglore.store.database import Database
from loglore.store.sessions import ENDED


class House:
    """All sessions of one server, running and ended."""

    def __init__(self, database: Database, url: str, needs_key: bool) -> None:
        self.url, self.needs_key = url, needs_key
        self.all: list[Supervised] = []
        self._database = database
        self._created = int(time.time())
        self._routes = Routes()
        process = psutil.Process()
        self._server = (process.pid, process.create_time())

    def open(self) -> list[Supervised]:
        """Sessions that have not ended."""
        return [each for each in self.all if each.state not in ENDED]

    async def start(self, plan: Plan) -> Supervised:
        """Start a session, and its replicas as sessions of their own; returns the first.

        Raises:
            InputError: one of its ids is taken, or as the engine's start. JobError: as the engine's start.
        """
        taken = {name for each in self.open() for name in each.plan.models}
        names = list(plan.models)
        if double := sorted({name for name in names if name in taken or names.count(name) > 1}):
            raise InputError(f"model id {double[0]!r} is taken already; give it another name with --name")
        started = await asyncio.gather(*(self._start(plan) for _ in range(plan.replicas)), return_exceptions=True)
        faults = [each for each in started if isinstance(each, BaseException)]
        if faults:
            others = [each for each in self.open() if each.plan is plan]
            await asyncio.gather(*(each.stop("a replica could not be started") for each in others))
            raise faults[0]
        return next(each for each in self.all if each.plan is plan)

    async def _start(self, plan: Plan) -> Supervised:
        row = await asyncio.to_thread(
            sessions.create,
            self._database,
            plan.models,
            plan.engine,
            self.url,
            self.needs_key,
            self._server,
            time.time(),
        )
        session = Supervised(plan, self._database, row)
        self.all.append(session)
        await session.start()
        return session

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(each.stop("the server was stopped") for each in self.open()))

    async def watch(self) -> None:
        """Look after the sessions until none is left."""
        while self.open():
            for each in self.open():
                await each.tick()
                if each.is_told_to_stop:
                    for other in self.replicas(each):
                        other.drain(each.reason)
            await asyncio.sleep(TICK_S)

    async def tend(self) -> None:
        """Look after the sessions there are, for ever."""
        while True:
            await self.watch()
            await asyncio.sleep(TICK_S)

    def replicas(self, session: Supervised) -> list[Supervised]:
        """A session and those that were started with it and have not ended; itself in any case."""
        return [each for each in self.all if each is session or (each.plan is session.plan and each.state not in ENDED)]

    def serves(self, model: str) -> bool:
        """Whether an open session has this model id."""
        return any(model in each.plan.models for each in self.open())

    def find(self, session_id: str) -> Supervised:
        """A session by its id. Raises ApiError 404."""
        for each in self.all:
            if each.id == session_id:
                return each
        raise ApiError(404, f"session {session_id!r}: not found", "not_found")

    @contextlib.asynccontextmanager
    async def use(self, model: str, text_bytes: int, opening: str = "") -> AsyncIterator[Seat]:
        """A seat for one request to `model` with a prompt of `text_bytes`; of replicas the one that knows its opening.

        Raises:
            ApiError: 400 for a prompt that cannot fit, 404 for no such model or a session that has ended, 429 for a
                full queue, 503 for a session whose engine died too often.
        """
        session = self._of(model, opening)
        if session.session is not None:
            check_length(session.session, text_bytes)
        try:
            async with session.seat() as engine:
                yield Seat(engine, model, session.id, session.plan.keep_history, session.running)
        except FullError as fault:
            seats = session.seats
            text = (
                f"model {model} answers {seats.size} at a time and {seats.queue} wait already; "
                f"try again in {fault.retry_after_s} s"
            )
            headers = {"Retry-After": str(fault.retry_after_s)}
            raise ApiError(429, text, "queue_full", headers=headers) from None
        except EndedError as fault:
            text = f"the session of model {model} has ended: {fault}"
            if session.state == "failed":
                raise ApiError(503, text, "session_failed", "model") from None
            raise ApiError(404, text, "session_ended", "model") from None

    async def look(self, model: str) -> Seat:
        """The engine of `model` for a look that takes no seat. Raises ApiError 404."""
        session = self._of(model)
        if session.state in ENDED or session.plan.engine != "llama.cpp":
            raise ApiError(404, f"model {model!r}: nothing to ask there", "model_not_found", "model")
        return Seat(await session.running(), model, session.id, again=session.running)

    def cards(self) -> list[dict[str, Any]]:
        """OpenAI's model objects, with `meta.n_ctx` (context) and `owned_by` (engine) as llama.cpp has them."""
        found: list[dict[str, Any]] = []
        for each in self.open():
            if any(card["id"] == each.plan.models[0] for card in found):
                continue  # a replica
            context = each.session.context if each.session is not None else None
            owner = {"llama.cpp": "llamacpp"}.get(each.plan.engine, each.plan.engine)
            for name in each.plan.models:
                card = {"id": name, "object": "model", "created": self._created, "owned_by": owner}
                found.append({**card, "meta": {"n_ctx": context}, "session": each.id, "state": each.state})
        return found

    def _of(self, model: str, opening: str = "") -> Supervised:
        replicas = [each for each in self.open() if model in each.plan.models]
        # One that is started again takes requests only where no other does.
        replicas = [each for each in replicas if each.state == "ready"] or replicas
        if replicas:
            return self._routes.choose(model, opening, replicas) if len(replicas) > 1 else replicas[0]
        for each in reversed(self.all):
            if model in each.plan.models:
                return each
        names = ", ".join(name for each in self.open() for name in each.plan.models) or "none"
        raise ApiError(404, f"model {model!r}: not served here; models: {names}", "model_not_found", "model")


class SessionMetrics:
    """Gauges read when a monitor asks."""

    def __init__(self, house: House, registry: CollectorRegistry) -> None:
        self._house = house
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """One value a session each."""
        open_ = self._house.open()
        running = GaugeMetricFamily("loglore_requests_running", "Requests being answered.", labels=["model"])
        waiting = GaugeMetricFamily("loglore_requests_waiting", "Requests in the queue.", labels=["model"])
        ready = GaugeMetricFamily("loglore_session_ready", "1 when the engine runs.", labels=["model"])
        restarts = CounterMetricFamily("loglore_engine_restarts", "Engines started again.", labels=["model"])
        # Replicas of a session are counted together; it is ready while one of them is.
        for name in dict.fromkeys(each.plan.models[0] for each in open_):
            replicas = [each for each in open_ if each.plan.models[0] == name]
            running.add_metric([name], sum(each.seats.taken for each in replicas))
            waiting.add_metric([name], sum(each.seats.waiting for each in replicas))
            ready.add_metric([name], float(any(each.state == "ready" for each in replicas)))
            restarts.add_metric([name], sum(each.restarts for each in replicas))
        yield from (running, waiting, ready, restarts)
