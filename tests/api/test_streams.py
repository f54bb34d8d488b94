"""Events from a thread: they come in order, silence is filled, errors come last."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from loglore.api import streams
from loglore.api.streams import BEAT, Emit, event, from_thread


def test_while_nothing_comes_a_comment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "QUIET_S", 0.001)
    goes_on = threading.Event()

    def work(emit: Emit) -> None:
        emit("text", text="one")
        assert goes_on.wait(60)
        emit("text", text="two")
        raise ValueError("broke off")

    async def read() -> list[str]:
        found = []
        with pytest.raises(ValueError, match="broke off"):
            async for each in from_thread(pool, work):
                found.append(each)
                if each == BEAT:
                    goes_on.set()
        return found

    with ThreadPoolExecutor(1) as pool:
        found = asyncio.run(read())
    assert [each for each in found if each != BEAT] == [event("text", text="one"), event("text", text="two")]
    assert BEAT in found


def test_who_keeps_an_answer_hears_at_once_that_the_client_left() -> None:
    goes_on, left, seen = threading.Event(), threading.Event(), list[str]()

    def work(emit: Emit) -> None:
        emit("text", text="one")
        assert goes_on.wait(60)
        seen.append("left" if left.is_set() else "not told")
        emit("text", text="two")

    async def on_left() -> None:
        left.set()
        goes_on.set()

    async def read() -> list[str]:
        stream = from_thread(pool, work, on_left)
        found = [await anext(stream)]
        await stream.aclose()
        return found

    with ThreadPoolExecutor(1) as pool:
        assert asyncio.run(read()) == [event("text", text="one")]
    assert seen == ["left"]
