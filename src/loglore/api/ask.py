"""`POST /v1/studio/ask`: a question about logs, answered as a stream of events whose last one carries the verdicts.

    conversation  id to send with the next question      status    what is being waited for
    evidence      what of the log the model sees          reading   prompt tokens read, in all
    text          a piece of the answer                   answer    claims with verdicts and the lines they stand on
    error         OpenAI's error object; the stream ends

Conversations live in this process (the last `KEPT`): their evidence is a slice of a log that is in memory anyway. When
the session was replaced meanwhile, the next question starts over with the same log and says so (`renewed`).
"""

import asyncio
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from loglore.api import addresses, errors
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, not_found
from loglore.api.logs import Logs, LogsBody
from loglore.api.models import canonical
from loglore.api.sessions import Sessions
from loglore.api.streams import Emit, Held, event, from_thread
from loglore.errors import InputError, JobError
from loglore.store.database import Database

if TYPE_CHECKING:
    from loglore.ask.answer import Answer, Conversation
    from loglore.endpoint.client import Endpoint
    from loglore.logs.evidence import Evidence
    from loglore.logs.templates import Mined

KEPT = 64
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events, see above.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
CITED_LINES = 5
# A few seconds of reading on two CPU cores for a small model; more context is one field away.
CONTEXT_TOKENS = 4096


class Elsewhere(BaseModel):
    """An OpenAI-compatible server to ask instead of a model of the hub; off loopback what it gets is redacted.

    url: with its `/v1`. model: its id there; may be left out where there is one. key: sent to it, never kept.
    """

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=500, examples=["https://llm.example.com/v1"])
    model: str | None = Field(None, max_length=200)
    key: SecretStr | None = Field(None, max_length=1000)

    @property
    def name(self) -> str:
        """What an answer is signed with."""
        return f"{self.model or 'model'} at {self.url}"


class AskBody(LogsBody):
    """A question about logs.

    logs: what it is about (of a conversation that goes on, the same again). model: `name`, `name@version`, or the
    newest. endpoint: a server to ask instead. conversation: id of an earlier answer, to go on. context_tokens: prompt
    and answer together at most.
    """

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=20_000)
    model: str | None = None
    endpoint: Elsewhere | None = None
    conversation: str | None = None
    max_tokens: int = Field(default=400, ge=1, le=8192)
    context_tokens: int = Field(default=CONTEXT_TOKENS, ge=256)


@dataclass
class Talk:
    """A conversation with what it was made for; `busy` while it answers."""

    id: str
    model: str
    url: str = ""
    mined: "Mined | None" = None
    conversation: "Conversation | None" = None
    busy: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Engine:
    """Where a question goes, and how many tokens of context there are; None where the server does not say."""

    endpoint: "Endpoint"
    context: int | None


class Talks:
    """The last `KEPT` conversations."""

    def __init__(self) -> None:
        self._talks: OrderedDict[str, Talk] = OrderedDict()

    def get(self, key: str | None, model: str) -> Talk:
        """The conversation, or a new one.

        Raises:
            ApiError: 404 for an id that is unknown (or too old).
        """
        if key is None:
            key = f"conv_{secrets.token_hex(12)}"
            self._talks[key] = Talk(key, model)
        elif key not in self._talks:
            raise not_found(f"conversation {key!r}")
        self._talks.move_to_end(key)
        while len(self._talks) > KEPT:
            self._talks.popitem(last=False)
        return self._talks[key]


