"""Open the database: connect, bring its tables up to date, hand out transactions."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from loglore.errors import InputError, JobError
from loglore.settings import load
from loglore.store.schema import HEAD

BUSY_TIMEOUT_S = 10.0
MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Database:
    """An open database; threads may share it."""

    engine: sa.Engine

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end, rolled back by an exception.

        Raises:
            JobError: the database is locked, full or gone.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except sa.exc.OperationalError as fault:
            raise JobError(f"database {shown(self.engine.url)}: {fault.orig}") from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str | None = None) -> Database:
    """Open the database at an SQLAlchemy `url` (default: the settings') and bring its tables up to date.

    Two processes may open a new database at the same time: the second waits for the first one's migration.

    Raises:
        InputError: an impossible URL, a missing driver, no database, or one written by a newer version of LogLore.
        JobError: it is locked by another process.
    """
    try:
        parsed = sa.make_url(url or load().database)
        engine = sa.create_engine(parsed, pool_pre_ping=not parsed.drivername.startswith("sqlite"))
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as fault:
        raise InputError(f"LOGLORE_DATABASE: {fault}; expected a URL such as sqlite:////var/lib/loglore.db") from None
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(engine)
    try:
        _migrate(engine)
    except sa.exc.DBAPIError as fault:
        engine.dispose()
        raise InputError(f"database {shown(parsed)}: {fault.orig}") from None
    except InputError:
        engine.dispose()
        raise
    return Database(engine)


def shown(url: sa.URL) -> str:
    """The URL as messages show it: without its password."""
    return url.render_as_string(hide_password=True)


def _prepare_sqlite(engine: sa.Engine) -> None:
    """Write-ahead log, waiting for writers, foreign keys; the file is its owner's alone, as it holds conversations."""
    if name := engine.url.database:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()


def _migrate(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        found = _revision(connection)
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise InputError(f"database {shown(engine.url)}: revision {found} is of a newer LogLore; this one knows {HEAD}")
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Holds off a second process until this one is done, which then finds nothing left to do.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("select version_num from alembic_version")).scalar()
    return None if found is None else str(found)
