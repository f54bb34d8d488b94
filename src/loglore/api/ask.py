"""`POST /v1/studio/ask`: a question about logs, answered as a stream of events whose last one carries the verdicts.

    conversation  id to send with the next question      status    what is being waited for
    evidence      what of the log the model sees          reading   prompt tokens read, in all
    text          a piece of the answer                   answer    claims with verdicts and the lines they stand on
    error         OpenAI's error object; the stream ends

What a model has seen of a conversation lives in this process (the last `KEPT`), what was said in a chat in the database
(`chats`). When the session was replaced meanwhile, the next question starts over with the same log and says so
(`renewed`). `POST /v1/studio/ask/preview` shows what would be sent, redacted where it leaves this machine.
"""

import asyncio
import contextlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from loglore.api import addresses, chats, errors, log_facts
from loglore.api.answers import ERRORS
from loglore.api.chats import Record
from loglore.api.errors import ApiError, not_found
from loglore.api.logs import Logs, LogsBody
from loglore.api.making import actor
from loglore.api.models import canonical
from loglore.api.reading import Reading
from loglore.api.sessions import Either, Sessions
from loglore.api.streams import Emit, Held, event, from_thread
from loglore.errors import InputError, JobError
from loglore.store.database import Database

if TYPE_CHECKING:
    from loglore.ask.answer import Answer, Conversation, Windows
    from loglore.endpoint.client import Endpoint
    from loglore.logs.table import LogTable

