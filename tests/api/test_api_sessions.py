"""One session at a time, and streams whose client goes."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from loglore.api.errors import ApiError
from loglore.api.sessions import Sessions
from loglore.api.streams import ClientLeftError, from_thread
from loglore.hub import models


@pytest.fixture
def two_models(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGLORE_THREADS", "1")
    models.add("one", tiny_gguf, {})
    models.add("two", tiny_gguf, {})


@pytest.mark.usefixtures("two_models")
def test_one_session_at_a_time() -> None:
    async def scenario() -> None:
        sessions = Sessions()
        async with sessions.use("one@1") as first:
            async with sessions.use("one@1") as same:
                assert same is first
            with pytest.raises(ApiError) as fault:
                async with sessions.use("two@1"):
                    pass
            assert (fault.value.status, fault.value.code) == (503, "session_busy")
        async with sessions.use("two@1") as second:
            assert not psutil.pid_exists(first.pid)
            assert sessions.model == "two@1"
        await sessions.close()
        assert sessions.model is None
        assert not psutil.pid_exists(second.pid)

    asyncio.run(scenario())


@pytest.mark.usefixtures("two_models")
def test_a_client_that_leaves_while_the_engine_starts_leaves_no_user_behind() -> None:
    async def scenario() -> None:
        sessions = Sessions()

        async def wait_for_one() -> None:
            async with sessions.use("one@1"):
                pass

        waiting = asyncio.ensure_future(wait_for_one())
        await asyncio.sleep(0.1)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        async with sessions.use("two@1"):  # waits for the start, then may replace it
            pass
        await sessions.close()

    asyncio.run(scenario())
    engines = [each for each in psutil.Process().children() if "loglore.serve.llama" in each.cmdline()]
    assert not engines


@pytest.mark.usefixtures("two_models")
def test_an_engine_that_died_is_started_again() -> None:
    async def scenario() -> None:
        sessions = Sessions()
        async with sessions.use("one@1") as first:
            psutil.Process(first.pid).kill()
        while first.is_running():
            await asyncio.sleep(0.02)
        async with sessions.use("one@1") as again:
            assert again.pid != first.pid
            assert again.is_running()
        await sessions.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("cancelled", [False, True])
def test_work_in_a_thread_has_ended_when_its_stream_is_closed(cancelled: bool) -> None:
    ended = threading.Event()

    def endless(emit: Any) -> None:
        try:
            while True:
                emit("tick", n=1)
                time.sleep(0.005)
        except ClientLeftError:
            time.sleep(0.1)
            ended.set()
            raise

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as pool:
            stream = from_thread(pool, endless)
            assert (await anext(stream)).startswith("event: tick")
            if cancelled:
                with anyio.move_on_after(0.05):
                    async for _ in stream:
                        pass
            else:
                await stream.aclose()
            assert ended.is_set()

    asyncio.run(scenario())
