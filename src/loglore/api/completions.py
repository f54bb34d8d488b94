"""`POST /v1/chat/completions` and `/v1/completions`: from a request to a seat at an engine to an answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from typing import Any, Protocol, TypeVar

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from pydantic.json_schema import models_json_schema

from loglore.api import choices, relay, wishes
from loglore.api.answers import SCHEMA
from loglore.api.errors import CLIENT_GONE, ApiError
from loglore.api.relay import CHAT_ENDPOINT, TEXT_ENDPOINT, Exchange, Seat, Source, Upstream
from loglore.api.streams import Held
from loglore.api.wishes import ChatWish, Message, TextWish

T = TypeVar("T")
OPENING = 2_000  # characters (or tokens) of a bare text's prompt
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Ledger(Protocol):
    """Who is told of requests."""

    def admit(self, exchange: Exchange) -> None:
        """Before anything is done. Raises ApiError 429 when the caller has had enough."""

    def finish(self, exchange: Exchange) -> None:
        """When it is over, however it ended."""


def router(source: Source, upstream: Upstream, ledger: Ledger) -> APIRouter:
    """The two routes."""
    routes = APIRouter(prefix="/v1", tags=["completions"])

    @routes.post("/chat/completions", openapi_extra=_body(ChatWish), responses=ANSWERS)
    async def chat(request: Request) -> Response:
        """Answer a conversation."""
        return await _answer(request, ChatWish, CHAT_ENDPOINT, source, upstream, ledger)

    @routes.post("/completions", openapi_extra=_body(TextWish), responses=ANSWERS)
    async def complete(request: Request) -> Response:
        """Go on with a text."""
        return await _answer(request, TextWish, TEXT_ENDPOINT, source, upstream, ledger)

    return routes


async def _answer(
    request: Request,
    kind: type[ChatWish] | type[TextWish],
    path: str,
    source: Source,
    upstream: Upstream,
    ledger: Ledger,
) -> Response:
    content = await request.body()
    wish = wishes.read(content, kind)
    key = getattr(request.state, "key", None)
    exchange = Exchange(path, wish, content, key.id if key else None)
    ledger.admit(exchange)
    async with AsyncExitStack() as stack:
        stack.callback(ledger.finish, exchange)
        try:
            place = source.use(wish.model, _text_bytes(wish), _opening(wish))
            seat = await while_connected(request, stack.enter_async_context(place))
            exchange.model, exchange.session_id = seat.model_id, seat.session_id
            exchange.keep = seat.keep and wish.store is not False
            bodies = relay.calls(wish, seat)
            plain = len(bodies) == 1 and seat.session.kind == "llama.cpp" and not _has_legacy_logprobs(wish)
            if wish.stream:
                return await _stream(request, seat, path, bodies, plain, upstream, exchange, stack)
            if plain:
                exchange.answer = await while_connected(request, upstream.whole(seat, path, bodies[0]))
            else:
                found = await while_connected(request, choices.merged(upstream, seat, path, bodies, exchange))
                exchange.answer = orjson.dumps(found)
            exchange.usage = orjson.loads(exchange.answer).get("usage") or {}
            exchange.status = 200
            return Response(exchange.answer, 200, media_type="application/json")
        except ApiError as fault:
            exchange.status, exchange.message = fault.status, fault.message
            raise
    raise AssertionError("unreachable")


async def _stream(
    request: Request,
    seat: Seat,
    path: str,
    bodies: list[dict[str, Any]],
    plain: bool,
    upstream: Upstream,
    exchange: Exchange,
    stack: AsyncExitStack,
) -> Response:
    # The first call is made before the answer starts, so that a refusal still has a status.
    reply = await while_connected(request, upstream.post(seat, path, bodies[0]))
    several = choices.streamed(upstream, seat, path, bodies, reply, exchange)
    pieces: AsyncIterator[bytes] = relay.passed(reply, exchange) if plain else several
    held = stack.pop_all()
    # An engine stops when its caller hangs up, so a client that leaves must end our call, too.
    held.callback(reply.close)
    return Held(pieces, held, media_type="text/event-stream", headers=STREAM_HEADERS)


def _text_bytes(wish: ChatWish | TextWish) -> int:
    """Bytes of the text that must fit into the context at once."""
    if isinstance(wish, TextWish):
        return max(len(each.encode()) if isinstance(each, str) else 0 for each in wish.prompts())
    return sum(len(_text(message).encode()) for message in wish.messages)


def _opening(wish: ChatWish | TextWish) -> str:
    """What follow-ups begin with as well: everything up to the first question, where the log stands."""
    if isinstance(wish, TextWish):
        (first, *_) = wish.prompts()
        return first[:OPENING] if isinstance(first, str) else str(first[:OPENING])
    number = next((number for number, each in enumerate(wish.messages, 1) if each.role == "user"), len(wish.messages))
    return "\0".join(f"{each.role}:{_text(each)}" for each in wish.messages[:number])


def _text(message: Message) -> str:
    content = message.content or ""
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _has_legacy_logprobs(wish: ChatWish | TextWish) -> bool:
    return isinstance(wish, TextWish) and wish.logprobs is not None


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Await `work`; when the client goes first, cancel it."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(CLIENT_GONE, "the client closed the connection")
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            # What it holds must be free before the seat is given to the next.
            await asyncio.wait({task})


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _body(kind: type[ChatWish] | type[TextWish]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe(app: FastAPI) -> None:
    """Put the schemas of errors, and of the bodies that routes read themselves, into the OpenAPI document.

    It is made when it is asked for: that takes a third of a second, which nobody should wait for at a start.
    """
    made = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(made())
        return made()

    app.openapi = document  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> None:
    _, found = models_json_schema(
        [(ChatWish, "validation"), (TextWish, "validation")], ref_template="#/components/schemas/{model}"
    )
    document.setdefault("components", {}).setdefault("schemas", {}).update({**found["$defs"], "Error": SCHEMA})
    for methods in document["paths"].values():
        for route in methods.values():
            # FastAPI's own answer to a wrong request; ours is 400.
            route["responses"].pop("422", None)


_ERROR = {"description": "An error in OpenAI's shape.", "content": {"application/json": {"schema": {"type": "object"}}}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, or with `stream` its pieces as server-sent events.",
        "content": {
            "application/json": {"schema": {"type": "object", "required": ["id", "choices", "model"]}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    },
    **dict.fromkeys((400, 401, 403, 404, 408, 413, 429, 502), _ERROR),
}
