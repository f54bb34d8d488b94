"""A spec's `model` may be a path, a version of our hub, or a model of the Hugging Face hub (here: its local cache)."""

import shutil
from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.hub import models
from loglore.jobs import recipes
from loglore.jobs.recipes import Job, Recipe
from loglore.models.load import load_model

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


def test_model_in_the_cache_of_hugging_face(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    stored = tmp_path / "models--someone--tiny-llama"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(COMMIT)
    shutil.copytree(tiny_model, stored / "snapshots" / COMMIT)
    load_model(resolved("someone/tiny-llama"))
    with pytest.raises(InputError, match="model someone/other: no such folder, not in the local cache"):
        resolved("someone/other")
