"""One model at one URL as a target of many requests: the official async `openai` client, one attempt a call.

Bodies go out and responses come back as plain dicts (`client.post`): the typed objects of `chat.completions.create` are
not needed for a text and its usage, and building them takes half of the client's CPU time a request. Retrying is the
runner's business, because what one request learns (slow down) concerns all.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from loglore.endpoint.client import LOOPBACK, Message
from loglore.endpoint.limits import retry_after
from loglore.endpoint.redaction import Redactor
from loglore.errors import InputError
from loglore.runs.spec import Spec

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

MILLION = 1e6
# Bytes a token for estimates before a request is sent; its own usage corrects them afterwards.
BYTES_PER_TOKEN = 3.0
_RETRIED = (408, 409, 425, 429)
_SERVER_FAULT = 500


class Target(Spec):
    """Where answers come from.

    Attributes:
        url: base URL of an OpenAI-compatible server, with its `/v1`.
        model: id of the model there.
        key_env: name of the environment variable that holds the key; None sends none.
        price_in, price_out: dollars per million tokens of prompt and answer.
        requests_per_minute, tokens_per_minute: limits to keep to; None for none.
        concurrency: most requests in flight.
        context_tokens: longest prompt and answer together; None when it does not matter.
        timeout_s: longest wait for an answer.
        json_schema: whether the server enforces `response_format: json_schema`; one that refuses it is asked without.
        redact: replace addresses, names and secrets before they are sent; None does so for URLs off loopback.
        public_only: connect to no address of this machine or a private network, wherever the name or a redirect leads;
            the API says so for what its callers name.
        extra: further fields of the request body; null removes one (`{max_tokens: null, max_completion_tokens: 900}`).
    """

    url: str
    model: str
    key_env: str | None = None
    price_in: float = Field(0.0, ge=0)
    price_out: float = Field(0.0, ge=0)
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    concurrency: int = Field(16, ge=1, le=1024)
    context_tokens: int | None = Field(None, ge=256)
    timeout_s: float = Field(300.0, gt=0)
    json_schema: bool = True
    redact: bool | None = None
    public_only: bool = False
    extra: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _url(self) -> "Target":
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url is {self.url!r}, expected one such as https://api.example.com/v1")
        return self

    @property
    def redacts(self) -> bool:
        """Whether what is sent is redacted."""
        return urlsplit(self.url).hostname not in LOOPBACK if self.redact is None else self.redact

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Dollars for so many tokens."""
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / MILLION

    def key(self) -> str:
        """The key from the environment.

        Raises:
            InputError: the variable is not set.
        """
        if self.key_env is None:
            return "none"
        key = os.environ.get(self.key_env)
        if not key:
            raise InputError(f"{self.url}: no key: the environment variable {self.key_env} is not set")
        return key


@dataclass(frozen=True)
class Request:
    """One question to a model. `schema` is a JSON schema that the answer should follow, None for free text.

    top_p: share of probability that is sampled from; stop: texts that end the answer.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    schema: Mapping[str, Any] | None = None
    top_p: float = 1.0
    stop: tuple[str, ...] = ()

    def estimate(self) -> int:
        """About how many tokens the prompt has."""
        return sum(int(len(message["content"].encode()) / BYTES_PER_TOKEN) + 4 for message in self.messages)

    def asked(self) -> list[Any]:
        """What is asked, whoever answers, as JSON."""
        # What is left at its default is left out: answers that were cached before it existed keep their key.
        sampled = [self.top_p, list(self.stop)] if self.top_p < 1 or self.stop else []
        return [list(self.messages), self.max_tokens, self.temperature, self.seed, self.schema, *sampled]

    def identity(self, target: Target) -> list[Any]:
        """What the answer of a target depends on, as JSON: the key of the cache is its digest."""
        return [target.model, *self.asked(), *([target.extra] if target.extra else [])]


@dataclass(frozen=True)
class Answer:
    """What a model answered. `seconds`: from sending to the whole answer; `cost`: dollars."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    cost: float
    seconds: float


class UnavailableError(Exception):
    """The endpoint gave no answer this time; another attempt may. `wait_s`: how long it asks to be left alone."""

    def __init__(self, reason: str, wait_s: float | None = None, reached: bool = True) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.reached = reached


class RefusedError(Exception):
    """The endpoint will not answer this request, however often it is asked."""


