"""A version's bytes: into storage and back to a folder, of this machine or of S3, interrupted or by several at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from support_disk import SmallDisk

from loglore.errors import InputError, JobError
from loglore.hub import collect, contents, models
from loglore.runs import fingerprint
from loglore.store import versions
from loglore.store.database import Database, open_database
from loglore.store.storage import storage


def test_the_digest_is_the_folders_fingerprint(database: Database, folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "a.json").write_text("[]")
    (folder / ".hidden").touch()
    assert models.add("tuned", folder, {}, database).row.digest == fingerprint.of_path(folder)


def test_a_model_on_s3_is_fetched_when_it_is_needed(database: Database, either_storage: str, folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "weights.bin").write_bytes(bytes(100_000))
    made = models.add("tuned", folder, {"run": 1}, database)
    before = fingerprint.of_path(made.path)
    contents.discard(made.row)
    assert not models.find("tuned", database).path.exists()
    assert models.resolve("tuned", database) == made.path
    assert fingerprint.of_path(made.path) == before
    assert collect.verify(database) == 3


def test_what_was_fetched_before_an_interruption_is_not_fetched_again(
    database: Database, folder: Path, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_STORAGE", f"s3://{s3_bucket}")
    made = models.add("tuned", folder, {}, database)
    contents.discard(made.row)
    manifest = versions.manifest(database, made.row.id)
    place, last = storage(), manifest["model.safetensors"]
    place.delete(last.sha256)
    with pytest.raises(JobError, match=f"object {last.sha256} is missing"):
        models.resolve("tuned", database)
    place.delete(manifest["config.json"].sha256)
    place.put(folder / "model.safetensors", last.sha256, False)
    # The first file is in storage no more, and need not be.
    assert {path.name for path in models.resolve("tuned", database).iterdir()} == {*manifest, "model.json"}


def test_a_users_folder_in_the_way_is_left_alone(sqlite_database: Database, folder: Path, home: Path) -> None:
    theirs = home / "models" / "tuned" / "1"
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("mine")
    made = models.add("tuned", folder, {}, sqlite_database)
    assert (made.path / "config.json").exists() and made.path != theirs
    models.delete("tuned", sqlite_database)
    assert not made.path.exists()
    assert (theirs / "notes.txt").read_text() == "mine"


RESOLVE = "import sys; from loglore.hub import models; print(models.resolve(sys.argv[1]))"


def test_several_processes_may_fetch_the_same_at_once(either_database: str, folder: Path) -> None:
    made = models.add("tuned", folder, {})
    contents.discard(made.row)
    command = [sys.executable, "-c", RESOLVE, "tuned"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate(timeout=60)[0].strip() for process in started} == {str(made.path)}
    assert not list(made.path.parent.glob(".*.partial"))


def test_names_that_cannot_be_kept(sqlite_database: Database, folder: Path) -> None:
    (folder / "new\nline").touch()
    with pytest.raises(InputError, match="file name 'new"):
        models.add("tuned", folder, {}, sqlite_database)


SMALL = """
import sys
from pathlib import Path
from loglore.errors import DiskFullError
from loglore.hub import collect, models
from loglore.store.database import open_database
models.add("fits", Path(sys.argv[1]), {})
try:
    models.add("big", Path(sys.argv[2]), {})
except DiskFullError as fault:
    print(fault.missing, fault)
with open_database() as database:
    print([each.name for each in models.models(database)], collect.collect(database).objects, collect.verify(database))
print(sum(path.stat().st_size for path in Path(sys.argv[3]).rglob("*") if path.is_file()))
"""


def test_a_model_that_does_not_fit_is_not_half_there(tmp_path: Path, folder: Path, small_disk: SmallDisk) -> None:
    big = tmp_path / "big"
    big.mkdir()
    (big / "config.json").write_text("{}")
    (big / "model.safetensors").write_bytes(bytes(3_000_000))
    command = (sys.executable, "-c", SMALL, str(folder), str(big))
    fault, there, left = small_disk("2m", *command, LOGLORE_STORAGE=str(tmp_path / "small-disk")).splitlines()
    missing = int(fault.split()[0])
    assert 900_000 < missing < 1_100_000 and f"{missing:,} are missing" in fault
    assert there == "['fits'] 1 2", "what the big one left in the database is collected"
    assert int(left) == 9


FETCH = """
import sys
from pathlib import Path
from loglore.errors import DiskFullError
from loglore.hub import models
from loglore.store.database import open_database
with open_database(sys.argv[1]) as database:
    try:
        models.resolve("big", database)
    except DiskFullError as fault:
        print(fault.missing, fault)
print([path.name for path in Path(sys.argv[2]).rglob("*") if path.is_file() and path.stat().st_size])
"""


def test_a_version_that_does_not_fit_when_it_is_fetched_is_told(
    sqlite_database: Database,
    folder: Path,
    s3_bucket: str,
    tmp_path: Path,
    small_disk: SmallDisk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGLORE_STORAGE", f"s3://{s3_bucket}")
    (folder / "model.safetensors").write_bytes(bytes(3_000_000))
    made = models.add("big", folder, {}, sqlite_database)
    url = sqlite_database.engine.url.render_as_string()
    command = (sys.executable, "-c", FETCH, url)
    fault, there = small_disk("2m", *command, LOGLORE_HOME=str(tmp_path / "small-disk")).splitlines()
    assert 900_000 < int(fault.split()[0]) < 1_100_000 and "are missing" in fault
    assert there == "['config.json']", "what was whole stays for the next try, nothing is half there"
    assert models.resolve("big", sqlite_database) == made.path


def test_opening_closes(either_database: str, folder: Path) -> None:
    """A function that opens the settings' database itself leaves no connection behind."""
    models.add("tuned", folder, {})
    with open_database() as database:
        for _ in range(20):
            models.newest()
        if database.engine.dialect.name == "postgresql":
            with database.begin() as connection:
                query = "select count(*) from pg_stat_activity where datname = current_database()"
                assert connection.exec_driver_sql(query).scalar() == 1
