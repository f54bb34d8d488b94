"""The database file: made, migrated, shared, refused."""

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from loglore.errors import InputError, JobError
from loglore.store import keys
from loglore.store.database import MIGRATIONS, Database, open_database
from loglore.store.schema import HEAD, METADATA


def test_migrations_end_in_the_tables_that_the_code_reads(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD
    made = set(sa.inspect(database.engine).get_table_names()) - {"alembic_version"}
    assert made == {table.name for table in METADATA.sorted_tables}


def test_the_file_is_its_owners_alone_and_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "loglore.db"
    opened = open_database(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with opened.begin() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA foreign_keys")).scalar() == 1
    opened.close()


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    first = open_database(url)
    made, _ = keys.create(first, "ci", ["chat"], 10.0)
    first.close()
    assert keys.keys(open_database(url)) == [made]


OPEN = """
import sys
from loglore.store import keys
from loglore.store.database import open_database
keys.create(open_database(sys.argv[1]), "x", ["chat"], 1.0)
"""


def test_several_processes_may_make_it_at_the_same_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    made = [subprocess.Popen([sys.executable, "-c", OPEN, url]) for _ in range(4)]
    assert [process.wait(60) for process in made] == [0] * 4
    assert len(keys.keys(open_database(url))) == 4


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    open_database(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    with pytest.raises(InputError, match=rf"revision 9999 is of a newer LogLore; this one knows {HEAD}"):
        open_database(f"sqlite:///{path}")


@pytest.mark.parametrize("url", ["nonsense", "nosuchdb://x/y", "postgresql+nosuchdriver://x/y"])
def test_impossible_urls_are_one_line(url: str) -> None:
    with pytest.raises(InputError, match="LOGLORE_DATABASE") as fault:
        open_database(url)
    assert "\n" not in str(fault.value)


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_text("this is no database, but long enough to be looked at" * 20)
    with pytest.raises(InputError, match="not a database"):
        open_database(f"sqlite:///{path}")


def test_a_locked_database_is_a_failed_job(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = sqlite3.connect(str(database.engine.url.database))
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(JobError, match="database is locked"), database.begin() as connection:
        connection.execute(sa.text("PRAGMA busy_timeout = 1"))
        connection.execute(sa.text("delete from keys"))
    holder.close()


def test_a_fault_rolls_back(database: Database) -> None:
    keys.create(database, "kept", ["chat"], 1.0)
    with pytest.raises(RuntimeError), database.begin() as connection:
        connection.execute(sa.text("delete from keys"))
        raise RuntimeError
    assert len(keys.keys(database)) == 1