@dataclass
class Session:
    """An open target."""

    target: Target
    redactor: Redactor | None
    _schema_works: bool = True
    _client: "AsyncOpenAI | None" = field(default=None, repr=False)

    @property
    def client(self) -> "AsyncOpenAI":
        """The official client, opened at first use."""
        import httpx2
        from openai import AsyncOpenAI

        if self._client is None:
            limits = httpx2.Limits(
                max_connections=self.target.concurrency, max_keepalive_connections=self.target.concurrency
            )
            timeout = httpx2.Timeout(self.target.timeout_s, connect=min(10.0, self.target.timeout_s))
            transport = None
            if self.target.public_only:
                from loglore.endpoint.public import PublicAsyncTransport

                transport = PublicAsyncTransport(limits)
            self._client = AsyncOpenAI(
                base_url=self.target.url,
                api_key=self.target.key(),
                max_retries=0,
                timeout=timeout,
                http_client=httpx2.AsyncClient(limits=limits, timeout=timeout, transport=transport),
            )
        return self._client

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def check(self) -> None:
        """Whether the URL answers, the key is taken and the model is there.

        Raises:
            InputError: one of them is not; servers without `/models` are not asked further.
        """
        import httpx2
        import openai

        url = self.target.url
        try:
            response = await self.client.get("/models", cast_to=httpx2.Response)
            names = [str(card["id"]) for card in response.json()["data"]]
        except openai.APIStatusError as fault:
            self._raise_if_hopeless(fault)
            if fault.status_code in (404, 405) and not isinstance(fault.body, dict):
                raise InputError(
                    f"{url}: {fault.status_code} for {url}/models; is the URL right (it ends in /v1)?"
                ) from None
            return
        except openai.APIConnectionError as fault:
            raise InputError(f"{url}: cannot connect ({_cause(fault)}); is the URL right and the server up?") from None
        except InputError:
            raise  # an address that may not be connected to
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{url}: what answers there is no OpenAI-compatible endpoint") from None
        if not any(name in (self.target.model, f"models/{self.target.model}") for name in names):
            raise InputError(f"{url}: no model {self.target.model!r}; it offers {', '.join(names[:8]) or 'none'}")

    def body(self, request: Request) -> dict[str, Any]:
        """The JSON body that would be sent, redacted where this target is."""
        messages = list(request.messages)
        if self.redactor is not None:
            redact = self.redactor.redact
            messages = [{**message, "content": redact(message["content"])} for message in messages]
        body: dict[str, Any] = {
            "model": self.target.model,
            "messages": messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
        }
        if request.top_p < 1:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop"] = list(request.stop)
        if request.schema is not None and self.target.json_schema and self._schema_works:
            schema = {"name": "answer", "strict": True, "schema": dict(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        body.update(self.target.extra)
        return {name: value for name, value in body.items() if value is not None}

    async def ask(self, request: Request) -> Answer:
        """Ask once.

        Raises:
            UnavailableError: no answer this time.
            RefusedError: the request is not acceptable to the endpoint.
            InputError: nothing asked of this endpoint will work (wrong key, unknown model, no credit).
        """
        import httpx2
        import openai

        start = time.monotonic()
        try:
            response = await self.client.post("/chat/completions", body=self.body(request), cast_to=httpx2.Response)
        except openai.APITimeoutError:
            raise UnavailableError(f"no answer within {self.target.timeout_s:g} s") from None
        except openai.APIConnectionError as fault:
            connected = not isinstance(fault.__cause__, httpx2.ConnectError)
            raise UnavailableError(f"connection lost ({_cause(fault)})", reached=connected) from None
        except openai.APIStatusError as fault:
            if self._drop_schema(fault):
                return await self.ask(request)
            raise self._status(fault) from None
        return self._answer(response, request, time.monotonic() - start)

    def _drop_schema(self, fault: "openai.APIStatusError") -> bool:  # type: ignore[name-defined]  # noqa: F821
        """Whether the endpoint refused `response_format`; then it is asked without, and answers are only validated."""
        refused = fault.status_code in (400, 422) and "response_format" in fault.response.text
        if not refused or not self._schema_works:
            return False
        self._schema_works = False
        return True

    def _status(self, fault: Any) -> Exception:
        self._raise_if_hopeless(fault)
        reason = f"{fault.status_code} {_message(fault)}"
        if fault.status_code in _RETRIED or fault.status_code >= _SERVER_FAULT:
            return UnavailableError(reason, retry_after(fault.response.headers, time.time()))
        return RefusedError(reason)

    def _raise_if_hopeless(self, fault: Any) -> None:
        url, said = self.target.url, _message(fault)
        if fault.status_code in (401, 403):
            key = f"the key in {self.target.key_env}" if self.target.key_env else "no key (key_env is not given)"
            raise InputError(f"{url}: {fault.status_code}, {key} is not accepted: {said}")
        if fault.status_code == 402 or (fault.status_code == 429 and "insufficient_quota" in fault.response.text):
            raise InputError(f"{url}: no credit left: {said}")
        if fault.status_code == 404 and "model" in said.lower():
            raise InputError(f"{url}: no model {self.target.model!r}: {said}")

    def _answer(self, response: "httpx2.Response", request: Request, seconds: float) -> Answer:
        return answer_of(response.content, self.target, self.redactor, request, seconds)


def answer_of(
    content: bytes | Mapping[str, Any], target: Target, redactor: Redactor | None, request: Request, seconds: float
) -> Answer:
    """The answer in the body of a chat completion, with names restored.

    Raises:
        UnavailableError: the body is no chat completion (a proxy's page, a cut stream); asking again may help.
    """
    try:
        body = json.loads(content) if isinstance(content, bytes) else content
        choice = body["choices"][0]
        text = choice["message"].get("content") or ""
        finish = str(choice.get("finish_reason") or "stop")
        usage = body.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise UnavailableError(f"200, but no chat completion: {content[:60]!r}") from None  # type: ignore[index]
    # A lone surrogate (half of an emoji, cut by the token limit) cannot be written as UTF-8.
    text = str(text).encode("utf-8", "replace").decode("utf-8")
    prompt = int(usage.get("prompt_tokens") or request.estimate())
    completion = int(usage.get("completion_tokens") or len(text.encode()) / BYTES_PER_TOKEN)
    return Answer(
        text=text if redactor is None else redactor.restore(text),
        finish_reason=finish,
        prompt_tokens=prompt,
        completion_tokens=completion,
        model=target.model,
        cost=target.cost(prompt, completion),
        seconds=round(seconds, 3),
    )


def _message(fault: Any) -> str:
    body = fault.body if isinstance(fault.body, dict) else {}
    text = str(body.get("message") or fault.message)
    return " ".join(text.split())[:200]


def _cause(fault: BaseException) -> str:
    cause = fault.__cause__ or fault
    return str(cause) or type(cause).__name__
