"""A small typed client of an OpenAI-compatible endpoint: streamed chat with usage and speed, and exact token counts.

It is the official `openai` client with its errors turned into ours. A llama.cpp server (what `loglore serve` starts)
says more than the OpenAI API does, and is recognised by `owned_by` in `/v1/models`: its context length, how far it has
read a long prompt, and `/tokenize`. For other servers the context has to be given and tokens are estimated from bytes.
What goes to a URL off loopback is redacted (`redaction`), and the names are put back into the answer as it streams in.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from loglore import settings
from loglore.endpoint import repeats
from loglore.endpoint.redaction import Redactor
from loglore.errors import InputError, JobError

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionMessageParam

Message = dict[str, str]

# Bytes a token where the server does not count for us. Log text runs from 2.0 (digits, hex) to 4 (prose); a low value
# overestimates tokens, so that a prompt fits rather than not.
BYTES_PER_TOKEN = 2.0
LOOK_EVERY = 32  # pieces of an answer, between looks at whether it goes in circles
SERVER_FAULT = 500  # HTTP status codes from here on are the server's fault
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Served:
    """A model that an endpoint offers. `context` is in tokens, None where the server does not say."""

    model_id: str
    context: int | None
    is_llama_cpp: bool


@dataclass(frozen=True)
class Reply:
    """One answer. Times in seconds from sending the request; `cached_tokens` of the prompt were not read again.

    `finish_reason` is the server's (`stop`, `length`), or `repeats` where the answer was ended because it went in
    circles.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    first_token_s: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Decoding speed: tokens after the first one over the time they took."""
        taken = self.seconds - self.first_token_s
        return (self.completion_tokens - 1) / taken if self.completion_tokens > 1 and taken > 0 else 0.0


class Endpoint:
    """One model at one URL.

    Args:
        url: base URL, as the `openai` client takes it (`http://127.0.0.1:8080/v1`).
        model_id: the model to ask; None takes the only one offered.
        key: bearer token, where one is needed; None takes that of `LOGLORE_ENDPOINT_KEY`, if it is set.
        timeout_s: longest silence of the server before a request fails.
        redact: replace addresses, names and secrets before they are sent; None does so for URLs off loopback.
        public_only: connect to no address of this machine or a private network, wherever the name or a redirect leads.
        extra: further fields of the request body.
        counts_here: tokens are estimated, not counted by the server: nothing of a text leaves before it is asked.
    """

    def __init__(
        self,
        url: str,
        model_id: str | None = None,
        key: str | None = None,
        timeout_s: float = 600.0,
        redact: bool | None = None,
        public_only: bool = False,
        extra: Mapping[str, Any] | None = None,
        counts_here: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"endpoint {url!r}: expected a URL such as http://127.0.0.1:8080/v1")
        self.url = url.rstrip("/")
        self.on_loopback = parts.hostname in LOOPBACK
        self._wanted = model_id
        self._key = key or settings.load().endpoint_key
        self._timeout_s, self._public_only = timeout_s, public_only
        self._extra = dict(extra or {})
        self._counts_here = counts_here
        # One for all conversations with this endpoint: the same value has the same placeholder.
        self._redactor = Redactor() if (not self.on_loopback if redact is None else redact) else None

    @property
    def redacts(self) -> bool:
        """Whether what is sent is redacted."""
        return self._redactor is not None

    @cached_property
    def _client(self) -> "OpenAI":
        from openai import DEFAULT_CONNECTION_LIMITS, DefaultHttpxClient, OpenAI

        client = None
        if self._public_only:
            from loglore.endpoint.public import PublicTransport

            client = DefaultHttpxClient(transport=PublicTransport(DEFAULT_CONNECTION_LIMITS), timeout=self._timeout_s)
        return OpenAI(base_url=self.url, api_key=self._key or "none", timeout=self._timeout_s, http_client=client)

    def models(self) -> list[Served]:
        """The models on offer.

        Raises:
            InputError: wrong key, or not an OpenAI-compatible URL.
            JobError: no answer.
        """
        with _plain_errors(self.url):
            return [_served(model.model_dump()) for model in self._client.models.list()]

    @cached_property
    def served(self) -> Served:
        """The model asked, as the server describes it.

        Raises:
            InputError: the server offers no such model, or several and none was named.
        """
        offered = self.models()
        names = ", ".join(each.model_id for each in offered) or "none"
        if self._wanted is None:
            if len(offered) != 1:
                raise InputError(f"{self.url}: name one of its models ({names})")
            return offered[0]
        for each in offered:
            if each.model_id == self._wanted:
                return each
        raise InputError(f"{self.url}: no model {self._wanted!r}; it offers {names}")

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        on_text: Callable[[str], None] = lambda text: None,
        on_reading: Callable[[int, int], None] = lambda done, total: None,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
        end_circles: bool = False,
    ) -> Reply:
        """Ask and stream the answer; leaving through an exception (Ctrl-C) closes the stream, which stops the server.

        Args:
            messages: the conversation, `{"role": …, "content": …}`.
            max_tokens: longest answer.
            on_text: called with every piece of the answer.
            on_reading: called with prompt tokens read and in all, where the server tells (llama.cpp).
            temperature: 0 is greedy.
            seed: for sampling above temperature 0.
            stop: texts that end the answer.
            end_circles: end an answer that says the same again and again (see `repeats`), and cut it to its first
                round; what came before was given to `on_text`. Without the server's last word on usage, tokens of the
                prompt are those it told while reading, or estimated, and those of the answer its pieces.

        Raises:
            InputError: the server refused the request (context exceeded, unknown model, wrong key).
            JobError: no connection, or the stream broke off.
        """
        shown = None if self._redactor is None else self._redactor.stream(on_text)
        collected = _Collected(shown or on_text, on_reading)
        with _plain_errors(self.url):
            stream = self._client.chat.completions.create(
                model=self.served.model_id,
                messages=cast("Iterable[ChatCompletionMessageParam]", self.leaving(messages)),
                max_tokens=max_tokens,
                temperature=temperature,
                seed=seed,
                stop=list(stop) or None,
                stream=True,
                stream_options={"include_usage": True},
                extra_body=({"return_progress": True} if self.served.is_llama_cpp else {}) | self._extra,
            )
            with stream:
                for chunk in stream:
                    collected.add(chunk)
                    if end_circles and collected.goes_in_circles():
                        break
        if shown is not None:
            shown.end()
        reply = collected.reply(self.url)
        if reply.finish_reason == repeats.REASON and not reply.prompt_tokens:
            reply = replace(reply, prompt_tokens=sum(estimate(each["content"]) for each in self.leaving(messages)))
        return reply if self._redactor is None else replace(reply, text=self._redactor.restore(reply.text))

    @property
    def replaced(self) -> dict[str, int]:
        """How many different values of each kind were replaced so far."""
        return {} if self._redactor is None else self._redactor.counts()

    def leaving(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as they are sent."""
        if self._redactor is None:
            return list(messages)
        return [{**message, "content": self._redactor.redact(message["content"])} for message in messages]

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`: counted by a llama.cpp server, else estimated on the high side from its bytes."""
        if self._counts_here or not self.served.is_llama_cpp:
            return estimate(text)
        leaving = text if self._redactor is None else self._redactor.redact(text)
        with _plain_errors(self.url):
            found: Any = self._client.post(
                self._root + "/tokenize", cast_to=object, body={"content": leaving, "model": self.served.model_id}
            )
        return len(found["tokens"])

    @cached_property
    def _root(self) -> str:
        return self.url.removesuffix("/v1")


def estimate(text: str) -> int:
    """Tokens of a text, on the high side, from its bytes."""
    return math.ceil(len(text.encode("utf-8")) / BYTES_PER_TOKEN)


class _Collected:
    """What a stream has brought so far."""

    def __init__(self, on_text: Callable[[str], None], on_reading: Callable[[int, int], None]) -> None:
        self._start = time.monotonic()
        self._on_text, self._on_reading = on_text, on_reading
        self._parts: list[str] = []
        self._first: float | None = None
        self._last = 0.0
        self._finish: str | None = None
        self._usage: dict[str, Any] = {}
        self._told = {"processed": 0, "total": 0, "cache": 0}
        self._kept: int | None = None
        self._looked = 0

    def add(self, chunk: Any) -> None:
        now = time.monotonic() - self._start
        if chunk.usage:
            self._usage = chunk.usage.model_dump()
        if progress := (chunk.model_extra or {}).get("prompt_progress"):
            self._told |= progress
            self._on_reading(progress["processed"], progress["total"])
        for choice in chunk.choices:
            self._finish = choice.finish_reason or self._finish
            if text := choice.delta.content:
                self._first = now if self._first is None else self._first
                self._last = now
                self._parts.append(text)
                self._on_text(text)

    def goes_in_circles(self) -> bool:
        """Whether the answer does so far; looked at where a piece ends a sentence or a line, and in long ones between.

        A small model may also say a word for ever, and no sentence ends.
        """
        ends = bool(self._parts) and self._parts[-1].rstrip(" ").endswith((".", "\n", "!", "?", ":", "。"))
        if ends or len(self._parts) - self._looked >= LOOK_EVERY:
            self._looked = len(self._parts)
            self._kept = repeats.first_round("".join(self._parts))
        return self._kept is not None

    def reply(self, url: str) -> Reply:
        if self._kept is not None:
            return Reply(
                text="".join(self._parts)[: self._kept],
                finish_reason=repeats.REASON,
                prompt_tokens=self._told["total"],
                cached_tokens=self._told["cache"],
                completion_tokens=len(self._parts),
                first_token_s=self._first or self._last,
                seconds=self._last,
            )
        if self._finish is None:
            raise JobError(f"{url}: the answer broke off after {len(self._parts)} pieces; the server may have stopped")
        details = self._usage.get("prompt_tokens_details") or {}
        return Reply(
            text="".join(self._parts),
            finish_reason=self._finish,
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            cached_tokens=details.get("cached_tokens") or 0,
            completion_tokens=self._usage.get("completion_tokens", 0),
            first_token_s=self._first or self._last,
            seconds=self._last,
        )


def _served(card: dict[str, Any]) -> Served:
    meta = card.get("meta") or {}
    context = meta.get("n_ctx") or card.get("max_model_len")
    return Served(str(card["id"]), context, card.get("owned_by") == "llamacpp")


@contextlib.contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    """Turn the `openai` client's errors into one line that names the URL."""
    import httpx2
    import openai

    try:
        yield
    except openai.APIStatusError as fault:
        body = fault.body if isinstance(fault.body, dict) else {}
        text = f"{url}: {fault.status_code} {body.get('message') or fault.message}"
        kind = InputError if fault.status_code < SERVER_FAULT else JobError
        raise kind(text) from None
    except openai.APITimeoutError:
        raise JobError(f"{url}: no answer in time") from None
    except openai.APIConnectionError:
        raise JobError(f"{url}: cannot connect; is the endpoint running?") from None
    except (openai.APIError, httpx2.HTTPError) as fault:
        raise JobError(f"{url}: the answer broke off ({fault})") from None
