"""`/v1/studio/chats`: chats about logs as they were; `/v1/studio/ask` writes into them, each caller sees their own."""

import contextlib
from typing import Annotated, Any, Protocol

import anyio
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from loglore.api import errors
from loglore.api.answers import ERRORS
from loglore.api.errors import ApiError, known
from loglore.api.logs import LogReference, Logs, LogsBody
from loglore.api.making import actor
from loglore.errors import JobError
from loglore.store import chats
from loglore.store.chats import Chat, State, Turn
from loglore.store.database import Database


def router(logs: Logs, database: Database) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/studio/chats", tags=["ask"], responses=ERRORS)

    @routes.get("")
    def list_chats(request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> dict[str, Any]:
        """Chats in which something was asked, the last changed first."""
        found = chats.chats(database, actor(request), limit)
        return {"object": "list", "data": [chat_object(each) for each in found]}

    @routes.post("", status_code=201)
    def create_chat(wish: LogsBody, request: Request) -> dict[str, Any]:
        """A new chat about some logs; questions are then asked with its id."""
        logs.paths(wish.logs)
        return chat_object(chats.create(database, references(wish.logs), actor(request)))

    @routes.get("/{chat}")
    def read_chat(chat: str, request: Request, turns: bool = True) -> dict[str, Any]:
        """One chat with its turns, or without."""
        found = known(lambda: chats.find(database, chat, actor(request)))
        if not turns:
            return chat_object(found)
        return {**chat_object(found), "turns": [turn_object(each) for each in chats.turns(database, found.id)]}

    @routes.delete("/{chat}")
    def delete_chat(chat: str, request: Request) -> dict[str, Any]:
        """Forget a chat."""
        known(lambda: chats.delete(database, chat, actor(request)))
        return {"id": chat, "object": "studio.chat", "deleted": True}

    return routes


def references(logs: list[LogReference]) -> list[dict[str, Any]]:
    """The logs of a request as they are kept."""
    return [each.model_dump(exclude_none=True) for each in logs]


def chat_object(found: Chat) -> dict[str, Any]:
    """A chat as JSON."""
    return {
        "id": found.id,
        "object": "studio.chat",
        "logs": list(found.logs),
        "title": found.title,
        "created_at": found.created,
        "changed_at": found.changed,
    }


def turn_object(found: Turn) -> dict[str, Any]:
    """One side of a turn as JSON."""
    names = ("turn", "side", "question", "model", "state", "text", "answer", "fault")
    return {name: getattr(found, name) for name in names}


class Record:
    """What is kept of one question while it is answered: every piece that came, then how it ended."""

    def __init__(self, database: Database, chat: Chat, turn: int, side: int) -> None:
        self.chat, self.turn, self.side = chat, turn, side
        self._database = database
        self._pieces: list[str] = []
        self._answer: dict[str, Any] | None = None
        self._state: State = "stopped"
        self._fault: str | None = None
        self._closed = False

    def heard(self, name: str, fields: dict[str, Any]) -> None:
        """An event that goes to the caller."""
        if self._closed:
            return
        if name == "text":
            self._pieces.append(fields["text"])
        elif name == "answer":
            # What is kept is the answer, which ends before what was streamed of one that went in circles.
            self._answer, self._state, self._pieces = fields, "answered", [fields["answer"]]

    def failed(self, fault: Exception) -> None:
        """The answer broke off."""
        self._state, self._fault = "failed", str(errors.of(fault)[1]["error"]["message"])

    async def close(self) -> None:
        """Keep it, also when the caller has left; a database that is away must not take the answer from the caller.

        What comes later, from a model that does not know yet that nobody listens, is not kept.
        """
        if self._closed:
            return
        self._closed = True
        place = (self.chat.id, self.turn, self.side)
        with anyio.CancelScope(shield=True), contextlib.suppress(JobError):
            await run_in_threadpool(
                chats.end, self._database, *place, self._state, "".join(self._pieces), self._answer, self._fault
            )


class Question(Protocol):
    """What of a request is kept."""

    logs: list[LogReference]
    question: str
    turn: int | None
    side: int


def begin(database: Database, chat_id: str, by: str | None, wish: Question, model: str) -> tuple[Record, bool]:
    """Note that a question is asked in a chat; whether it replaces an answer, so that the model must forget that.

    Args:
        database: where.
        chat_id: which chat.
        by: whose it must be.
        wish: the request.
        model: who is asked.

    Raises:
        ApiError: 404 for no such chat, 400 for one about other logs or without that turn.
    """
    found = known(lambda: chats.find(database, chat_id, by))
    if list(found.logs) != references(wish.logs):
        raise ApiError(400, f"logs: chat {chat_id} is about other logs; begin a new one", "invalid_value", "logs")
    turn, replaces = chats.begin(database, chat_id, wish.turn, wish.side, wish.question, model)
    return Record(database, found, turn, wish.side), replaces
