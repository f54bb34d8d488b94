"""Idempotency keys: what a creation answered, kept for a day, so that the same request sent again creates nothing.

A key is reserved before the work starts, together with an id for what is created. Whoever repeats a request whose
server died in the middle gets the same id, and so cannot create the thing twice.
"""

import secrets
import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from loglore.store.database import Database, insert_if_new
from loglore.store.schema import METADATA

LIFE_S = 86_400.0
# After so long without an answer the server that reserved the key is taken for dead.
PENDING_S = 120.0

IDEMPOTENCY = sa.Table(
    "idempotency",
    METADATA,
    sa.Column("caller", sa.String(40), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("reserved", sa.String(24), nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("answer", sa.Text),
    sa.Column("created", sa.Double, nullable=False),
    sa.Index("ix_idempotency_created", "created"),
)


@dataclass(frozen=True)
class Reservation:
    """A key in use.

    Attributes:
        caller: id of the API key, "" without one.
        key: as the client sent it.
        request: hash of the request it belongs to.
        reserved: 24 hex digits for the id of what is created.
        status, answer: what was answered; None while it is not.
        mine: the caller of `reserve` is to do the work now.
    """

    caller: str
    key: str
    request: str
    reserved: str
    status: int | None
    answer: str | None
    mine: bool


def reserve(database: Database, caller: str, key: str, request: str) -> Reservation:
    """Take a key, or learn what became of it."""
    now = time.time()
    with database.begin() as connection:
        connection.execute(IDEMPOTENCY.delete().where(_older(now, LIFE_S)))
        row: dict[str, Any] = {
            "caller": caller, "key": key, "request": request, "reserved": secrets.token_hex(12), "created": now,
        }  # fmt: skip
        if insert_if_new(connection, IDEMPOTENCY, row):
            return Reservation(caller, key, request, row["reserved"], None, None, True)
        this = _this(caller, key)
        found = connection.execute(IDEMPOTENCY.select().where(this)).mappings().one()
        stale = sa.and_(this, IDEMPOTENCY.c.status.is_(None), _older(now, PENDING_S))
        same = found["request"] == request
        mine = same and bool(connection.execute(IDEMPOTENCY.update().where(stale).values(created=now)).rowcount)
        return Reservation(
            caller, key, found["request"], found["reserved"], found["status"], found["answer"], mine
        )  # fmt: skip


def answer(database: Database, reservation: Reservation, status: int, text: str) -> None:
    """Keep the answer for whoever asks again."""
    with database.begin() as connection:
        this = _this(reservation.caller, reservation.key)
        connection.execute(IDEMPOTENCY.update().where(this).values(status=status, answer=text))


def release(database: Database, reservation: Reservation) -> None:
    """Let a key go whose request was refused: a better one may use it."""
    with database.begin() as connection:
        connection.execute(IDEMPOTENCY.delete().where(_this(reservation.caller, reservation.key)))


def _older(now: float, seconds: float) -> sa.ColumnElement[bool]:
    """Older than so many seconds; or so far in the future that the clock has gone back since."""
    return sa.or_(IDEMPOTENCY.c.created < now - seconds, IDEMPOTENCY.c.created > now + seconds)


def _this(caller: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(IDEMPOTENCY.c.caller == caller, IDEMPOTENCY.c.key == key)