KEPT = 64
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events, see above.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
# How often it is said how far a log is read.
READING_S = 1.0
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

    logs: what it is about (of a conversation that goes on, the same again). model: the id of a session's model, `name`,
    `name@version`, or the newest. endpoint: a server to ask instead. conversation: id of an earlier answer, to go on.
    chat: instead, the chat that this is asked in. turn: of the chat; None is the next one. side: 1 for the second of
    two models. before, after: two spans of time, `FROM..TO`, to be compared. context_tokens: prompt and answer together
    at most.
    """

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1, max_length=20_000)
    model: str | None = None
    endpoint: Elsewhere | None = None
    conversation: str | None = None
    chat: str | None = Field(None, max_length=40)
    turn: int | None = Field(None, ge=0)
    side: int = Field(0, ge=0, le=1)
    before: str | None = Field(None, max_length=100, examples=["10:00..10:05"])
    after: str | None = Field(None, max_length=100, examples=["10:05..10:10"])
    max_tokens: int = Field(default=400, ge=1, le=8192)
    context_tokens: int = Field(default=CONTEXT_TOKENS, ge=256)


@dataclass
class Talk:
    """A conversation with what it was made for; `busy` while it answers."""

    id: str
    model: str
    url: str = ""
    reading: Reading | None = None
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
            return self.of(f"conv_{secrets.token_hex(12)}", model)
        if key not in self._talks:
            raise not_found(f"conversation {key!r}")
        return self.of(key, model)

    def of(self, key: str, model: str, *, anew: bool = False) -> Talk:
        """The conversation of that name, made where it is not there, or `anew`."""
        if anew:
            self._talks.pop(key, None)
        talk = self._talks.setdefault(key, Talk(key, model))
        talk.model = model
        self._talks.move_to_end(key)
        while len(self._talks) > KEPT:
            self._talks.popitem(last=False)
        return talk


@dataclass(frozen=True)
class Asking:
    """One question on its way: the request, the logs, the conversation, and what is kept of it (in a chat)."""

    wish: AskBody
    paths: list[Path]
    talk: Talk
    record: Record | None = None


class Asker:
    """Answers questions; what blocks is done in `pool`."""

    def __init__(self, logs: Logs, source: Either, sessions: Sessions, database: Database, pool: Executor) -> None:
        self.talks = Talks()
        self._logs, self._source, self._sessions, self._database, self._pool = logs, source, sessions, database, pool

    async def model(self, wish: AskBody) -> str:
        """The full name of who is asked.

        Raises:
            ApiError: 404 for no such model, 400 for an endpoint that may not be called.
        """
        if wish.endpoint is not None:
            await asyncio.to_thread(addresses.check, wish.endpoint.url, "endpoint.url")
            return wish.endpoint.name
        if wish.model is not None and self._source.serves(wish.model):
            return wish.model
        return await asyncio.to_thread(canonical, wish.model, self._database)

    async def events(self, asking: Asking) -> AsyncGenerator[str, None]:
        """The stream of an answer."""
        talk, record = asking.talk, asking.record
        try:
            place = {} if record is None else {"chat": record.chat.id, "turn": record.turn}
            yield event("conversation", id=talk.id, model=talk.model, **place)
            running = asking.wish.endpoint is not None or self._source.serves(talk.model)
            if not running and self._sessions.model != talk.model:
                yield event("status", text=f"Starting {talk.model}")
            async with self._engine(asking) as make_engine:

                def work(emit: Emit) -> None:
                    def told(name: str, **fields: Any) -> None:
                        if record is not None:
                            record.heard(name, fields)
                        emit(name, **fields)

                    with self._logs.readings.used(asking.paths) as reading:
                        while not reading.ended.wait(READING_S):
                            told("status", text=f"Reading the log, {reading.done / max(reading.total, 1):.0%}")
                        _answer(asking, reading, make_engine(), told)

                # Closed here and now: else the session would count as free while its answer is still being written.
                left = () if record is None else (record.close,)
                async with aclosing(from_thread(self._pool, work, *left)) as answering:
                    async for each in answering:
                        yield each
        except (ApiError, InputError, JobError) as fault:
            if record is not None:
                record.failed(fault)
            status, content = errors.of(fault)
            yield event("error", status=status, **content)
        finally:
            if record is not None:
                await record.close()

    def preview(self, wish: AskBody, paths: list[Path]) -> dict[str, Any]:
        """What a question would send to an endpoint; nothing of the log is sent."""
        if wish.endpoint is None:
            raise ApiError(
                400, "endpoint: a model of this server gets the log as it is; nothing leaves", param="endpoint"
            )
        engine = _elsewhere(wish.endpoint)
        with self._logs.readings.used(paths) as reading:
            conversation = _conversation(wish, reading, Talk("", ""), engine)
            chosen, messages = conversation.draft(wish.question, _windows(wish, reading.table))
        return {
            "object": "studio.preview",
            "url": engine.endpoint.url,
            "redacts": engine.endpoint.redacts,
            "messages": engine.endpoint.leaving(messages),
            "replaced": engine.endpoint.replaced,
            "evidence": {key: value for key, value in log_facts.evidence(chosen).items() if key != "text"},
        }

    @contextlib.asynccontextmanager
    async def _engine(self, asking: Asking) -> "AsyncIterator[Any]":
        """What makes the engine, in the thread that then asks it."""
        from loglore.endpoint.client import Endpoint

        given = asking.wish.endpoint
        if given is not None:
            yield lambda: _elsewhere(given)
            return
        async with self._source.use(asking.talk.model, 0) as seat:
            session = seat.session
            extra = {name: value for name, value in session.wish(seat.model_id).items() if name != "model"}
            asked = session.model_id if session.kind == "llama.cpp" else seat.model_id
            # An engine of ours on a cluster's node is no stranger: nothing is hidden from it.
            redact = False if session.key else None
            yield lambda: Engine(Endpoint(session.url, asked, session.key, redact=redact, extra=extra), session.context)


def router(asker: Asker, logs: Logs, database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio", tags=["ask"], responses=ERRORS)

    @routes.post("/ask", responses=EVENTS, response_class=Response)
    async def ask(wish: AskBody, request: Request) -> Response:
        """Ask; what is wrong with the request itself is said before the stream starts."""
        _check(wish)
        paths = await asyncio.to_thread(logs.paths, wish.logs)
        model = await asker.model(wish)
        if wish.chat is None:
            asking = Asking(wish, paths, asker.talks.get(wish.conversation, model))
        else:
            record, replaces = await asyncio.to_thread(chats.begin, database, wish.chat, actor(request), wish, model)
            asking = Asking(wish, paths, asker.talks.of(f"{wish.chat}/{wish.side}", model, anew=replaces), record)
        events = asker.events(asking)
        stack = AsyncExitStack()
        stack.push_async_callback(events.aclose)
        return Held(events, stack, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @routes.post("/ask/preview")
    async def preview(wish: AskBody) -> dict[str, Any]:
        """What a question would send to an endpoint: the messages, redacted off loopback, and what was replaced."""
        _check(wish)
        paths = await asyncio.to_thread(logs.paths, wish.logs)
        await asker.model(wish)
        return await asyncio.to_thread(asker.preview, wish, paths)

    return routes


def _check(wish: AskBody) -> None:
    if not wish.question.strip():
        raise ApiError(400, "question: it is empty", "invalid_value", "question")
    if wish.chat is not None and wish.conversation is not None:
        raise ApiError(400, "chat: give either `chat` or `conversation`", "invalid_value", "chat")
    if wish.chat is None and (wish.turn is not None or wish.side):
        raise ApiError(400, "turn: turns and sides are a chat's; name it", "invalid_value", "turn")


def _elsewhere(given: Elsewhere) -> Engine:
    """A server that is none of our sessions. The server's own key is for the endpoint that its owner chose."""
    from loglore.endpoint.client import Endpoint

    key = given.key.get_secret_value() if given.key else "none"
    named = addresses.public_only()
    endpoint = Endpoint(given.url, given.model, key, public_only=named)
    if endpoint.redacts:
        # Counted here, so that the preview is what is then sent, and so that nothing leaves before it.
        endpoint = Endpoint(given.url, given.model, key, public_only=named, counts_here=True)
    return Engine(endpoint, endpoint.served.context)


