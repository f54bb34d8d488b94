"""Answers that stream: server-sent events, and a response that gives back what it holds however it ends."""

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import anyio
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

Emit = Callable[..., None]
# A comment, which readers of events skip: so whoever waits for a model that thinks can stop, and proxies stay patient.
BEAT, QUIET_S = ": waiting\n\n", 1.0


class Held(StreamingResponse):
    """A stream that closes `stack` at its end, also when the client left before the first byte."""

    def __init__(self, content: AsyncIterator[Any], stack: contextlib.AsyncExitStack, **options: Any) -> None:
        super().__init__(content, **options)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then release."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._stack.aclose()


class ClientLeftError(Exception):
    """The client is gone: raised inside the work that nobody waits for any more."""


def event(name: str, **fields: Any) -> str:
    """One server-sent event with JSON data."""
    return f"event: {name}\ndata: {json.dumps(fields, ensure_ascii=False)}\n\n"


async def _nothing() -> None:
    """For a stream of which nothing is kept."""


async def from_thread(
    pool: Executor, work: Callable[[Emit], None], on_left: Callable[[], Awaitable[None]] = _nothing
) -> AsyncGenerator[str, None]:
    """Run blocking `work(emit)` in a thread and yield the events it emits; when the stream is closed, `emit` raises.

    While there are none, a `BEAT` comes every `QUIET_S` seconds. The errors of `work` are raised at the end. Closing
    waits until `work` has ended; when it has not, `on_left` is called before, since a silent model can take minutes.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    left = threading.Event()

    def emit(name: str, **fields: Any) -> None:
        if left.is_set():
            raise ClientLeftError
        loop.call_soon_threadsafe(queue.put_nowait, event(name, **fields))

    def run() -> None:
        try:
            work(emit)
        finally:
            loop.call_soon_threadsafe(queue.put_nowait, None)

    running = loop.run_in_executor(pool, run)
    coming = asyncio.ensure_future(queue.get())
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=QUIET_S)
            if not done:
                yield BEAT
                continue
            if (item := coming.result()) is None:
                break
            yield item
            coming = asyncio.ensure_future(queue.get())
        await running
    finally:
        left.set()
        coming.cancel()
        # The server cancels again and again until its scope is left; what `work` uses must not be released before.
        with anyio.CancelScope(shield=True), contextlib.suppress(ClientLeftError):
            if not running.done():
                await on_left()
            await running
