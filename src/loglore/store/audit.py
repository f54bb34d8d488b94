"""The audit trail: who did what to what, and when. Rows are added and never changed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from loglore.store.database import Database
from loglore.store.schema import METADATA

LOCAL = "local"  # the actor of commands on this machine; others are ids of keys, or `worker …`

AUDIT = sa.Table(
    "audit",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("time", sa.Double, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(40), nullable=False),
    sa.Column("target", sa.String(300), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Index("ix_audit_target_number", "target", "number"),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True)
class Entry:
    """One thing that somebody did.

    Attributes:
        number: 1, 2, 3…
        time: seconds since 1970.
        actor: id of a key, `local`, or a worker.
        action: such as `job.create`, `job.cancel`, `key.revoke`.
        target: id of what it was done to.
        detail: what else is worth knowing; never a secret.
    """

    number: int
    time: float
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]


def audit(
    database: Database, actor: str | None, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Note that `actor` (None: this machine's user) did `action` to `target`."""
    with database.begin() as connection:
        note(connection, actor, action, target, detail)


def note(
    connection: sa.Connection, actor: str | None, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """The same within a transaction, so that the deed and its entry stand or fall together."""
    values = {"time": time.time(), "actor": actor or LOCAL, "action": action, "target": target}
    connection.execute(AUDIT.insert().values(**values, detail=dict(detail or {})))


def entries(database: Database, limit: int = 100, before: int | None = None, target: str | None = None) -> list[Entry]:
    """Entries, the newest first; `before` a number goes further back, `target` chooses those of one thing."""
    query = AUDIT.select().order_by(AUDIT.c.number.desc()).limit(limit)
    if before is not None:
        query = query.where(AUDIT.c.number < before)
    if target is not None:
        query = query.where(AUDIT.c.target == target)
    with database.begin() as connection:
        return [Entry(**row) for row in connection.execute(query).mappings()]
