"""Sessions, running and ended: one row each, written by the server that runs it, read by anyone on the machine."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.schema import METADATA

State = Literal["starting", "ready", "restarting", "stopped", "failed"]
ENDED: tuple[State, ...] = ("stopped", "failed")

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("models", sa.JSON, nullable=False),
    sa.Column("engine", sa.String(20), nullable=False),
    sa.Column("url", sa.String(200), nullable=False),
    sa.Column("needs_key", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("server_pid", sa.Integer, nullable=False),
    sa.Column("server_started", sa.Double, nullable=False),
    sa.Column("started", sa.Double, nullable=False),
    sa.Column("ended", sa.Double),
    sa.Column("last_used", sa.Double),
    sa.Column("interactions", sa.Integer, nullable=False),
    sa.Column("restarts", sa.Integer, nullable=False),
    sa.Column("stop_requested", sa.Boolean, nullable=False),
)


@dataclass(frozen=True)
class SessionRow:
    """One session.

    Attributes:
        id: `ses_…`.
        models: ids that it answers to, the base first.
        engine: kind of engine.
        url: base URL for clients, ends in `/v1`.
        needs_key: whether callers must send a key.
        state: see `State`.
        reason: why it ended, or what it waits for.
        server_pid: process that runs it; with `server_started` (seconds since 1970) unique on a machine.
        server_started: when that process started.
        started, ended, last_used: seconds since 1970.
        interactions: requests answered.
        restarts: engines that were started again after one died.
        stop_requested: somebody wants it to end.
    """

    id: str
    models: tuple[str, ...]
    engine: str
    url: str
    needs_key: bool
    state: State
    reason: str
    server_pid: int
    server_started: float
    started: float
    ended: float | None
    last_used: float | None
    interactions: int
    restarts: int
    stop_requested: bool

    def lives(self) -> bool:
        """Whether it is served by a process of this machine: it has not ended, and its server did not die."""
        import psutil

        if self.state in ENDED:
            return False
        try:
            return abs(psutil.Process(self.server_pid).create_time() - self.server_started) < 1.0
        except psutil.NoSuchProcess:
            return False


def create(
    database: Database,
    models: Sequence[str],
    engine: str,
    url: str,
    needs_key: bool,
    server: tuple[int, float],
    now: float,
) -> SessionRow:
    """Register a session that is starting; `server` is the process id and start time of who runs it."""
    session_id = f"ses_{secrets.token_hex(6)}"
    values: dict[str, Any] = {
        "id": session_id,
        "models": list(models),
        "engine": engine,
        "url": url,
        "needs_key": needs_key,
        "state": "starting",
        "reason": "",
        "server_pid": server[0],
        "server_started": server[1],
        "started": now,
        "interactions": 0,
        "restarts": 0,
        "stop_requested": False,
    }
    with database.begin() as connection:
        connection.execute(SESSIONS.insert().values(values))
    return find(database, session_id)


def update(database: Database, session_id: str, **values: Any) -> bool:
    """Write columns of a session; returns whether somebody asked for its end meanwhile."""
    with database.begin() as connection:
        connection.execute(SESSIONS.update().where(SESSIONS.c.id == session_id).values(values))
        wanted = sa.select(SESSIONS.c.stop_requested).where(SESSIONS.c.id == session_id)
        return bool(connection.execute(wanted).scalar())


def sessions(database: Database, ended: bool = False) -> list[SessionRow]:
    """Sessions, the oldest first; those that have ended only when asked for."""
    query = SESSIONS.select().order_by(SESSIONS.c.started, SESSIONS.c.id)
    if not ended:
        query = query.where(SESSIONS.c.state.not_in(ENDED))
    with database.begin() as connection:
        return [_row(row) for row in connection.execute(query).mappings()]


def find(database: Database, session_id: str) -> SessionRow:
    """One session by its id.

    Raises:
        InputError: no such session.
    """
    with database.begin() as connection:
        row = connection.execute(SESSIONS.select().where(SESSIONS.c.id == session_id)).mappings().first()
    if row is None:
        raise InputError(f"session {session_id!r}: no such id; see `loglore sessions list --all`")
    return _row(row)


def request_stop(database: Database, session_id: str) -> SessionRow:
    """Ask the server that runs a session to end it; it looks every second.

    Raises:
        InputError: no such session.
    """
    find(database, session_id)
    with database.begin() as connection:
        connection.execute(SESSIONS.update().where(SESSIONS.c.id == session_id).values(stop_requested=True))
    return find(database, session_id)


def _row(row: Any) -> SessionRow:
    return SessionRow(**{**row, "models": tuple(row["models"])})
