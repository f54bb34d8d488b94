"""Secrets in the database: sealed with a key beside it, brought over from clear text, never lost by accident."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from cryptography.fernet import Fernet

from loglore.errors import InputError
from loglore.store import connections, sealing
from loglore.store.connections import SECRETS, Secret
from loglore.store.database import MIGRATIONS, Database, open_database

HIDDEN = "hidden-secret-of-the-test"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LOGLORE_SECRET_KEY", raising=False)
    return tmp_path / "home"


def add(database: Database, name: str = "lake") -> connections.Connection:
    return connections.add(database, name, "logs", "AKIA", Secret(HIDDEN))


def test_the_key_is_its_owners_alone_and_opens_what_it_sealed(database: Database, home: Path) -> None:
    made = add(database)
    assert stat.S_IMODE((home / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["secret.key"]
    assert connections.secret(database, made.id).value == HIDDEN
    with database.begin() as connection:
        (row,) = connection.execute(SECRETS.select())
    # By the library alone, without a line of ours.
    assert Fernet((home / "secret.key").read_text().strip()).decrypt(row.sealed) == HIDDEN.encode()


def test_without_the_key_or_with_another_one_nothing_is_opened_and_nothing_added(
    database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = add(database)
    own = (home / "secret.key").read_text()
    (home / "secret.key").unlink()
    for attempt in (lambda: connections.secret(database, made.id), lambda: add(database, "pond")):
        with pytest.raises(InputError, match=r"secret\.key is missing; bring it here, or set LOGLORE_SECRET_KEY"):
            attempt()
        for other, said in (
            (Fernet.generate_key().decode(), "not the key that secrets"),
            ("short", "no key; expected"),
        ):
            monkeypatch.setenv("LOGLORE_SECRET_KEY", other)
            with pytest.raises(InputError, match=f"LOGLORE_SECRET_KEY: {said}") as fault:
                attempt()
            assert other not in str(fault.value) and "\n" not in str(fault.value)
        monkeypatch.delenv("LOGLORE_SECRET_KEY")
    assert [each.name for each in connections.connections(database)] == ["lake"]
    # No key was made that would have hidden the loss.
    assert not (home / "secret.key").exists()
    monkeypatch.setenv("LOGLORE_SECRET_KEY", own)
    assert connections.secret(database, made.id).value == HIDDEN


def test_a_new_key_in_front_takes_over(sqlite_database: Database, home: Path) -> None:
    made = add(sqlite_database)
    key = home / "secret.key"
    new = Fernet.generate_key().decode()
    key.write_text(f"{new}\n{key.read_text()}")
    assert connections.reseal(sqlite_database) == 1
    key.write_text(new)
    assert connections.secret(sqlite_database, made.id).value == HIDDEN
    key.write_text(Fernet.generate_key().decode())
    with pytest.raises(InputError, match="not the key"):
        connections.reseal(sqlite_database)


MAKE = "from loglore.store import sealing; sealing.make_key(); print(sealing.opened(sealing.seal('x')))"


def test_processes_that_start_at_the_same_time_make_one_key(home: Path) -> None:
    made = [subprocess.Popen([sys.executable, "-c", MAKE]) for _ in range(3)]
    assert [each.wait(60) for each in made] == [0] * 3
    assert [path.name for path in home.iterdir()] == ["secret.key"]
    assert not sealing.make_key()


def back_before_sealing(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    known = ScriptDirectory.from_config(config).walk_revisions()
    (revision,) = (str(each.down_revision) for each in known if "sealed_secrets" in each.path)
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()


def test_secrets_in_clear_are_sealed_when_the_database_is_opened(
    database: Database, database_url: str, home: Path
) -> None:
    made = add(database)
    back_before_sealing(database)
    with database.begin() as connection:
        assert connection.execute(sa.text("select secret from connection_secrets")).scalar() == HIDDEN
    database.close()
    (home / "secret.key").unlink()
    with open_database(database_url) as again:
        assert connections.secret(again, made.id).value == HIDDEN
        assert connections.find(again, "lake") == made
        if again.engine.dialect.name == "sqlite":
            path = Path(str(again.engine.url.database))
            stored = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
            assert made.id.encode() in stored
            assert HIDDEN.encode() not in stored
        connections.remove(again, "lake")
        with again.begin() as connection:
            assert connection.execute(SECRETS.select()).all() == []
