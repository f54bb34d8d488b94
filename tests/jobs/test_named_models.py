"""A spec's `model` may be a path, a version of our hub, or a model of the Hugging Face hub (here: its local cache)."""

import shutil
from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.hub import models
from loglore.jobs import recipes
from loglore.jobs.names import of_hugging_face
from loglore.jobs.queue import submit
from loglore.jobs.recipes import Job, Recipe
from loglore.models.load import load_model
from loglore.store.database import Database

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def resolved(name: str) -> Path:
    job = Job("sft", "train", {"stage": "sft", "model": name, "train": "a", "hyperparameters": "h"}, None, {})
    return Path(recipes.resolve(job, Recipe("r", Path("r.yaml"), (job,)), {})["model"])


def test_version_of_our_hub(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(tmp_path))
    version = models.add("tuned", tiny_model, {})
    assert resolved("tuned") == resolved("tuned@1") == version.path
    assert resolved(str(tiny_model)) == tiny_model
    with pytest.raises(InputError, match="tuned has versions 1 to 1"):
        resolved("tuned@7")


@pytest.fixture
def cached(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`someone/tiny-llama` in the cache of Hugging Face's library; its folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    stored = tmp_path / "models--someone--tiny-llama"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(COMMIT)
    shutil.copytree(tiny_model, stored / "snapshots" / COMMIT)
    return stored / "snapshots" / COMMIT


def test_model_in_the_cache_of_hugging_face(cached: Path) -> None:
    load_model(resolved("someone/tiny-llama"))
    assert resolved("hf:someone/tiny-llama") == cached
    for name in ("someone/other", "hf:someone/other"):
        with pytest.raises(InputError, match="model someone/other: no such folder, not in the local cache"):
            resolved(name)


def test_a_queued_name_is_no_folder_of_whatever_worker(
    sqlite_database: Database, cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(sqlite_database, "import", {"model": "someone/tiny-llama"})
    assert job.spec["model"] == "hf:someone/tiny-llama"
    # A folder of this name where the worker happens to work.
    (tmp_path / "work" / "someone" / "tiny-llama").mkdir(parents=True)
    (tmp_path / "work" / "hf:someone" / "tiny-llama").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    queued = Job(job.id, "import", dict(job.spec), None, {})
    found = recipes.resolve(queued, Recipe("r", Path("r.yaml"), (queued,)), {})
    assert found["model"] == str(cached)
    # The user's own folder is meant where there is one when the job is queued.
    here = submit(sqlite_database, "import", {"model": "someone/tiny-llama"})
    assert here.spec["model"] == str(tmp_path / "work" / "someone" / "tiny-llama")


@pytest.mark.parametrize("name", ["a/b/c", "../x/y", "/etc/ssl", "hf:/etc", "hf:a", "https://x/y", "a/..", "-x/y"])
def test_what_is_no_name_of_hugging_faces_hub(name: str) -> None:
    assert of_hugging_face(name) is None
