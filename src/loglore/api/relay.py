"""To an engine and back: one request's calls, as one answer or one stream.

A plain request's stream is passed on as the engine wrote it, event by whole event. It is taken apart only where an
engine says something else than OpenAI does: several choices (asked one after the other, so that the prompt is read once
and every token is counted), legacy `logprobs`, engines that know the model by another name.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import aiohttp
import orjson

from loglore.api.errors import CLIENT_GONE, ApiError, body
from loglore.api.wishes import OWN_FIELDS, ChatWish, TextWish
from loglore.models.header import longest_token
from loglore.serve.engine import Session

DONE = b"data: [DONE]\n\n"
REFUSED = 400  # HTTP status codes from here on are errors
SERVER_FAULT = 500
CONNECT_TIMEOUT_S = 10.0
CONNECT_TRIES = 40
CONNECT_PAUSE_S = 0.1
TAIL = 3
JSON = {"Content-Type": "application/json"}
TEXT_ENDPOINT, CHAT_ENDPOINT = "/completions", "/chat/completions"

Event = dict[str, Any]


@dataclass(frozen=True)
class Seat:
    """A place at an engine.

    Attributes:
        session: the engine.
        model_id: whom the client asked for: the base, or the base with an adapter on.
        session_id: the session's id in the database; "" where sessions are not kept there.
        keep: whether the session keeps its history.
        again: waits until the engine runs again after its end; None where nobody starts it again.
    """

    session: Session
    model_id: str
    session_id: str = ""
    keep: bool = False
    again: Callable[[], Awaitable[Session]] | None = None


class Source(Protocol):
    """Whoever has sessions."""

    def use(self, model: str, text_bytes: int, opening: str = "") -> AbstractAsyncContextManager[Seat]:
        """A seat for one request to `model`, whose prompt has `text_bytes`; follow-ups to it have the same `opening`.

        Raises:
            ApiError: no such model, no place, it cannot be started, or the prompt cannot fit.
        """


@dataclass
class Exchange:
    """One request and what became of it, as metrics, limits and history want to know it. Times in seconds."""

    endpoint: str
    wish: ChatWish | TextWish
    content: bytes
    key_id: str | None = None
    model: str = ""
    session_id: str = ""
    keep: bool = False
    created: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    first_token_s: float | None = None
    # Until it has ended otherwise, the client has left.
    status: int = CLIENT_GONE
    message: str = ""
    usage: Event = field(default_factory=dict)
    answer: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    events: int = 0
    seconds: float = 0.0

    def add(self, piece: bytes) -> None:
        """A whole event or several went to the client."""
        if self.first_token_s is None and b'"prompt_progress"' not in piece:
            self.first_token_s = time.monotonic() - self.began
        self.events += piece.count(b"\n\n")
        self.pieces.append(piece)
        if not self.keep:
            # The end alone, which has the counts.
            del self.pieces[:-TAIL]


def calls(wish: ChatWish | TextWish, seat: Seat) -> list[Event]:
    """The bodies of the calls that a request needs, one for each choice, in the order of their index."""
    fixed = wish.model_dump(exclude_unset=True, exclude_none=True, exclude=set(OWN_FIELDS), by_alias=True)
    fixed |= seat.session.wish(seat.model_id)
    if seat.session.kind != "llama.cpp" and wish.stream:
        # Else nothing would tell how many tokens it was.
        fixed["stream_options"] = {"include_usage": True}
    prompts = [{"prompt": each} for each in wish.prompts()] if isinstance(wish, TextWish) else [{}]
    found = []
    for prompt in prompts:
        for number in range(wish.n or 1):
            seed = {} if wish.seed is None or wish.seed < 0 else {"seed": (wish.seed + number) % 2**32}
            found.append({**fixed, **prompt, **seed})
    return found


class Upstream:
    """Calls to engines. Belongs to one event loop; `close` it at the end."""

    @cached_property
    def _client(self) -> aiohttp.ClientSession:
        # A connection for each call: a kept one may be closed by the engine just when it is used again, and a new one
        # costs 0.1 ms on loopback. An engine may think for minutes before its first token: no other timeout.
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def post(self, seat: Seat, path: str, wish: Event) -> aiohttp.ClientResponse:
        """Send one call; the reply's status is below 400. An engine that just died is waited for.

        Raises:
            ApiError: the engine refused, or is gone.
        """
        session = seat.session
        for _ in range(CONNECT_TRIES):
            try:
                headers = JSON | ({"Authorization": f"Bearer {session.key}"} if session.key else {})
                reply = await self._client.post(session.url + path, data=orjson.dumps(wish), headers=headers)
            except aiohttp.ClientConnectorError:
                # Nothing was sent, so nothing is done twice.
                if seat.again is None:
                    break
                await asyncio.sleep(CONNECT_PAUSE_S)
                session = await seat.again()
                continue
            except aiohttp.ClientError as fault:
                raise gone(fault) from None
            if reply.status >= REFUSED:
                raise refusal(reply.status, await _read(reply))
            return reply
        raise ApiError(502, "the model's engine does not answer", "engine_gone")

    async def whole(self, seat: Seat, path: str, wish: Event) -> bytes:
        """Send one call and return its answer."""
        return await _read(await self.post(seat, path, wish))


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    try:
        return await reply.read()
    except aiohttp.ClientError as fault:
        raise gone(fault) from None
    finally:
        reply.close()


def gone(fault: Exception) -> ApiError:
    """502 for an engine that broke off."""
    return ApiError(502, f"the model's engine stopped while it answered ({type(fault).__name__})", "engine_gone")


def refusal(status: int, content: bytes) -> ApiError:
    """An engine's error in our words: what the client sent is 400, everything else 502."""
    try:
        error = orjson.loads(content)["error"]
        message = str(error["message"])
    except (ValueError, KeyError, TypeError):
        error, message = {}, content.decode("utf-8", "replace")[:500]
    if error.get("type") == "exceed_context_size_error":
        return overflow(f"{error['n_prompt_tokens']:,}", error["n_ctx"])
    if status < SERVER_FAULT or status == 501:
        return ApiError(400, message, "invalid_value")
    return ApiError(502, f"the model's engine failed: {message}", "engine_failed")


