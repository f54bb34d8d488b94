"""How much, and how slowly, a client may send: bodies, and the heads of requests."""

import asyncio
import re

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loglore.api.errors import ApiError, body

BODY_BYTES = 16 * 1024 * 1024
BODY_TIMEOUT_S = 60.0
# Bodies that hold a file: as large as OpenAI takes, and slow lines take their time.
FILE_PATHS = re.compile(r"/v1/(files|uploads/[^/]+/parts)")
FORM_BYTES = 1024 * 1024
FILE_BYTES = {"/v1/files": 512 * 1024 * 1024 + FORM_BYTES}
PART_BYTES = 64 * 1024 * 1024 + FORM_BYTES
FILE_TIMEOUT_S = 3600.0
HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
# How many times the limit is read and thrown away before a client that goes on sending is cut off.
LINGER = 4
CLOSE = {"Connection": "close"}


class Bounded:
    """ASGI middleware: 413 for a body over `most_bytes`, 408 for one that takes longer than `timeout_s`.

    Files have bounds of their own.
    """

    def __init__(self, app: ASGIApp, most_bytes: int = BODY_BYTES, timeout_s: float = BODY_TIMEOUT_S) -> None:
        self._app, self._most, self._timeout_s = app, most_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a guarded body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most, timeout_s = self._bounds(scope["path"])
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdigit() and int(declared) > most:
            await JSONResponse(body(413, _too_large(most)), 413, CLOSE)(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + timeout_s
        seen, whole = 0, False

        async def guarded() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        message = await receive()
                except TimeoutError:
                    text = f"the body was not sent within {timeout_s:.0f} s"
                    raise ApiError(408, text, headers=CLOSE) from None
                seen += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if seen <= most:
                    return message
                # Read on for a while: closing on unread data resets the connection, and the client never sees why.
                if whole or seen > LINGER * most:
                    raise ApiError(413, _too_large(most), headers=CLOSE)

        await self._app(scope, guarded, send)

    def _bounds(self, path: str) -> tuple[int, float]:
        if FILE_PATHS.fullmatch(path):
            return FILE_BYTES.get(path, PART_BYTES), FILE_TIMEOUT_S
        return self._most, self._timeout_s


def _too_large(most: int) -> str:
    return f"the body is larger than {most:,} bytes"


class PatientOnce(HttpToolsProtocol):
    """uvicorn's HTTP protocol with an end to patience: a request's head must come within `HEAD_TIMEOUT_S`.

    uvicorn alone waits for ever for the rest of a head, and keeps as much of it as a client sends.
    """

    head_timeout_s = HEAD_TIMEOUT_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client: its first request is due."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._due: asyncio.TimerHandle | None = self.loop.call_later(self.head_timeout_s, transport.close)

    def data_received(self, data: bytes) -> None:
        """More of a head or body."""
        super().data_received(data)
        if self._due is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head starts."""
        super().on_message_begin()
        if self._due is None:
            self._head_bytes = 0
            self._due = self.loop.call_later(self.head_timeout_s, self.transport.close)

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._arrived()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._arrived()
        super().connection_lost(exc)

    def _arrived(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
