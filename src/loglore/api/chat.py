"""`POST /v1/chat/completions`: the request goes to the model's engine as it came, the answer comes back as it is."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import httpx2
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from loglore.api.errors import ApiError, body
from loglore.api.models import canonical
from loglore.api.sessions import Sessions
from loglore.api.streams import Held

T = TypeVar("T")
CLIENT_GONE = 499
REFUSED = 400  # HTTP status codes from here on are errors


def router(sessions: Sessions, client: httpx2.AsyncClient) -> APIRouter:
    """The route; `client` reaches the engines."""
    routes = APIRouter(prefix="/v1/chat", tags=["chat"])

    @routes.post("/completions")
    async def complete(request: Request) -> Response:
        """Answer a conversation with a model of the hub; starts its session on first use."""
        wish = await _wish(request)
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(sessions.use(canonical(wish["model"])))
            call = client.build_request(
                "POST", f"{session.url}/chat/completions", json={**wish, "model": session.model_id}
            )
            # An engine stops when its caller hangs up, so a client that leaves must end our call, too.
            reply = await _while_connected(request, client.send(call, stream=True))
            stack.push_async_callback(reply.aclose)
            if reply.status_code >= REFUSED or not wish.get("stream"):
                content = await _while_connected(request, reply.aread())
                return _whole(reply.status_code, content)
            return Held(
                _passed(reply), stack.pop_all(), media_type=reply.headers["content-type"], status_code=reply.status_code
            )
        raise AssertionError("unreachable")

    return routes


async def _wish(request: Request) -> dict[str, Any]:
    try:
        wish = json.loads(await request.body())
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise ApiError(400, f"the body is not JSON: {fault}") from None
    if not isinstance(wish, dict):
        raise ApiError(400, "the body: expected a JSON object")
    if not isinstance(wish.get("model"), str):
        raise ApiError(400, "model: expected the name of a model, see /v1/models", "invalid_value", "model")
    if not isinstance(wish.get("messages"), list) or not wish["messages"]:
        raise ApiError(400, "messages: expected a list of at least one message", "invalid_value", "messages")
    return wish


def _whole(status: int, content: bytes) -> Response:
    """An answer in one piece; an engine's error in OpenAI's shape."""
    if status < REFUSED:
        return Response(content, status, media_type="application/json")
    try:
        message = json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = content.decode("utf-8", "replace")[:500]
    return JSONResponse(body(status, str(message)), status)


async def _passed(reply: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in reply.aiter_raw():
            yield piece
    except httpx2.HTTPError as fault:
        # The status is long sent: say it in the stream, where OpenAI's client looks for an `error`.
        message = f"the model's engine stopped while it answered ({type(fault).__name__})"
        yield f"data: {json.dumps(body(502, message))}\n\n".encode()


async def _while_connected(request: Request, work: Awaitable[T]) -> T:
    """Await `work`; when the client goes first, cancel it."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(CLIENT_GONE, "the client closed the connection")
        return task.result()
    except httpx2.HTTPError as fault:
        raise ApiError(502, f"the model's engine does not answer ({type(fault).__name__})") from None
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
