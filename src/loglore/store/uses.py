"""What is in use: inputs of queued, running and paused jobs, which nobody may delete or collect meanwhile."""

from collections.abc import Sequence

import sqlalchemy as sa

from loglore.errors import InputError
from loglore.store.database import Database
from loglore.store.files import STORED_FILES
from loglore.store.jobs import ENDED, JOBS
from loglore.store.schema import METADATA
from loglore.store.versions import VERSIONS

USES = sa.Table(
    "uses",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("holder", sa.String(60), nullable=False),
    sa.Column("version_id", sa.ForeignKey(VERSIONS.c.id)),
    sa.Column("file_id", sa.ForeignKey(STORED_FILES.c.id)),
    sa.Index("ix_uses_holder", "holder"),
    sa.Index("ix_uses_version_id", "version_id"),
    sa.Index("ix_uses_file_id", "file_id"),
)


def hold(database: Database, holder: str, versions: Sequence[str] = (), files: Sequence[str] = ()) -> None:
    """Keep versions and stored files (by their ids) from being deleted until `release`.

    Args:
        database: where they are.
        holder: who needs them, as a message should name it: a job's id.
        versions: ids `ver_…`.
        files: ids `file-…`.

    Raises:
        InputError: one of them is not there.
    """
    rows = [{"holder": holder, "version_id": each, "file_id": None} for each in versions]
    rows += [{"holder": holder, "version_id": None, "file_id": each} for each in files]
    if not rows:
        return
    try:
        with database.begin() as connection:
            connection.execute(USES.insert(), rows)
    except sa.exc.IntegrityError:
        raise InputError(f"{holder}: one of {', '.join([*versions, *files])} is not there") from None


def keep(connection: sa.Connection, holder: str, versions: Sequence[str]) -> None:
    """`hold` within a transaction that has just found the versions."""
    if versions:
        connection.execute(
            USES.insert(), [{"holder": holder, "version_id": each, "file_id": None} for each in versions]
        )


def release(database: Database, holder: str) -> None:
    """Let everything go that `holder` held."""
    with database.begin() as connection:
        connection.execute(USES.delete().where(USES.c.holder == holder))


def release_ended(database: Database) -> None:
    """Let go of what jobs held that are over; one that failed and is resumed later may miss its input then."""
    over = sa.select(JOBS.c.id).where(JOBS.c.state.in_(ENDED))
    with database.begin() as connection:
        connection.execute(USES.delete().where(USES.c.holder.in_(over)))


def holders(database: Database, version_id: str | None = None, file_id: str | None = None) -> list[str]:
    """Who holds a version or a file."""
    column, value = (USES.c.version_id, version_id) if version_id is not None else (USES.c.file_id, file_id)
    with database.begin() as connection:
        query = sa.select(USES.c.holder).where(column == value).distinct().order_by(USES.c.holder)
        return list(connection.execute(query).scalars())


def versions_of(database: Database, holder: str) -> list[str]:
    """Ids of the versions that `holder` holds."""
    query = sa.select(USES.c.version_id).where(USES.c.holder == holder, USES.c.version_id.is_not(None))
    with database.begin() as connection:
        return list(connection.execute(query.order_by(USES.c.id)).scalars())
