"""Collection: what is referred to stays, whoever refers to it and however many collect; the rest goes."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loglore.errors import InputError, JobError
from loglore.hub import collect, datasets, files, models
from loglore.store import uses, versions
from loglore.store.database import Database, open_database
from loglore.store.objects import HOLDS, OBJECTS, holding
from loglore.store.storage import storage

Rows = Callable[..., Path]


def test_what_nothing_refers_to_goes_and_the_rest_stays(
    database: Database, either_storage: str, rows: Rows, folder: Path
) -> None:
    kept = models.add("kept", folder, {}, database)
    gone = datasets.add(database, "gone", rows("one"))
    shared = datasets.add(database, "shared", rows("two"))
    datasets.add(database, "again", rows("two"))
    stored = files.add(database, io.BytesIO(b"abc"), "a", "evals")
    assert collect.collect(database).objects == 0
    datasets.delete(database, gone.reference)
    datasets.delete(database, shared.reference)
    collected = collect.collect(database)
    assert (collected.objects, collected.bytes) == (1, gone.bytes)
    assert collect.verify(database) == 4
    assert datasets.materialise(database, "again").read_text() == rows("two").read_text()
    with files.open_file(database, stored.id) as stream:
        assert stream.read() == b"abc"
    assert models.resolve(kept.name, database).is_dir()
    assert collect.collect(database).objects == 0


def test_what_a_job_needs_is_neither_deleted_nor_collected(database: Database, rows: Rows) -> None:
    made = datasets.add(database, "input", rows("one"))
    stored = files.add(database, [b"abc"], "a", "fine-tune", expires_after=100.0)
    uses.hold(database, "ftjob-1", versions=[made.id], files=[stored.id])
    with pytest.raises(InputError, match="dataset input@1: not deleted, ftjob-1 depends on it"):
        datasets.delete(database, "input")
    with pytest.raises(InputError, match=f"file {stored.id}: not deleted, ftjob-1 depends on it"):
        files.delete(database, stored.id)
    with database.begin() as connection:
        connection.execute(files.rows.STORED_FILES.update().values(expires=1.0))
    assert collect.collect(database).objects == 0
    uses.release(database, "ftjob-1")
    datasets.delete(database, "input")
    assert collect.collect(database).objects == 2
    with pytest.raises(InputError, match="ftjob-2: one of ver_none is not there"):
        uses.hold(database, "ftjob-2", versions=["ver_none"])


def test_what_is_being_put_is_held_until_it_is_referred_to(database: Database, rows: Rows) -> None:
    place = storage()
    with holding(database, place) as holder:
        found = holder.put_file(rows("one"), False)
        assert collect.collect(database).objects == 0
        assert place.exists(found.sha256)
        # A holder that was killed a day ago holds nothing.
        with database.begin() as connection:
            connection.execute(HOLDS.update().values(until=time.time() - 1))
        assert collect.collect(database).objects == 1
        assert not place.exists(found.sha256)


def test_what_was_collected_is_put_anew(database: Database, rows: Rows) -> None:
    for _ in range(2):
        made = datasets.add(database, "logs", rows("one"))
        assert collect.verify(database) == 1
        datasets.delete(database, made.reference)
        collect.collect(database)
        assert collect.verify(database) == 0


def test_a_row_without_bytes_is_filled_or_removed(database: Database, rows: Rows) -> None:
    """What a collector leaves that is killed between its two deletions; or a putter, between its two writes."""
    place = storage()
    with holding(database, place) as holder:
        found = holder.put_file(rows("one"), False)
    place.delete(found.sha256)
    made = datasets.add(database, "logs", rows("one"))
    assert collect.verify(database) == 1
    datasets.delete(database, made.reference)
    place.delete(found.sha256)
    assert collect.collect(database).objects == 1


def test_verify_names_what_is_damaged_or_missing(database: Database, rows: Rows, home: Path) -> None:
    made = datasets.add(database, "logs", rows("one"))
    (wanted,) = versions.manifest(database, made.id).values()
    (path,) = home.glob("storage/objects/*/*")
    path.write_text("edited in place")
    with pytest.raises(JobError, match=f"object {wanted.sha256} is damaged"):
        collect.verify(database)
    path.unlink()
    with pytest.raises(JobError, match=f"object {wanted.sha256} is missing"):
        collect.verify(database)


def test_leftovers_of_this_machine_go(database: Database, rows: Rows, home: Path, folder: Path) -> None:
    models.add("gone", folder, {}, database)
    kept = models.add("kept", folder, {}, database)
    stored = files.add(database, [b"abc"], "a", "evals")
    files.local_path(database, stored.id)
    old, new = home / "storage" / "incoming" / "old", home / "storage" / "incoming" / "new"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (1.0, 1.0))
    with database.begin() as connection:  # as another machine would
        connection.execute(versions.VERSIONS.delete().where(versions.VERSIONS.c.name == "gone"))
        connection.execute(files.rows.STORED_FILES.delete())
    assert collect.collect(database).leftovers == 3
    assert (new.exists(), old.exists(), (home / "models" / "gone" / "1").exists()) == (True, False, False)
    assert not list(home.glob("files/*"))
    assert kept.path.is_dir()


# Adds, deletes and collects the same few contents as its neighbours do, and looks at each that it has.
BUSY = """
import random, sys
from pathlib import Path
from loglore.errors import InputError
from loglore.hub import collect, datasets
from loglore.store.database import open_database
me, folder = sys.argv[1], Path(sys.argv[2])
database, choice = open_database(), random.Random(me)
for turn in range(25):
    path = folder / f"{choice.randrange(3)}.jsonl"
    made = datasets.add(database, me, path)
    collect.collect(database)
    assert datasets.materialise(database, made.reference).read_bytes() == path.read_bytes()
    if choice.random() < 0.7:
        datasets.delete(database, made.reference)
        collect.collect(database)
"""


def test_several_that_add_delete_and_collect_lose_nothing(
    either_database: str, home: Path, rows: Rows, tmp_path: Path
) -> None:
    for number in range(3):
        rows(str(number), name=f"{number}.jsonl")
    open_database().close()
    command = [sys.executable, "-c", BUSY]
    started = [subprocess.Popen([*command, name, str(tmp_path)]) for name in ("one", "two", "three")]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    with open_database() as database:
        collect.collect(database)
        with database.begin() as connection:
            count = len(connection.execute(OBJECTS.select()).all())
        used = {
            each.sha256
            for version in datasets.datasets(database)
            for each in versions.manifest(database, version.id).values()
        }
        assert collect.verify(database) == count == len(used)
        assert {path.name for path in home.glob("storage/objects/*/*")} == used
