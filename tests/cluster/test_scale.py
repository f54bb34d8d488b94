"""The calculation of runs past the machines here: against numbers worked out by hand, and the page that it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loglore.cli import app
from loglore.cluster import scale
from loglore.errors import InputError
from loglore.jobs import recipes
from loglore.train import hyperparameters
from loglore.train.estimate import Declared
from loglore.train.hyperparameters import Hyperparameters


@pytest.fixture
def published(repository: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Hyperparameters, Declared]:
    monkeypatch.delenv("LOGLORE_CHECKPOINT_SECONDS", raising=False)
    job = recipes.load(repository / "recipes" / "llama-3.1-8b-cpt.yaml").jobs[0]
    file = repository / "recipes" / job.values["hyperparameters"]
    return hyperparameters.load(file), Declared.parse(job.declared, "recipe")


def test_two_nodes_by_hand(published: tuple[Hyperparameters, Declared]) -> None:
    found = scale.scaled("cpt", *published, 16)
    # 128 rows of 8,181 tokens a step on 16 GPUs: 8 rows each at 7,200 tokens/s.
    assert found.rows == 8 and found.steps == 106
    assert found.compute_s == pytest.approx(111e6 / 106 / 16 / 7200)
    # ZeRO-3: three times 2 bytes of 8.03 B parameters for each of 8 rows, 15/16 of it over 50 GB/s.
    assert found.move_s == pytest.approx(8 * 6 * 8_030_261_248 * 15 / 16 / 50e9)
    assert found.start_s == pytest.approx(2 * 2 * 8_030_261_248 / 5e9)
    # 964 s of steps: 10 checkpoints of 14 bytes a parameter.
    assert found.checkpoints_s == pytest.approx(10 * 14 * 8_030_261_248 / 5e9)
    assert found.seconds == pytest.approx(106 * found.compute_s + found.start_s + found.checkpoints_s)
    assert found.dollars == pytest.approx(16 * found.seconds / 3600 * 2.31)
    assert found.bottleneck == "storage, by checkpoints" and found.fits


def test_the_bottleneck_is_what_was_made_narrow(
    published: tuple[Hyperparameters, Declared], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scale.scaled("cpt", *published, 16, scale.Links(between=1e9)).bottleneck == "links between nodes"
    assert scale.scaled("cpt", *published, 8, scale.Links(inside=1e9)).bottleneck == "links inside a node"
    fast = scale.Links(storage=1e15)
    assert scale.scaled("cpt", *published, 512, fast).bottleneck.startswith("the batch: fewer rows")
    assert scale.scaled("cpt", *published, 1).bottleneck == "memory of a GPU"
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "100000")
    assert scale.scaled("cpt", *published, 16).checkpoints_s == 0


@pytest.mark.parametrize(("backend", "stage", "each_row", "each_step"), [
    ("ddp", 3, 0, 8), ("deepspeed", 1, 0, 4), ("deepspeed", 2, 2, 2), ("deepspeed", 3, 6, 0), ("fsdp", 3, 6, 0),
])  # fmt: skip
def test_bytes_a_step(
    published: tuple[Hyperparameters, Declared], backend: str, stage: int, each_row: int, each_step: int
) -> None:
    requested = published[0].model_copy(update={"distributed_backend": backend, "zero_stage": stage})
    found = scale.scaled("cpt", requested, published[1], 64)
    expected = (found.rows * each_row + each_step) * 8_030_261_248 * 63 / 64 / 50e9
    assert found.move_s == pytest.approx(expected)


def test_synthesis_is_as_fast_as_its_narrowest_part() -> None:
    few = scale.written(10**6, 10, by_teacher=False)
    assert few.rows_per_second == 110 and few.bottleneck == "CPU cores"
    assert few.days == pytest.approx(10**6 / 110 / 86400)
    many = scale.written(10**9, 10**6, by_teacher=False)
    assert many.bottleneck == "storage, by writing rows" and many.rows_per_second == pytest.approx(5e9 / 12_000)
    assert scale.written(10**6, 10, by_teacher=True).bottleneck == "the teacher's replicas"


def test_the_page_is_what_the_script_prints(repository: Path) -> None:
    printed = subprocess.run(
        [sys.executable, repository / "bench" / "scale.py"], capture_output=True, text=True, check=True
    ).stdout
    assert printed == (repository / "docs" / "scale.md").read_text()


def test_estimate_prints_the_same_model(repository: Path, published: tuple[Hyperparameters, Declared]) -> None:
    file = str(repository / "recipes" / "llama-3.1-8b-cpt.yaml")
    done = CliRunner().invoke(app, ["estimate", file, "--nodes", "2", "--nodes", "4"], catch_exceptions=False)
    assert "\n".join(scale.lines(scale.scaled("cpt", *published, 16))) in done.stdout
    assert "4 nodes, 32 GPUs: " in done.stdout
    listed = json.loads(CliRunner().invoke(app, ["estimate", file, "--nodes", "2", "--json"]).stdout)
    assert listed[0]["scaled"][0]["gpus"] == 16
    quick = str(repository / "recipes" / "quickstart.yaml")
    job = next(job for job in recipes.load(repository / "recipes" / "quickstart.yaml").jobs if job.kind == "synth")
    rows = sum(job.values[f"{name}_rows"] for name in ("train", "validation", "test"))
    shown = CliRunner().invoke(app, ["estimate", quick, "--nodes", "3"], catch_exceptions=False).stdout
    assert scale.line(scale.written(rows, 3 * 64, by_teacher=False)) in shown.splitlines()
    with pytest.raises(InputError, match="--nodes takes a recipe"):
        spec = str(repository / "examples" / "nlplog.yaml")
        CliRunner().invoke(app, ["estimate", spec, "--nodes", "2"], catch_exceptions=False)
