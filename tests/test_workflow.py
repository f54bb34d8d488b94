"""The quickstart's own recipe, from logs to a checked answer, on a tiny model; killed, it goes on to the same bits."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support_forked import forked, run_recipe
from support_tiny import build_llama

from loglore.hub import models as hub
from loglore.jobs import recipes, runner
from loglore.runs import files, fingerprint

SMALL: dict[str, dict[str, Any]] = {
    "chats": {"test_chunks": 4, "validation_chunks": 2, "test_rows": 5, "validation_rows": 2, "train_rows": 16},
    "corpus": {"max_characters": 12_000},
    "cpt": {"max_tokens": 4000},
    "sft": {"max_tokens": 8000},
    "cpt-sft": {"max_tokens": 8000},
    "test-base": {"max_new_tokens": 12},
    "test-sft": {"max_new_tokens": 12},
    "test-cpt-sft": {"max_new_tokens": 12},
    "answer": {"max_tokens": 12},
}
MODELS = ("base", "cpt", "sft", "cpt-sft")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_model`, with positions for the quickstart's longest rows in tokens of nearly a character each."""
    folder = tmp_path_factory.mktemp("workflow") / "model"
    build_llama(folder, hidden=32, heads=2, positions=8192)
    return folder


@pytest.fixture(scope="module")
def recipe(model: Path) -> Path:
    """`recipes/quickstart.yaml` with the same jobs and fewer of everything, beside the model."""
    shipped = Path(__file__).parent.parent / "recipes"
    content = yaml.safe_load((shipped / "quickstart.yaml").read_text())
    content["jobs"]["base"]["model"] = str(model)
    for name, job in content["jobs"].items():
        job.update(SMALL.get(name, {}))
        for key, value in job.items():
            if key in ("rows", "hyperparameters"):
                job[key] = str(shipped / value)
            if key == "logs":
                job[key] = [str(shipped / path) for path in value]
    path = model.parent / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def straight(recipe: Path) -> Path:
    """A run of the whole recipe that nothing interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOGLORE_HOME", str(recipe.parent / "home"))
        runner.run(recipes.load(recipe), recipe.parent / "straight", lambda text: None)
        published = {version.name for version in hub.models()}
        assert published == {"quickstart", "quickstart-base", "quickstart-cpt", "quickstart-sft"}
    return recipe.parent / "straight"


def test_every_step_leaves_what_it_promises(straight: Path) -> None:
    report = straight / "report"
    assert {"report.html", "report.md", "comparison.png"} <= {path.name for path in report.iterdir()}
    summary = files.read_json(report / "report.json")["summary"]
    for column in ("fuzzy match", "BLEU", "ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum", "perplexity"):
        assert column in summary
    assert (straight / "export" / "model.gguf").is_file()
    answer = files.read_json(straight / "answer" / "answer.json")
    assert answer["completion_tokens"] == 12
    assert answer["evidence"]["lines"]


def test_nothing_of_a_held_out_chunk_is_trained_on(straight: Path) -> None:
    chunks = files.read_jsonl_log(straight / "chats" / "chunks.jsonl")
    held_out = {(row["source"], *row["lines"]) for row in chunks if row["split"] != "train"}
    trained = [row["meta"] for row in files.read_jsonl_log(straight / "chats" / "train.jsonl")]
    assert len(held_out) == 6
    assert trained
    for source, first, last in held_out:
        for meta in trained:
            overlap = meta["source"] == source and meta["lines"][0] <= last and first <= meta["lines"][1]
            assert not overlap, (source, first, last, meta["lines"])


def test_second_run_does_nothing(straight: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLORE_HOME", str(recipe.parent / "home"))
    before = fingerprint.of_path(straight)
    said: list[str] = []
    runner.run(recipes.load(recipe), straight, said.append)
    assert all(line.endswith("done before, skipped") for line in said)
    assert fingerprint.of_path(straight) == before


def test_killed_in_synthesis_pretraining_and_fine_tuning_it_ends_in_the_same_bits(straight: Path, recipe: Path) -> None:
    run, home = recipe.parent / "killed", recipe.parent / "killed-home"
    command = [sys.executable, "-m", "loglore", "run", str(recipe), "--out", str(run)]
    environment = {**os.environ, "LOGLORE_HOME": str(home)}
    for sign in ("chats/spec.json", "cpt/metrics.jsonl", "sft/metrics.jsonl"):
        process = forked(run_recipe, recipe, run, home)
        while not (run / sign).exists():
            assert process.is_alive(), f"it ended before {sign} was there"
            time.sleep(0.01)
        process.kill()
        process.join()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert "Next:" in done.stdout
    assert "loglore chat examples/logs/redis.log --model quickstart" in done.stdout
    for name in ("train.jsonl", "validation.jsonl", "test.jsonl"):
        assert (run / "chats" / name).read_bytes() == (straight / "chats" / name).read_bytes()
    for name in MODELS:
        assert fingerprint.of_path(run / name / "model") == fingerprint.of_path(straight / name / "model"), name
