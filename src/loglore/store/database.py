"""Open the database: connect, bring its tables up to date, hand out transactions."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from loglore.errors import DiskFullError, InputError, JobError, UnavailableError
from loglore.settings import load
from loglore.store.schema import HEAD

BUSY_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5
# What a database asks the disk for at a time, on SQLite; PostgreSQL asks for two.
PAGE = 4096
# Of PostgreSQL's advisory locks the one that is held while tables are made or changed.
MIGRATION_LOCK = 0x106106E
MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Database:
    """An open database; threads may share it."""

    engine: sa.Engine

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end, rolled back by an exception.

        Raises:
            InputError: a text or a number that no column can hold (a NUL character, half a surrogate pair, 10**30).
            UnavailableError: the database is locked, down or gone; the next call connects anew.
            DiskFullError: no room for what is to be written.
            JobError: it fails in another way.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError) as fault:
            raise _error(self.engine.url, fault) from None
        except (sa.exc.DataError, UnicodeEncodeError, OverflowError) as fault:
            raise InputError(f"what the database cannot hold: {' '.join(str(fault).splitlines()[:1])}") from None

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that reads what it then writes: on SQLite no other writes from its beginning.

        On PostgreSQL rows that must not change meanwhile are locked by the statements themselves.
        Raises as `begin`.
        """
        with self.begin() as connection:
            if self.engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_database(url: str | None = None) -> Database:
    """Open the database at an SQLAlchemy `url` (default: the settings') and bring its tables up to date.

    Two processes may open a new database at the same time: the second waits for the first one's migration.

    Raises:
        InputError: an impossible URL, a missing driver, no database, or one written by a newer version of LogLore.
        UnavailableError: it is locked by another process, or its server does not answer.
    """
    try:
        parsed = sa.make_url(url or load().database)
        engine = _engine(parsed)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as fault:
        raise InputError(f"LOGLORE_DATABASE: {fault}; expected a URL such as sqlite:////var/lib/loglore.db") from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"LOGLORE_DATABASE: {parsed.drivername}: expected SQLite or PostgreSQL")
    if parsed.get_backend_name() == "sqlite":
        _prepare_sqlite(engine)
    try:
        _migrate(engine)
    except sa.exc.OperationalError as fault:
        engine.dispose()
        raise _error(parsed, fault) from None
    except sa.exc.DBAPIError as fault:
        engine.dispose()
        raise InputError(f"database {shown(parsed)}: {_one_line(fault)}") from None
    except InputError:
        engine.dispose()
        raise
    return Database(engine)


def shown(url: sa.URL) -> str:
    """The URL as messages show it: without its password."""
    return url.render_as_string(hide_password=True)


def insert_if_new(connection: sa.Connection, table: sa.Table, values: Mapping[str, Any]) -> bool:
    """Insert a row unless one with its key is there, waiting for who deletes that one; whether it was inserted."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = insert(table).values(values).on_conflict_do_nothing().returning(*table.primary_key)
    return connection.execute(statement).first() is not None


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        return sa.create_engine(url)
    # A connection that a restarted server cut is found out and replaced before it is used.
    timeout = {"connect_timeout": CONNECT_TIMEOUT_S} if url.get_backend_name() == "postgresql" else {}
    return sa.create_engine(url, pool_pre_ping=True, connect_args=timeout)


def _error(url: sa.URL, fault: sa.exc.DBAPIError) -> JobError:
    """What a fault of the driver means to the caller, naming the database without its password."""
    text = f"database {shown(url)}: {_one_line(fault)}"
    # SQLite's words; PostgreSQL's class 53100.
    if "disk is full" in text or getattr(fault.orig, "sqlstate", None) == "53100":
        return DiskFullError(f"{text}: at least {PAGE:,} bytes are missing", PAGE)
    if url.get_backend_name() == "sqlite":
        away = any(words in text for words in ("is locked", "is busy", "unable to open", "disk I/O error"))
    else:
        away = isinstance(fault, sa.exc.OperationalError | sa.exc.InterfaceError)
    return UnavailableError(text) if away else JobError(text)


def _one_line(fault: sa.exc.DBAPIError) -> str:
    return " ".join(str(fault.orig).split())


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
        # Holds off a second process until this one is done, which then finds nothing left to do.
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        if _revision(connection) != HEAD:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        connection.commit()
        if engine.dialect.name == "sqlite":
            # What a migration replaced (secrets in clear) does not stay in the write-ahead log.
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(sa.text("select version_num from alembic_version")).scalar()
    return None if found is None else str(found)
