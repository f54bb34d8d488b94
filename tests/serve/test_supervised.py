"""A session over its life, with a real process in the place of the engine."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loglore.errors import InputError, JobError
from loglore.serve import supervised
from loglore.serve.engine import Session
from loglore.serve.seats import FullError
from loglore.serve.supervised import EndedError, Limits, Plan, Supervised
from loglore.store import sessions
from loglore.store.database import open_database


class Engines:
    """Starts processes that do nothing; `faults` are raised by the next starts."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.faults: list[Exception] = []
        self.made: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def start(self) -> Iterator[Session]:
        if self.faults:
            raise self.faults.pop(0)
        process = subprocess.Popen(["sleep", "60"])
        self.made.append(process)
        try:
            yield Session("http://x/v1", "m", 512, process.pid, self.log, process)
        finally:
            process.kill()
            process.wait()

    def kill(self) -> None:
        os.kill(self.made[-1].pid, signal.SIGKILL)


Scenario = Callable[[Supervised, Engines], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a scenario with a started session, and stops it."""
    monkeypatch.setattr(supervised, "PAUSES_S", (0.0, 0.01))

    def run(scenario: Scenario, **values: Any) -> None:
        engines = Engines(tmp_path / "engine.log")
        database = open_database(f"sqlite:///{tmp_path / 'x.db'}")

        async def whole() -> None:
            plan = Plan(("m", "tuned"), "llama.cpp", engines.start, **values)
            row = sessions.create(database, plan.models, plan.engine, "http://x/v1", False, (1, 1.0), 1.0)
            session = Supervised(plan, database, row)
            await session.start()
            try:
                await scenario(session, engines)
            finally:
                await session.stop("end of the test")
                assert all(each.poll() is not None for each in engines.made)
                assert sessions.find(database, session.id).state in ("stopped", "failed")

        asyncio.run(whole())
        database.close()

    return run


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


def test_an_engine_that_dies_is_started_again_and_requests_wait_for_it(play: Callable[..., None]) -> None:
    async def scenario(session: Supervised, engines: Engines) -> None:
        first = await session.running()
        engines.kill()
        await until(lambda: not first.is_running())
        async with session.seat() as second:
            assert second.pid != first.pid
            assert second.is_running()
        assert session.restarts == 1
        assert session.state == "ready"

    play(scenario)


def test_restarts_are_bounded(play: Callable[..., None]) -> None:
    async def scenario(session: Supervised, engines: Engines) -> None:
        for number in range(supervised.RESTARTS + 1):
            await until(lambda: len(engines.made) > number and session.state == "ready")  # noqa: B023
            engines.kill()
        await until(lambda: session.state == "failed")
        assert len(engines.made) == supervised.RESTARTS + 1
        with pytest.raises(EndedError, match=r"5 restarts within 10 minutes: the engine died \(status -9\)"):
            async with session.seat():
                pass

    play(scenario)


def test_a_start_that_fails_counts_as_a_death(play: Callable[..., None]) -> None:
    async def scenario(session: Supervised, engines: Engines) -> None:
        engines.faults = [JobError("no memory")] * supervised.RESTARTS
        engines.kill()
        await until(lambda: session.state == "failed")
        assert session.reason.endswith("no memory")

    play(scenario)


def test_a_first_start_that_fails_is_raised(tmp_path: Path) -> None:
    engines = Engines(tmp_path / "log")
    engines.faults = [InputError("no such model")]
    database = open_database(f"sqlite:///{tmp_path / 'x.db'}")

    async def whole() -> None:
        row = sessions.create(database, ["m"], "llama.cpp", "u", False, (1, 1.0), 1.0)
        session = Supervised(Plan(("m",), "llama.cpp", engines.start), database, row)
        with pytest.raises(InputError):
            await session.start()
        assert sessions.find(database, row.id).state == "failed"

    asyncio.run(whole())


def test_enough_interactions(play: Callable[..., None]) -> None:
    async def scenario(session: Supervised, _: Engines) -> None:
        async with session.seat():
            async with session.seat():
                with pytest.raises(EndedError, match="it has had its 2 interactions"):
                    async with session.seat():
                        pass
            await session.tick()
            assert session.state == "ready"  # one is still being answered
        await session.tick()
        assert (session.state, session.reason) == ("stopped", "it has had its 2 interactions")

    play(scenario, parallel=2, limits=Limits(interactions=2))


def test_a_refused_request_is_no_interaction(play: Callable[..., None]) -> None:
    async def scenario(session: Supervised, _: Engines) -> None:
        async with session.seat():
            with pytest.raises(FullError):
                async with session.seat():
                    pass
            assert session.interactions == 1

    play(scenario, queue=0, limits=Limits(interactions=2))


def test_idle_and_duration(play: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(session: Supervised, _: Engines) -> None:
        start = supervised.time.monotonic()
        now = start
        monkeypatch.setattr(supervised.time, "monotonic", lambda: now)
        now = start + 50
        async with session.seat():
            now = start + 70  # in use, so not idle
            await session.tick()
            assert session.state == "ready"
        now = start + 129
        await session.tick()
        assert session.state == "ready"
        now = start + 131
        await session.tick()
        assert (session.state, session.reason) == ("stopped", "nobody has used it for 60 s")

    play(scenario, limits=Limits(idle_s=60))

    async def long(session: Supervised, _: Engines) -> None:
        start = supervised.time.monotonic()
        monkeypatch.setattr(supervised.time, "monotonic", lambda: start + 3601)
        await session.tick()
        assert (session.state, session.reason) == ("stopped", "it has run for 3,600 s")

    monkeypatch.undo()
    play(long, limits=Limits(duration_s=3600))


def test_somebody_else_may_stop_it(play: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(session: Supervised, _: Engines) -> None:
        other = open_database(f"sqlite:///{tmp_path / 'x.db'}")
        await session.tick()
        assert session.state == "ready"
        sessions.request_stop(other, session.id)
        await session.tick()
        assert (session.state, session.reason) == ("stopped", "somebody stopped it")
        with pytest.raises(EndedError):
            await session.running()

    play(scenario)


def test_who_waits_when_it_ends_is_sent_away(play: Callable[..., None]) -> None:
    async def scenario(session: Supervised, _: Engines) -> None:
        async def ask() -> None:
            async with session.seat():
                pass

        async with session.seat():
            waiting = asyncio.ensure_future(ask())
            await until(lambda: session.seats.waiting == 1)
            await session.stop("enough")
            with pytest.raises(EndedError, match="enough"):
                await waiting

    play(scenario)


def test_stopping_while_it_starts_again_leaves_no_engine(play: Callable[..., None]) -> None:
    async def scenario(session: Supervised, engines: Engines) -> None:
        engines.kill()
        await until(lambda: session.state == "restarting" or len(engines.made) == 2)
        await asyncio.gather(session.stop("enough"), session.stop("more than enough"))
        assert all(each.poll() is not None for each in engines.made)

    play(scenario)


def test_the_row_follows(play: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(session: Supervised, engines: Engines) -> None:
        database = open_database(f"sqlite:///{tmp_path / 'x.db'}")
        assert sessions.find(database, session.id).state == "ready"
        async with session.seat():
            pass
        engines.kill()
        await until(lambda: session.restarts == 1)
        await session.tick()
        row = sessions.find(database, session.id)
        assert (row.state, row.interactions, row.restarts) == ("ready", 1, 1)
        assert row.last_used is not None

    play(scenario)


def test_a_database_that_does_not_answer_ends_nothing(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario(session: Supervised, engines: Engines) -> None:
        def fail(*_: Any, **__: Any) -> bool:
            raise JobError("database is locked")

        with monkeypatch.context() as patch:
            patch.setattr(sessions, "update", fail)
            patch.setattr(sessions, "find", fail)
            await session.tick()
            engines.kill()
            await until(lambda: session.restarts == 1)
            async with session.seat():
                pass
        assert "database is locked" in capsys.readouterr().err

    play(scenario)
