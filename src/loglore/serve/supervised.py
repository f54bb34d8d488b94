"""A session that holds: its engine is started again when it dies, and it ends by its limits.

    starting -> ready <-> restarting -> failed     (more than `RESTARTS` deaths within `WINDOW_S`)
                ready -> stopped                   (idle, too long, enough interactions, or somebody said so)

Requests wait for a seat, and through a restart; what the engine was answering when it died is lost, and its callers are
told by the broken connection. One event loop owns a session; engines are started and stopped in threads.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from loglore.errors import InputError, JobError
from loglore.serve.engine import Session
from loglore.serve.seats import Seats
from loglore.store import sessions
from loglore.store.database import Database
from loglore.store.sessions import ENDED, State

RESTARTS = 5
WINDOW_S = 600.0
# Pause before the second, third … restart in a row; the first is immediate.
PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0)
# A session that is to end gives its open answers this long.
DRAIN_S = 20.0
TICK_S = 1.0


class EndedError(Exception):
    """The session takes no more requests; the text says why."""


@dataclass(frozen=True)
class Limits:
    """When a session ends by itself; None is never.

    Attributes:
        idle_s: seconds without a request.
        duration_s: seconds since it was ready.
        interactions: requests taken.
    """

    idle_s: float | None = None
    duration_s: float | None = None
    interactions: int | None = None


@dataclass(frozen=True)
class Plan:
    """What a session is to be.

    Attributes:
        models: ids it answers to, the base first.
        engine: kind of engine, for lists.
        start: starts an engine and returns it with what stops it; blocking.
        parallel: requests answered at the same time.
        queue: requests that may wait beside them.
        limits: when it ends by itself.
        keep_history: whether its completions are kept.
        replicas: engines that serve it, each a session of its own.
    """

    models: tuple[str, ...]
    engine: str
    start: Callable[[], contextlib.AbstractContextManager[Session]]
    parallel: int = 1
    queue: int = 64
    limits: Limits = Limits()
    keep_history: bool = True
    replicas: int = 1


class Supervised:
    """One session of a server. Made by `started`."""

    def __init__(self, plan: Plan, database: Database, row: sessions.SessionRow) -> None:
        self.plan, self.id = plan, row.id
        self.state: State = "starting"
        self.reason = ""
        self.interactions = self.restarts = self._recorded = 0
        self.seats = Seats(plan.parallel, plan.queue)
        self.ended = asyncio.Event()
        self._database = database
        self._session: Session | None = None
        self._open = contextlib.ExitStack()
        self._ready = asyncio.Event()
        self._deaths: list[float] = []
        self._ready_at = self._used_at = time.monotonic()
        self._draining_since: float | None = None
        self._stopping = False
        self.is_told_to_stop = False
        self._watch: asyncio.Task[None] | None = None
        self._starting: asyncio.Future[Session] | None = None
        # Of its own: a wait for an engine's end must not take a thread from the loop's pool.
        self._threads = ThreadPoolExecutor(2, f"engine-{row.id}")

    @property
    def session(self) -> Session | None:
        """The engine that answers now."""
        return self._session

    @contextlib.asynccontextmanager
    async def seat(self) -> AsyncIterator[Session]:
        """A seat at the running engine; waits in the queue, and while the engine is started again.

        Raises:
            FullError: the queue is full. EndedError: the session has ended, or ends.
        """
        limit = self.plan.limits.interactions
        if limit is not None and self.interactions >= limit:
            self.drain(f"it has had its {limit} interactions")
        self._check_open()
        self.interactions += 1
        try:
            await self.seats.take()
        except BaseException:
            self.interactions -= 1
            raise
        taken = time.monotonic()
        try:
            yield await self.running()
        finally:
            self._used_at = time.monotonic()
            self.seats.give(self._used_at - taken)

    async def running(self) -> Session:
        """The engine, once it runs (again).

        Raises:
            EndedError: it will not.
        """
        while self._session is None or not self._session.is_running():
            if self.state in ENDED:
                raise EndedError(self.reason)
            self._ready.clear()
            await self._ready.wait()
        return self._session

    async def start(self) -> None:
        """Start the first engine.

        Raises:
            InputError, JobError: as the engine's start.
        """
        try:
            await self._launch()
        except (InputError, JobError) as fault:
            await self._finish("failed", str(fault))
            raise
        self._watch = asyncio.create_task(self._supervise())

    async def stop(self, reason: str) -> None:
        """End it now; answers still being written break off."""
        if self._stopping or self.state in ENDED:
            await self.ended.wait()
            return
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._finish("stopped", reason)

    async def tick(self) -> None:
        """What has to be looked at every `TICK_S`: limits, the wish of somebody else to end it, its row."""
        now = time.monotonic()
        limits = self.plan.limits
        if await asyncio.to_thread(self._told, self._asked_to_stop):
            self.is_told_to_stop = True
            self.drain("somebody stopped it")
        if limits.duration_s is not None and now - self._ready_at >= limits.duration_s:
            self.drain(f"it has run for {limits.duration_s:,.0f} s")
        idle = not self.seats.taken and now - self._used_at >= (limits.idle_s or 0)
        if limits.idle_s is not None and idle:
            self.drain(f"nobody has used it for {limits.idle_s:,.0f} s")
        if limits.interactions is not None and self.interactions >= limits.interactions and not self.seats.taken:
            self.drain(f"it has had its {limits.interactions} interactions")
        if self._draining_since is not None and (not self.seats.taken or now - self._draining_since > DRAIN_S):
            await self.stop(self.reason)

    def _asked_to_stop(self) -> bool:
        """Bring the row up to date, if it was used since the last time, and read the wish in it."""
        if self.interactions == self._recorded:
            return sessions.find(self._database, self.id).stop_requested
        self._recorded = self.interactions
        return sessions.update(self._database, self.id, interactions=self.interactions, last_used=time.time())

    def drain(self, reason: str) -> None:
        """Take no more requests, and end when those that are being answered have their answers."""
        if self._draining_since is None:
            self._draining_since, self.reason = time.monotonic(), reason
            self.seats.refuse_all(EndedError(reason))

    def _check_open(self) -> None:
        if self._draining_since is not None or self.state in ENDED:
            raise EndedError(self.reason)

    async def _launch(self) -> None:
        def enter() -> Session:
            return self._open.enter_context(self.plan.start())

        # Shielded, and waited for by `_finish`: else an engine that is starting would be left behind.
        self._starting = asyncio.get_running_loop().run_in_executor(self._threads, enter)
        self._session = await asyncio.shield(self._starting)
        self.state, self.reason = "ready", ""
        self._ready_at = self._ready_at if self._deaths else time.monotonic()
        await self._record()
        self._ready.set()

    async def _supervise(self) -> None:
        while self._session is not None:
            status = await asyncio.get_running_loop().run_in_executor(self._threads, self._session.end)
            now = time.monotonic()
            self._deaths = [*(each for each in self._deaths if now - each < WINDOW_S), now]
            log = self._session.log
            self._session = None
            self._ready.clear()
            print(f"loglore: the engine of {self.plan.models[0]} died (status {status}); see {log}", file=sys.stderr)
            await asyncio.get_running_loop().run_in_executor(self._threads, self._open.close)
            if not await self._restart(f"the engine died (status {status}); see {log}"):
                return

    async def _restart(self, reason: str) -> bool:
        self.state, self.reason = "restarting", reason
        await self._record()
        while len(self._deaths) <= RESTARTS:
            await asyncio.sleep(PAUSES_S[min(len(self._deaths), len(PAUSES_S)) - 1])
            try:
                await self._launch()
            except (InputError, JobError) as fault:
                self.reason = str(fault)
                self._deaths.append(time.monotonic())
                continue
            self.restarts += 1
            await self._record()
            return True
        await self._finish("failed", f"{RESTARTS} restarts within {WINDOW_S / 60:.0f} minutes: {self.reason}")
        return False

    async def _finish(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        self.seats.refuse_all(EndedError(reason))
        self._ready.set()
        if self._starting is not None:
            await asyncio.wait([self._starting])
        await asyncio.get_running_loop().run_in_executor(self._threads, self._open.close)
        self._session = None
        self._threads.shutdown(wait=False)
        await self._record(ended=time.time())
        self.ended.set()

    async def _record(self, ended: float | None = None) -> None:
        values = {"state": self.state, "reason": self.reason, "restarts": self.restarts}
        values |= {"interactions": self.interactions, "ended": ended}
        await asyncio.to_thread(self._told, lambda: sessions.update(self._database, self.id, **values))

    def _told(self, work: Callable[[], bool]) -> bool:
        """The result of `work` with the database; False while that does not answer: its row is for others to read."""
        try:
            return work()
        except JobError as fault:
            print(f"loglore: session {self.id}: {fault}", file=sys.stderr)
            return False
