"""The database file: made, migrated, shared, refused."""

import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from support_disk import SmallDisk
from support_postgresql import Cluster, cluster

from loglore.errors import InputError, UnavailableError
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
import tempfile
from loglore.store import keys
from loglore.store.database import open_database
keys.create(open_database(sys.argv[1]), "x", ["chat"], 1.0)
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_several_processes_may_make_it_at_the_same_time(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    if kind == "postgresql":
        server: Cluster = request.getfixturevalue("postgresql")
        server.execute("create database untouched")
        url = server.url("untouched")
    made = [subprocess.Popen([sys.executable, "-c", OPEN, url]) for _ in range(4)]
    assert [process.wait(60) for process in made] == [0] * 4
    assert len(keys.keys(open_database(url))) == 4


def test_a_newer_database_is_refused(database: Database, database_url: str) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(InputError, match=rf"revision 9999 is of a newer LogLore; this one knows {HEAD}"):
        open_database(database_url)


def test_a_database_of_the_version_before_is_brought_up_to_date_with_its_rows(database_url: str) -> None:
    database = open_database(database_url)
    made, _ = keys.create(database, "kept", ["chat"], 1.0)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        connection.commit()
    assert "versions" not in sa.inspect(database.engine).get_table_names()
    database.close()
    again = open_database(database_url)
    assert keys.keys(again) == [made]
    assert "versions" in sa.inspect(again.engine).get_table_names()
    again.close()


def test_a_server_that_goes_away_is_named_and_found_again_when_it_is_back() -> None:
    with tempfile.TemporaryDirectory() as place, cluster(Path(place)) as server:
        url = server.url().replace("loglore@", "loglore:hidden@")
        database = open_database(url)
        made, _ = keys.create(database, "kept", ["chat"], 1.0)
        server.stop()
        for attempt in (lambda: keys.keys(database), lambda: open_database(url)):
            with pytest.raises(UnavailableError, match=f"127.0.0.1:{server.port}") as fault:
                attempt()
            assert "hidden" not in str(fault.value) and "\n" not in str(fault.value)
        server.start()
        assert keys.keys(database) == [made]
        database.close()


FULL = """
import sys
import tempfile
from loglore.errors import DiskFullError
from loglore.store import keys
from loglore.store.database import open_database
database = open_database(f"sqlite:///{sys.argv[1]}/small.db")
try:
    while True:
        keys.create(database, "x" * 200, ["chat"], 1.0)
except DiskFullError as fault:
    print(len(keys.keys(database)), fault.missing, fault)
"""


def test_a_full_disk_is_told_by_its_kind_and_what_was_there_stays(tmp_path: Path, small_disk: SmallDisk) -> None:
    done = small_disk("1m", sys.executable, "-c", FULL)
    kept, missing, said = done.split(" ", 2)
    assert int(kept) > 10 and int(missing) == 4096
    assert "small.db" in said and "disk is full: at least 4,096 bytes are missing" in said


@pytest.mark.parametrize("url", ["mysql+pymysql://x/y", "mssql+pyodbc://x/y"])
def test_databases_that_it_was_not_tested_with_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="LOGLORE_DATABASE"):
        open_database(url)


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


def test_a_locked_database_is_told_as_one_that_may_be_free_later(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'locked.db'}")
    holder = sqlite3.connect(str(database.engine.url.database))
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="database is locked"), database.begin() as connection:
        connection.execute(sa.text("PRAGMA busy_timeout = 1"))
        connection.execute(sa.text("delete from keys"))
    holder.close()
    database.close()


def test_a_fault_rolls_back(database: Database) -> None:
    keys.create(database, "kept", ["chat"], 1.0)
    with pytest.raises(RuntimeError), database.begin() as connection:
        connection.execute(sa.text("delete from keys"))
        raise RuntimeError
    assert len(keys.keys(database)) == 1


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_texts_that_no_column_holds_are_bad_input(database: Database, name: str) -> None:
    with pytest.raises(InputError, match=r"what the database cannot hold|no such id"):  # SQLite holds a NUL
        keys.find(database, name)
