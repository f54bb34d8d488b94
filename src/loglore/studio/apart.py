"""A streamed reply read in a thread of its own: who waits can do something else each second, and leave at any moment.

A reply that is read where it is waited for can be left only when its next bytes come, and a model may think for minutes
before the first.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

from loglore.errors import InputError, JobError

QUIET_S = 1.0
TIMEOUT = httpx2.Timeout(None, connect=5.0)


def lines(
    client: Mapping[str, Any], path: str, body: Mapping[str, Any], check: Callable[[httpx2.Response], None]
) -> Iterator[str | None]:
    """Lines of the reply to a JSON body, None for each `QUIET_S` seconds in which none came; closing it hangs up.

    Args:
        client: options of `httpx2.AsyncClient`.
        path: below its `base_url`.
        body: to be sent.
        check: raises for a reply that is refused; has its content.

    Raises:
        InputError, JobError: by `check`. httpx2.HTTPError: no connection, or it broke off.
    """
    arrived: queue.SimpleQueue[str | Exception | None] = queue.SimpleQueue()

    async def read() -> None:
        try:
            async with (
                httpx2.AsyncClient(timeout=TIMEOUT, trust_env=False, **client) as http,
                http.stream("POST", path, json=dict(body)) as reply,
            ):
                if not reply.is_success:
                    await reply.aread()
                check(reply)
                async for line in reply.aiter_lines():
                    arrived.put(line)
        except (InputError, JobError, httpx2.HTTPError) as fault:
            arrived.put(fault)
        finally:
            arrived.put(None)

    loop = asyncio.new_event_loop()
    reading = loop.create_task(read())

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(reading)

    thread = threading.Thread(target=run, name="reply", daemon=True)
    thread.start()
    try:
        yield from _until_none(arrived)
    finally:
        loop.call_soon_threadsafe(reading.cancel)
        thread.join()
        loop.close()


def _until_none(arrived: "queue.SimpleQueue[str | Exception | None]") -> Iterator[str | None]:
    while True:
        try:
            item = arrived.get(timeout=QUIET_S)
        except queue.Empty:
            yield None
            continue
        if item is None:
            return
        if isinstance(item, Exception):
            raise item
        yield item
