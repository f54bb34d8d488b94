"""Completions history: what sessions were asked and what they answered, for as long as it is to be kept."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from loglore.store.database import Database
from loglore.store.schema import METADATA

COMPLETIONS = sa.Table(
    "completions",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("session_id", sa.ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("key_id", sa.String(12)),
    sa.Column("model", sa.String(300), nullable=False),
    sa.Column("created", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("first_token_s", sa.Double),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("finish_reason", sa.String(40)),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("cached_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Index("ix_completions_session_id_created", "session_id", "created"),
)


@dataclass(frozen=True)
class Completion:
    """One answered request.

    Attributes:
        session_id: session that answered.
        key_id: key of the caller, None without one.
        model: model id asked.
        created: seconds since 1970.
        seconds: from the request's arrival to its end.
        first_token_s: to the first piece of a streamed answer, in seconds.
        status: HTTP status; 499 when the client left.
        finish_reason: `stop`, `length`, …; None when the answer broke off.
        prompt_tokens, cached_tokens, completion_tokens: as the engine counted.
        request: the body as JSON.
        response: the text of the first choice, or the error's message.
    """

    session_id: str
    key_id: str | None
    model: str
    created: float
    seconds: float
    first_token_s: float | None
    status: int
    finish_reason: str | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    request: str
    response: str


def add(database: Database, rows: Sequence[Completion]) -> None:
    """Keep these."""
    if rows:
        with database.begin() as connection:
            connection.execute(COMPLETIONS.insert(), [asdict(row) for row in rows])


def history(database: Database, session_id: str, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
    """Completions of a session with their `id`, the newest first; `before` an id goes further back."""
    query = COMPLETIONS.select().where(COMPLETIONS.c.session_id == session_id)
    if before is not None:
        query = query.where(COMPLETIONS.c.id < before)
    with database.begin() as connection:
        rows = connection.execute(query.order_by(COMPLETIONS.c.id.desc()).limit(limit))
        return [dict(row) for row in rows.mappings()]


def prune(database: Database, older_than: float) -> int:
    """Forget completions made before `older_than`; returns how many."""
    with database.begin() as connection:
        return int(connection.execute(COMPLETIONS.delete().where(COMPLETIONS.c.created < older_than)).rowcount)
