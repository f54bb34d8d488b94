"""A spec's `model` may be a path, a version of our hub, or a model of the Hugging Face hub (here: its local cache)."""

import shutil
from pathlib import Path

import pytest
import torch

from loglore.errors import InputError
from loglore.hub import models
from loglore.jobs import queue, recipes, runner
from loglore.jobs.names import of_hugging_face
from loglore.jobs.queue import Order, submit
from loglore.jobs.recipes import Job, Recipe
from loglore.models.load import load_model, load_tokenizer
from loglore.runs import files
from loglore.store import jobs
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


def test_training_from_a_gguf_of_our_hub_is_training_from_its_folder(
    tmp_path: Path, tiny_model: Path, tiny_gguf: Path
) -> None:
    models.add("base", tiny_gguf, {})
    files.write_jsonl(tmp_path / "rows.jsonl", [{"text": f"disk {number} is full, link down"} for number in range(16)])
    settings = {
        "batch_size": 1, "gradient_accumulation_steps": 1, "epochs": 2, "learning_rate": 1e-3, "lora_dropout": 0.0,
        "max_sequence_length": 64, "mixed_precision": "none", "checkpoint_strategy": "no", "eval_strategy": "no",
    }  # fmt: skip
    files.write_json(tmp_path / "h.json", settings)

    def losses(model: str, run: str) -> list[float]:
        given = {"stage": "cpt", "model": model, "train": "rows.jsonl", "hyperparameters": "h.json"}
        values = {**given, "general_text": False}
        runner.run_values("train", values, tmp_path / run, lambda text: None, tmp_path / "spec.yaml")
        return [row["loss"] for row in files.read_jsonl_log(tmp_path / run / "metrics.jsonl") if "loss" in row]

    from_hub = losses("base@1", "hub")
    assert from_hub[-1] < from_hub[0]
    assert from_hub == pytest.approx(losses(str(tiny_model), "folder"), abs=1e-5)


@pytest.fixture
def database_url(home: Path) -> str:
    return f"sqlite:///{home / 'loglore.db'}"


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


def test_a_checkpoint_is_a_whole_model_and_can_be_published(database: Database, tiny_model: Path, home: Path) -> None:
    base = models.add("base", tiny_model, {}, database)
    models.add("tuned", tiny_model, {"other": "facts"}, database, parents=[base.row.id])
    job_id = "ftjob-0123456789abcdef01234567"
    folder = home / "jobs" / job_id / "run"
    published = folder / "published" / "step-3"
    published.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):  # weights alone, as a training publishes them
        shutil.copy(tiny_model / name, published / name)
    row = {"id": job_id, "kind": "train", "spec": {"model": str(tiny_model)}, "spec_version": 1, "created": 0.0}
    with database.begin() as connection:
        report = {"outputs": {}, "job": {"published": "tuned@1"}}
        jobs.insert(connection, {**row, "folder": str(folder), "state": "succeeded", "report": report})
    name = f"{job_id}:step-3"
    brought = submit(database, "import", {"model": name, "dtype": "float32"}, Order(publish="early"))
    assert brought.spec["model"] == name
    with pytest.raises(InputError, match="has no checkpoint of step 4; it has: 3"):
        submit(database, "import", {"model": f"{job_id}:step-4"})
    parents = tuple(queue.parents_of(database, brought))
    assert parents == (base.row.id,)
    queued = Job(brought.id, "import", dict(brought.spec), "early", {}, parents)
    done = runner.run_queued(queued, Path(brought.folder), lambda text: None)
    assert done["job"]["published"] == "early@1"
    made = models.find("early", database)
    assert made.row.parents == parents
    assert made.card["lineage"]["from"] == name
    weights, expected = (load_model(path).state_dict() for path in (made.path, tiny_model))
    # Written as results are: in bfloat16.
    assert all(torch.allclose(weights[key], expected[key], rtol=2**-7, atol=1e-6) for key in expected)
    load_tokenizer(made.path)