def check_length(session: Session, text_bytes: int) -> None:
    """Refuse at once what cannot fit: no text has fewer tokens than its bytes over the longest token's.

    Raises:
        ApiError: 400 that names both numbers.
    """
    if session.gguf is not None:
        least = text_bytes // longest_token(session.gguf)
        if least > session.context:
            raise overflow(f"at least {least:,}", session.context)


def overflow(tokens: str, context: int) -> ApiError:
    """400 for a prompt that does not fit."""
    text = f"the prompt has {tokens} tokens, but the context of this session is {context:,} tokens"
    return ApiError(400, text, "context_length_exceeded")


async def passed(reply: aiohttp.ClientResponse, exchange: Exchange) -> AsyncIterator[bytes]:
    """A stream as it is, in whole events; ends with an error event when the engine breaks off."""
    rest, whole, fault = b"", b"", None
    try:
        async for piece in reply.content.iter_any():
            rest += piece
            if (cut := rest.rfind(b"\n\n") + 2) > 1:
                whole, rest = rest[:cut], rest[cut:]
                exchange.add(whole)
                yield whole
    except aiohttp.ClientError as end:
        fault = gone(end)
    finally:
        reply.close()
    if not whole.endswith(DONE):
        yield broken(exchange, fault or gone(EOFError()))
        return
    exchange.status = 200
    exchange.usage = _usage_at_end(exchange.pieces)


async def events(reply: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    """The parsed events of a stream up to its `[DONE]`.

    Raises:
        ApiError: it broke off before.
    """
    rest = b""
    try:
        async for piece in reply.content.iter_any():
            *whole, rest = (rest + piece).split(b"\n\n")
            for each in whole:
                if each.startswith(b"data: [DONE]"):
                    return
                if each.startswith(b"data: "):
                    yield orjson.loads(each[6:])
    except (aiohttp.ClientError, orjson.JSONDecodeError) as fault:
        raise gone(fault) from None
    finally:
        reply.close()
    raise gone(EOFError())


def broken(exchange: Exchange, fault: ApiError) -> bytes:
    """The status is long sent: say it in the stream, where OpenAI's client looks for an `error`."""
    exchange.status, exchange.message = fault.status, fault.message
    return b"data: " + orjson.dumps(body(fault.status, fault.message, fault.code)) + b"\n\n"


def _usage_at_end(pieces: list[bytes]) -> Event:
    """Token counts out of the last events: `usage` where it was asked for, else llama.cpp's own `timings`."""
    tail = b"".join(pieces[-TAIL:]).split(b"\n\n")
    for each in reversed(tail):
        if each.startswith(b"data: {"):
            event = orjson.loads(each[6:])
            if event.get("usage"):
                return dict(event["usage"])
            if timings := event.get("timings"):
                cached = timings.get("cache_n", 0)
                return usage(timings["prompt_n"] + cached, cached, timings["predicted_n"])
    return {}


def usage(prompt: int, cached: int, completion: int) -> Event:
    """OpenAI's `usage`."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
