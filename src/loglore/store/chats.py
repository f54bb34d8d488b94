"""Chats about logs: questions and answers as they came, those that broke off included; each belongs to one caller."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.schema import METADATA

CHATS = sa.Table(
    "chats",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(40), nullable=False, unique=True),
    sa.Column("logs", sa.JSON, nullable=False),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("changed", sa.Double, nullable=False),
    sa.Column("created_by", sa.String(40)),
    sqlite_autoincrement=True,
)
TURNS = sa.Table(
    "chat_turns",
    METADATA,
    sa.Column("chat_id", sa.ForeignKey(CHATS.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True),
    sa.Column("side", sa.Integer, primary_key=True),
    sa.Column("question", sa.Text, nullable=False),
    sa.Column("model", sa.String(800), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("answer", sa.JSON(none_as_null=True)),
    sa.Column("fault", sa.Text),
    sa.Column("created", sa.Double, nullable=False),
)
# A chat of more turns than this begins a new one.
MOST_TURNS = 500
TITLE = 120

State = Literal["answering", "answered", "stopped", "failed"]


@dataclass(frozen=True)
class Chat:
    """One chat.

    Attributes:
        number: 1, 2, 3… in the order of creation.
        id: `chat_…`.
        logs: references to what it is about.
        title: its first question; "" before it.
        created, changed: seconds since 1970.
        created_by: id of the key whose it is, None without keys.
    """

    number: int
    id: str
    logs: Sequence[Mapping[str, Any]]
    title: str
    created: float
    changed: float
    created_by: str | None


@dataclass(frozen=True)
class Turn:
    """What one side of a turn asked and got: `text` as far as it came, `answer` when it was checked, else `fault`."""

    chat_id: str
    turn: int
    side: int
    question: str
    model: str
    state: State
    text: str
    answer: Mapping[str, Any] | None
    fault: str | None
    created: float


def create(database: Database, logs: Sequence[Mapping[str, Any]], by: str | None) -> Chat:
    """A new, empty chat about some logs."""
    now = time.time()
    made = {
        "id": f"chat_{secrets.token_hex(12)}", "logs": [dict(each) for each in logs], "title": "",
        "created": now, "changed": now, "created_by": by,
    }  # fmt: skip
    with database.begin() as connection:
        connection.execute(CHATS.insert().values(made))
    return find(database, str(made["id"]), by)


def find(database: Database, chat_id: str, by: str | None) -> Chat:
    """One chat of a caller.

    Raises:
        InputError: no such chat, or another caller's.
    """
    with database.begin() as connection:
        row = connection.execute(CHATS.select().where(_own(by), CHATS.c.id == chat_id)).mappings().first()
    if row is None:
        raise InputError(f"chat {chat_id!r}: no such id")
    return Chat(**row)


def chats(database: Database, by: str | None, limit: int) -> list[Chat]:
    """A caller's chats that have a question, the last changed first."""
    query = CHATS.select().where(_own(by), CHATS.c.title != "").order_by(CHATS.c.changed.desc(), CHATS.c.number.desc())
    with database.begin() as connection:
        return [Chat(**row) for row in connection.execute(query.limit(limit)).mappings()]


def delete(database: Database, chat_id: str, by: str | None) -> None:
    """Forget a chat; raises as `find`."""
    found = find(database, chat_id, by)
    with database.begin() as connection:
        connection.execute(TURNS.delete().where(TURNS.c.chat_id == found.id))
        connection.execute(CHATS.delete().where(CHATS.c.id == found.id))


def turns(database: Database, chat_id: str) -> list[Turn]:
    """All turns of a chat, in order, side by side."""
    query = TURNS.select().where(TURNS.c.chat_id == chat_id).order_by(TURNS.c.turn, TURNS.c.side)
    with database.begin() as connection:
        return [Turn(**row) for row in connection.execute(query).mappings()]


def begin(database: Database, chat_id: str, turn: int | None, side: int, question: str, model: str) -> tuple[int, bool]:
    """Note that a question is being asked; returns the number of its turn, and whether it replaces an answer.

    Args:
        database: where.
        chat_id: of which chat.
        turn: None begins the next one; a number asks in that one, and what was said there on this side is replaced.
        side: 0, or 1 for the second of two models.
        question: as asked.
        model: who is asked.

    Raises:
        InputError: the turn is not there, or the chat has `MOST_TURNS`.
    """
    now = time.time()
    with database.write() as connection:
        last = connection.execute(sa.select(sa.func.max(TURNS.c.turn)).where(TURNS.c.chat_id == chat_id)).scalar()
        number = (0 if last is None else int(last) + 1) if turn is None else turn
        if turn is not None and (last is None or turn > last):
            raise InputError(f"turn {turn}: chat {chat_id} has no such turn")
        if number >= MOST_TURNS:
            raise InputError(f"chat {chat_id} has {MOST_TURNS} turns; begin a new one")
        here = (TURNS.c.chat_id == chat_id, TURNS.c.turn == number, TURNS.c.side == side)
        replaced = connection.execute(TURNS.delete().where(*here)).rowcount
        row = {"chat_id": chat_id, "turn": number, "side": side, "question": question, "model": model}
        connection.execute(TURNS.insert().values({**row, "state": "answering", "text": "", "created": now}))
        named = CHATS.update().where(CHATS.c.id == chat_id, CHATS.c.title == "")
        connection.execute(named.values(title=" ".join(question.split())[:TITLE]))
        connection.execute(CHATS.update().where(CHATS.c.id == chat_id).values(changed=now))
    return number, bool(replaced)


def end(
    database: Database,
    chat_id: str,
    turn: int,
    side: int,
    state: State,
    text: str,
    answer: Mapping[str, Any] | None = None,
    fault: str | None = None,
) -> None:
    """Keep what became of a question; of a chat that was deleted meanwhile nothing."""
    here = (TURNS.c.chat_id == chat_id, TURNS.c.turn == turn, TURNS.c.side == side)
    values = {"state": state, "text": text, "answer": None if answer is None else dict(answer), "fault": fault}
    with database.begin() as connection:
        connection.execute(TURNS.update().where(*here).values(values))
        connection.execute(CHATS.update().where(CHATS.c.id == chat_id).values(changed=time.time()))


def interrupt(database: Database) -> int:
    """Answers that nobody is writing any more, because their server ended, are stopped; returns how many."""
    with database.begin() as connection:
        stopped = TURNS.update().where(TURNS.c.state == "answering").values(state="stopped")
        return int(connection.execute(stopped).rowcount)


def _own(by: str | None) -> sa.ColumnElement[bool]:
    return CHATS.c.created_by.is_(None) if by is None else CHATS.c.created_by == by