def router(logs: Logs, sessions: Sessions, database: Database, pool: Executor) -> APIRouter:
    """The route; answers are worked out in `pool`."""
    talks = Talks()
    routes = APIRouter(prefix="/v1/studio", tags=["ask"], responses=ERRORS)

    @routes.post("/ask", responses=EVENTS, response_class=Response)
    async def ask(wish: AskBody) -> Response:
        """Ask; what is wrong with the request itself is said before the stream starts."""
        if not wish.question.strip():
            raise ApiError(400, "question: it is empty", "invalid_value", "question")
        paths = await asyncio.to_thread(logs.paths, wish.logs)
        if wish.endpoint is not None:
            await asyncio.to_thread(addresses.check, wish.endpoint.url, "endpoint.url")
            talk = talks.get(wish.conversation, wish.endpoint.name)
            talk.model = wish.endpoint.name
            events = _from_elsewhere(wish, paths, talk, logs, pool)
        else:
            model = await asyncio.to_thread(canonical, wish.model, database)
            talk = talks.get(wish.conversation, model)
            talk.model = model
            events = _events(wish, paths, talk, logs, sessions, pool)
        stack = AsyncExitStack()
        stack.push_async_callback(events.aclose)
        return Held(events, stack, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return routes


async def _events(
    wish: AskBody, paths: list[Any], talk: Talk, logs: Logs, sessions: Sessions, pool: Executor
) -> AsyncGenerator[str, None]:
    try:
        yield event("conversation", id=talk.id, model=talk.model)
        if sessions.model != talk.model:
            yield event("status", text=f"Starting {talk.model}")
        async with sessions.use(talk.model) as session:

            def work(emit: Emit) -> None:
                from loglore.endpoint.client import Endpoint

                emit("status", text="Reading the log")
                engine = Engine(Endpoint(session.url, session.model_id), session.context)
                _answer(wish, logs.read(paths).mined, talk, engine, emit)

            # Closed here and now: else the session would count as free while its answer is still being written.
            async with aclosing(from_thread(pool, work)) as answering:
                async for each in answering:
                    yield each
    except (ApiError, InputError, JobError) as fault:
        status, content = errors.of(fault)
        yield event("error", status=status, **content)


async def _from_elsewhere(
    wish: AskBody, paths: list[Any], talk: Talk, logs: Logs, pool: Executor
) -> AsyncGenerator[str, None]:
    """The same events from a server that is none of our sessions."""
    given = wish.endpoint
    assert given is not None

    def work(emit: Emit) -> None:
        from loglore.endpoint.client import Endpoint

        key = given.key.get_secret_value() if given.key else None
        # The server's own key is for the endpoint that its owner chose, not for one that a caller names.
        endpoint = Endpoint(given.url, given.model, key or "none", public_only=addresses.public_only())
        if endpoint.redacts:
            emit("status", text="Addresses, names and secrets are replaced before anything is sent")
        mined = logs.read(paths).mined
        _answer(wish, mined, talk, Engine(endpoint, endpoint.served.context), emit)

    try:
        yield event("conversation", id=talk.id, model=talk.model)
        async with aclosing(from_thread(pool, work)) as answering:
            async for each in answering:
                yield each
    except (ApiError, InputError, JobError) as fault:
        status, content = errors.of(fault)
        yield event("error", status=status, **content)


def _answer(wish: AskBody, mined: "Mined", talk: Talk, engine: Engine, emit: Emit) -> None:
    if not talk.busy.acquire(blocking=False):
        raise ApiError(409, f"conversation {talk.id} is still answering", "conversation_busy", "conversation")
    try:
        conversation = _conversation(wish, mined, talk, engine)
        answer = conversation.ask(
            wish.question,
            on_evidence=lambda chosen: emit("evidence", **_evidence(chosen)),
            on_reading=lambda done, total: emit("reading", done=done, total=total),
            on_text=lambda text: emit("text", text=text),
        )
        emit("answer", **_as_json(answer, mined))
    finally:
        talk.busy.release()


def _conversation(wish: AskBody, mined: "Mined", talk: Talk, engine: Engine) -> "Conversation":
    """The conversation so far, or a new one when its log or its engine is another by now."""
    from loglore.ask.answer import Conversation

    if talk.conversation is None or talk.mined is not mined or talk.url != engine.endpoint.url:
        limit = min(wish.context_tokens, engine.context or wish.context_tokens)
        talk.conversation = Conversation(engine.endpoint, mined, limit, min(wish.max_tokens, limit // 2))
        talk.mined, talk.url = mined, engine.endpoint.url
    return talk.conversation


def _evidence(chosen: "Evidence") -> dict[str, Any]:
    return {"text": chosen.text, "lines": len(chosen.lines), "omitted": chosen.omitted, "tokens": chosen.tokens}


def _as_json(answer: "Answer", mined: "Mined") -> dict[str, Any]:
    from loglore.ask.job import as_json

    whole = as_json(answer)
    claims = [{**claim, "cited": _cited(claim, mined)} for claim in whole["claims"]]
    return {**whole, "claims": claims, "evidence": _evidence(answer.evidence), "renewed": answer.renewed}


def _cited(claim: dict[str, Any], mined: "Mined") -> list[dict[str, Any]]:
    """The first lines that a claim stands on (or falls by), with their text."""
    import polars as pl

    rows = mined.table.filter(pl.col("line").is_in(claim["lines"][:CITED_LINES]))
    if claim["source"]:
        rows = rows.filter(pl.col("source") == claim["source"])
    return rows.select("source", "line", "text").head(CITED_LINES).to_dicts()