def _answer(asking: Asking, reading: Reading, engine: Engine, emit: Emit) -> None:
    wish, talk = asking.wish, asking.talk
    if not talk.busy.acquire(blocking=False):
        raise ApiError(409, f"conversation {talk.id} is still answering", "conversation_busy", "conversation")
    try:
        if engine.endpoint.redacts:
            emit("status", text="Addresses, names and secrets are replaced before anything is sent")
        conversation = _conversation(wish, reading, talk, engine)
        answer = conversation.ask(
            wish.question,
            on_evidence=lambda chosen: emit("evidence", **log_facts.evidence(chosen)),
            on_reading=lambda done, total: emit("reading", done=done, total=total),
            on_text=lambda text: emit("text", text=text),
            windows=_windows(wish, reading.table),
        )
        emit("answer", **_as_json(answer, reading.table))
    finally:
        talk.busy.release()


def _conversation(wish: AskBody, reading: Reading, talk: Talk, engine: Engine) -> "Conversation":
    """The conversation so far, or a new one when its log or its engine is another by now."""
    from loglore.ask.answer import Conversation

    # The same files in the same state, though perhaps read again: many visitors have many logs.
    same = talk.reading is not None and (talk.reading.paths, talk.reading.stamp) == (reading.paths, reading.stamp)
    if talk.conversation is None or not same or talk.url != engine.endpoint.url:
        limit = min(wish.context_tokens, engine.context or wish.context_tokens)
        talk.conversation = Conversation(engine.endpoint, reading.log, limit, min(wish.max_tokens, limit // 2))
        talk.reading, talk.url = reading, engine.endpoint.url
    return talk.conversation


def _windows(wish: AskBody, table: "LogTable") -> "Windows":
    from loglore.logs import search

    return search.windows(wish.before, wish.after, table)


def _as_json(answer: "Answer", table: "LogTable") -> dict[str, Any]:
    from loglore.ask.job import as_json

    whole = as_json(answer)
    claims, chosen = log_facts.cited(whole["claims"], table), log_facts.evidence(answer.evidence)
    return {**whole, "claims": claims, "evidence": chosen, "renewed": answer.renewed}
