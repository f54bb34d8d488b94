"""`Idempotency-Key` on creation: the same key and request again get the first answer, and nothing is made twice.

    first time                       the work is done; its answer, when it is a success, is kept for a day
    again, when it is answered       that answer, with the header `Idempotent-Replayed: true`
    again, while it is being done    409 and `Retry-After`, which OpenAI's clients obey by themselves
    again, with another request      400 `idempotency_key_reused`

What a request creates gets the id that was reserved with the key, where its route asks for it (`reserved`): a request
that is repeated after the server died in the middle finds what it made.
"""

import asyncio
import hashlib
import re
import secrets

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from loglore.api import errors
from loglore.api.errors import ApiError
from loglore.errors import JobError
from loglore.store import idempotency
from loglore.store.database import Database
from loglore.store.idempotency import Reservation

HEADER = "idempotency-key"
LONGEST = 255
# Not keys: their answer has a secret, which is shown once.
CREATIONS = re.compile(
    r"/v1/(files|uploads|fine_tuning/jobs|evals|evals/[^/]+/runs"
    r"|studio/(datasets|connections|jobs|recipes|sessions|synthesis))"
)
KEPT_BYTES = 1 << 20
SUCCESS = range(200, 300)


def reserved(request: Request) -> str:
    """24 hex digits for the id of what a request creates: the same ones when it is repeated under its key."""
    found: str | None = getattr(request.state, "reserved", None)
    return found or secrets.token_hex(12)


class Idempotent:
    """ASGI middleware; inside `Keyed`, as every caller has keys of its own."""

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self._app, self._database = app, database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it from memory."""
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" else None
        if key is None or scope["method"] != "POST" or not CREATIONS.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            body, again = await _buffered(scope, receive)
            reservation = await self._reserve(scope, key, body)
        except (ApiError, JobError) as fault:
            status, content = errors.of(fault)
            await JSONResponse(content, status, errors.headers_of(fault))(scope, receive, send)
            return
        if not reservation.mine:
            await _repeated(reservation)(scope, receive, send)
            return
        scope.setdefault("state", {})["reserved"] = reservation.reserved
        await self._first(scope, again, send, reservation)

    async def _reserve(self, scope: Scope, key: str, body: bytes) -> Reservation:
        if not key or len(key) > LONGEST or not key.isascii() or not key.isprintable():
            raise ApiError(400, f"Idempotency-Key: expected 1 to {LONGEST} printable ASCII characters", "invalid_value")
        caller = getattr(scope.get("state", {}).get("key"), "id", None) or ""
        request = hashlib.sha256(scope["path"].encode() + b"\0" + body).hexdigest()
        found = await asyncio.to_thread(idempotency.reserve, self._database, caller, key, request)
        if found.request != request:
            text = "Idempotency-Key: it was used for another request; take a new one"
            raise ApiError(400, text, "idempotency_key_reused")
        return found

    async def _first(self, scope: Scope, receive: Receive, send: Send, reservation: Reservation) -> None:
        status, pieces, kept = 0, list[bytes](), False

        async def noted(message: Message) -> None:
            nonlocal status, kept
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                pieces.append(message.get("body", b""))
                # Kept before the client has it: whoever knows the answer can rely on it.
                if not message.get("more_body", False) and status in SUCCESS and sum(map(len, pieces)) <= KEPT_BYTES:
                    text = b"".join(pieces).decode()
                    await asyncio.to_thread(idempotency.answer, self._database, reservation, status, text)
                    kept = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if not kept:
                await asyncio.to_thread(idempotency.release, self._database, reservation)


def _repeated(reservation: Reservation) -> Response:
    if reservation.status is None or reservation.answer is None:
        text = "Idempotency-Key: the first request with it is still being answered"
        return JSONResponse(errors.body(409, text, "idempotency_key_in_use"), 409, {"Retry-After": "1"})
    answer = Response(reservation.answer, reservation.status, media_type="application/json")
    answer.headers["Idempotent-Replayed"] = "true"
    return answer


async def _buffered(scope: Scope, receive: Receive) -> tuple[bytes, Receive]:
    """The body as far as it tells requests apart, and a `receive` that has it again.

    A file's is streamed past: it may be large, and the boundary of its form is another each time.
    """
    if not Headers(scope=scope).get("content-type", "").startswith("application/json"):
        return b"", receive
    messages: list[Message] = []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    waiting = iter(messages)

    async def again() -> Message:
        return next(waiting, None) or await receive()

    return b"".join(each.get("body", b"") for each in messages), again
