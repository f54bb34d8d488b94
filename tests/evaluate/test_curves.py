"""Reading training runs, and steps to equal eval loss by the stated definition."""

from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.evaluate import curves
from loglore.runs.folder import RunFolder


def run(label: str, evaluation: list[tuple[float, float]], stage: str = "sft", rows: str = "v") -> curves.TrainingRun:
    return curves.TrainingRun(label, stage, {}, rows, [(1, 3.0)], evaluation)


@pytest.mark.parametrize(
    ("points", "target", "step"),
    [
        ([(0, 3.0), (10, 2.0), (20, 1.0)], 2.0, 10),
        ([(0, 3.0), (10, 2.0), (20, 1.0)], 1.25, 17.5),
        ([(0, 1.0), (10, 0.5)], 1.5, 0),
        ([(0, 3.0), (10, 1.0), (20, 2.0), (30, 1.0)], 2.0, 5),
        ([(0, 3.0), (10, 2.0)], 1.0, None),
    ],
)
def test_first_step_at(points: list[curves.Point], target: float, step: float | None) -> None:
    assert curves.first_step_at(points, target) == step


def test_convergence_is_against_the_first_tuned_run() -> None:
    runs = [
        run("cpt", [(0, 9.0)], stage="cpt"),
        run("base", [(0, 3.0), (40, 2.0)]),
        run("pretrained", [(0, 2.5), (40, 1.5)]),
        run("worse", [(0, 4.0), (40, 2.5)]),
        run("other rows", [(0, 4.0), (40, 0.5)], rows="w"),
    ]
    faster, never = curves.convergence(runs)
    assert (faster["run"], faster["reference"], faster["target_loss"]) == ("pretrained", "base", 2.0)
    assert (faster["steps"], faster["ratio"], faster["final_loss"]) == (20, 0.5, 1.5)
    assert (never["run"], never["steps"], never["ratio"]) == ("worse", None, None)


def test_read_run(tmp_path: Path) -> None:
    context = RunFolder(tmp_path, {"stage": "sft", "validation": "v.jsonl"})
    context.metric(0, eval_loss=3.0)
    context.metric(1, loss=2.5, tokens=100)
    context.metric(2, loss=2.25, tokens=100)
    context.metric(2, eval_loss=2.125)
    context.finish({"steps": 2, "tokens": 200, "seconds": 4.0})
    found = curves.read_run("one", tmp_path)
    assert (found.training, found.evaluation) == ([(1, 2.5), (2, 2.25)], [(0, 3.0), (2, 2.125)])
    summary = curves.summary(found)
    assert summary["eval_loss"] == {"first": 3.0, "last": 2.125}
    assert (summary["tokens"], summary["cost"]) == (200, None)


def test_folders_that_are_no_training_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.json: no such file"):
        curves.read_run("one", tmp_path / "none")
    RunFolder(tmp_path / "test", {"dataset": "x"}).finish({})
    with pytest.raises(InputError, match="no key `stage`"):
        curves.read_run("one", tmp_path / "test")
    RunFolder(tmp_path / "empty", {"stage": "cpt"}).finish({})
    with pytest.raises(InputError, match="no losses"):
        curves.read_run("one", tmp_path / "empty")
