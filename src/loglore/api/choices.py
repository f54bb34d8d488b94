"""Several calls as one answer: choices get their index, tokens are summed, every piece carries the same id."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson

from loglore.api.errors import ApiError
from loglore.api.relay import DONE, Event, Exchange, Seat, Upstream, broken, events, usage
from loglore.api.wishes import TextWish


class Sum:
    """Token counts of several calls: a prompt counts once for all choices made from it."""

    def __init__(self, choices_of_a_prompt: int) -> None:
        self._each = choices_of_a_prompt
        self._prompt = self._cached = self._completion = 0

    def add(self, number: int, counts: Event) -> None:
        """The counts of call `number`."""
        if number % self._each == 0:
            self._prompt += counts.get("prompt_tokens", 0)
            self._cached += (counts.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        self._completion += counts.get("completion_tokens", 0)

    def total(self) -> Event:
        """OpenAI's `usage` for all."""
        return usage(self._prompt, self._cached, self._completion)


async def merged(upstream: Upstream, seat: Seat, path: str, wishes: list[Event], exchange: Exchange) -> dict[str, Any]:
    """The answers of all calls, made one after the other, as one."""
    counted = Sum(exchange.wish.n or 1)
    answer: dict[str, Any] = {}
    choices = []
    for number, wish in enumerate(wishes):
        found = orjson.loads(await upstream.whole(seat, path, wish))
        counted.add(number, found.get("usage") or {})
        answer = answer or found
        choices += [{**_choice(each, exchange), "index": number} for each in found["choices"]]
    answer.pop("timings", None)
    return {**answer, "model": seat.model_id, "choices": choices, "usage": counted.total()}


async def streamed(
    upstream: Upstream,
    seat: Seat,
    path: str,
    wishes: list[Event],
    first: aiohttp.ClientResponse,
    exchange: Exchange,
) -> AsyncIterator[bytes]:
    """The streams of all calls, one after the other, as one; `first` is the reply to the first call."""
    counted = Sum(exchange.wish.n or 1)
    frame: dict[str, Any] = {}
    try:
        for number, wish in enumerate(wishes):
            reply = first if number == 0 else await upstream.post(seat, path, wish)
            offsets: dict[str, int] = {"characters": 0}
            async for event in events(reply):
                frame = frame or {name: event[name] for name in ("id", "created", "object") if name in event}
                if event.get("usage") or event.get("timings"):
                    counted.add(number, _counts(event))
                if event.get("choices"):
                    changed = [{**_choice(each, exchange, offsets), "index": number} for each in event["choices"]]
                    piece = {**event, **frame, "model": seat.model_id, "choices": changed}
                    yield _sent({k: v for k, v in piece.items() if k not in ("usage", "timings")}, exchange)
        exchange.usage = counted.total()
        options = exchange.wish.stream_options
        if options is not None and options.include_usage:
            yield _sent({**frame, "model": seat.model_id, "choices": [], "usage": exchange.usage}, exchange)
        exchange.add(DONE)
        exchange.status = 200
        yield DONE
    except ApiError as fault:
        yield broken(exchange, fault)
    finally:
        first.close()


def _sent(event: Event, exchange: Exchange) -> bytes:
    piece = b"data: " + orjson.dumps(event) + b"\n\n"
    exchange.add(piece)
    return piece


def _counts(event: Event) -> Event:
    if event.get("usage"):
        return dict(event["usage"])
    timings = event["timings"]
    return usage(timings["prompt_n"] + timings.get("cache_n", 0), timings.get("cache_n", 0), timings["predicted_n"])


def _choice(choice: dict[str, Any], exchange: Exchange, offsets: dict[str, int] | None = None) -> dict[str, Any]:
    """A choice with log-probabilities in the shape of its endpoint; `offsets` runs on through a stream."""
    found = choice.get("logprobs")
    if not isinstance(exchange.wish, TextWish) or not found or "content" not in found:
        return choice
    return {**choice, "logprobs": legacy_logprobs(found["content"], exchange.wish.logprobs or 0, offsets)}


def legacy_logprobs(content: list[Event], top: int, offsets: dict[str, int] | None = None) -> Event:
    """Log-probabilities of `/v1/completions`, out of the shape that chat has.

    >>> one = {"token": "a", "logprob": -1.0, "top_logprobs": [{"token": "b", "logprob": -0.5}]}
    >>> legacy_logprobs([one], 1)["top_logprobs"]
    [{'b': -0.5}]
    """
    at = offsets if offsets is not None else {"characters": 0}
    places = []
    for each in content:
        places.append(at["characters"])
        at["characters"] += len(each["token"])
    return {
        "tokens": [each["token"] for each in content],
        "token_logprobs": [each["logprob"] for each in content],
        "top_logprobs": [{t["token"]: t["logprob"] for t in each["top_logprobs"][:top]} for each in content],
        "text_offset": places,
    }
