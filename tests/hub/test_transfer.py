"""A model version as a folder: what goes out comes in, and what changed on the way is refused."""

import json
from pathlib import Path

import pytest
from support_disk import SmallDisk

from loglore.errors import InputError
from loglore.hub import collect, models, transfer
from loglore.store import versions
from loglore.store.database import Database, open_database


@pytest.fixture
def exported(database: Database, folder: Path, tmp_path: Path) -> Path:
    return export(database, folder, tmp_path)


@pytest.fixture
def once(sqlite_database: Database, folder: Path, tmp_path: Path) -> tuple[Database, Path]:
    """As `exported`, where the kind of database does not matter."""
    return sqlite_database, export(sqlite_database, folder, tmp_path)


def export(database: Database, folder: Path, tmp_path: Path) -> Path:
    (folder / "deep").mkdir()
    (folder / "deep" / "tokenizer.json").write_text("{}")
    models.add("base", folder, {}, database)
    (folder / "extra.txt").write_text("x")
    models.add("tuned", folder, {"run": 7}, database, parents=["model:base"], licence="MIT", card="about")
    models.tag("tuned", "production", database)
    transfer.export(database, "tuned", tmp_path / "out")
    return tmp_path / "out"


def test_what_goes_out_comes_in_again(database: Database, exported: Path, tmp_path: Path, either_storage: str) -> None:
    before = models.find("tuned", database).row
    same = transfer.take(database, exported)
    assert same == before, "the same content is the same version"
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    made = transfer.take(other, exported)
    assert (made.reference, made.digest, made.facts, made.card) == ("tuned@1", before.digest, before.facts, "about")
    assert made.tags == ("production",)
    assert made.parents == (), "this hub has no such base"
    assert {path: each.sha256 for path, each in versions.manifest(other, made.id).items()} == {
        path: each.sha256 for path, each in versions.manifest(database, before.id).items()
    }
    assert (models.resolve("tuned", other) / "deep" / "tokenizer.json").read_text() == "{}"
    renamed = transfer.take(database, exported, "copy")
    assert renamed.parents == before.parents
    # The folder stays the user's.
    (exported / "config.json").write_text("edited in place")
    assert (models.resolve("copy", database) / "config.json").read_text() == "{}"
    other.close()


def edit(exported: Path, key: str, value: object) -> None:
    note = json.loads((exported / "version.json").read_text())
    (exported / "version.json").write_text(json.dumps({**note, key: value}))


def test_what_changed_on_the_way_is_refused(database: Database, exported: Path, tmp_path: Path) -> None:
    sizes = len(versions.versions(database, "model"))

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match):
            transfer.take(database, exported, "again")
        assert len(versions.versions(database, "model")) == sizes
        assert collect.collect(database).objects == 0

    (exported / "model.safetensors").write_bytes(b"WEIGHTS")
    refused(r"model\.safetensors: its content is not what version\.json says")
    (exported / "model.safetensors").unlink()
    refused(r"model\.safetensors: listed in version\.json and not there")
    (tmp_path / "secret").write_bytes(b"weights")
    (exported / "model.safetensors").symlink_to(tmp_path / "secret")
    refused("a symbolic link")
    (exported / "model.safetensors").unlink()
    (exported / "model.safetensors").write_bytes(b"weights")
    (exported / "more.bin").touch()
    refused(r"more\.bin: not listed")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "deep/../../secret"])
def test_files_outside_the_folder_are_not_read(once: tuple[Database, Path], name: str) -> None:
    database, exported = once
    (exported.parent / "secret").write_text("secret")
    edit(exported, "files", {name: {"sha256": "0" * 64, "bytes": 1}})
    for path in exported.iterdir():
        if path.name != "version.json":
            path.rename(exported.parent / f"away-{path.name}")
    with pytest.raises(InputError, match="points outside the folder"):
        transfer.take(database, exported)


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", 2), ("kind", "dataset"), ("name", 3), ("files", []), ("files", {}), ("parents", ["x"])],
)
def test_notes_of_another_kind(once: tuple[Database, Path], key: str, value: object) -> None:
    database, exported = once
    edit(exported, key, value)
    with pytest.raises(InputError, match=r"version\.json|not listed"):
        transfer.take(database, exported)


def test_targets_that_are_there_and_folders_that_are_not(database: Database, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists; expected a new folder"):
        transfer.export(database, "tuned", exported)
    with pytest.raises(InputError, match=r"version\.json: no such file"):
        transfer.take(database, tmp_path)
    with pytest.raises(InputError, match="model 'none'"):
        transfer.export(database, "none", tmp_path / "new")


SMALL = """
import sys
from pathlib import Path
from loglore.errors import DiskFullError
from loglore.hub import transfer
from loglore.store.database import open_database
target = Path(sys.argv[1]) / "out"
try:
    transfer.export(open_database(), "big", target)
except DiskFullError as fault:
    print(fault.missing, list(Path(sys.argv[1]).iterdir()))
"""


def test_an_export_that_does_not_fit_leaves_nothing(folder: Path, small_disk: SmallDisk) -> None:
    import sys

    (folder / "model.safetensors").write_bytes(bytes(2_000_000))
    models.add("big", folder, {})
    missing, left = small_disk("1m", sys.executable, "-c", SMALL).split(" ", 1)
    assert 900_000 < int(missing) < 2_000_002
    assert left.strip() == "[]"
