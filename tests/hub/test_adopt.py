"""The hub of folders that versions before the database wrote is taken in, once, whole, whatever interrupts."""

import json
from pathlib import Path

import pytest

from loglore.hub import adopt, collect, models
from loglore.store.database import open_database

pytestmark = pytest.mark.usefixtures("either_database")


def old_version(home: Path, name: str, number: int, weights: str) -> Path:
    """As `hub.models.add` wrote it: files and a card, no id."""
    folder = home / "models" / name / str(number)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    (folder / "README.md").write_text(f"about {name}")
    card = {
        "name": name,
        "version": number,
        "created": f"2026-11-2{number}T10:00:00.000000+00:00",
        "sha256": "of another way",
        "bytes": 3,
        "lineage": {"base": weights},
    }
    (folder / "model.json").write_text(json.dumps(card))
    return folder


def test_it_is_taken_in_as_it_was(home: Path) -> None:
    second = old_version(home, "tuned", 3, "three")
    old_version(home, "tuned", 1, "one")
    old_version(home, "zzz", 2, "one")
    (home / "models" / "tuned" / ".used-5").touch()
    found = models.models()
    assert [(each.name, each.version) for each in found] == [("tuned", 1), ("tuned", 3), ("zzz", 2)]
    assert found[1].path == second
    assert found[1].card["lineage"] == {"base": "three"}
    assert found[1].card["created"] == "2026-11-23T10:00:00.000000+00:00"
    assert found[1].row.card == "about tuned"
    assert json.loads((second / "model.json").read_text())["id"] == found[1].row.id
    assert models.newest() == "tuned@3"
    # Nothing was copied: equal files of two names are one object now, and the folder's own files are links to objects.
    assert (second / "model.safetensors").stat().st_nlink == 2
    with open_database() as database:
        assert collect.collect(database).objects == 0
        assert collect.verify(database) == 5
    models.delete("tuned@3")
    (home / "new").mkdir()
    (home / "new" / "config.json").write_text("new")
    assert models.add("tuned", home / "new", {}).version == 6, "the number of a deleted version is not given again"


def test_it_is_done_once(home: Path) -> None:
    old_version(home, "tuned", 1, "one")
    first = models.models()
    late = old_version(home, "late", 1, "two")
    assert models.models() == first
    assert late.exists()


def test_interrupted_it_goes_on(home: Path) -> None:
    old_version(home, "tuned", 1, "one")
    second = old_version(home, "tuned", 2, "two")
    card = (second / "model.json").read_text()
    first = models.models()
    # Killed after the rows were written, before the folder's card and the mark were.
    (second / "model.json").write_text(card)
    (home / "models" / adopt.DONE).unlink()
    assert models.models() == first
    assert json.loads((second / "model.json").read_text())["id"] == first[1].row.id
