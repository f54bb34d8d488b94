"""Training runs as curves, and the question they answer: does fine-tuning converge faster after pretraining?

"Steps to equal eval loss" is the first optimizer step at which a run's eval loss is down to the reference run's final
eval loss, with straight lines between evaluations; divided by the reference's steps it says how much training is
saved. It rests on single runs, so it carries no interval, and it needs the same validation rows on both sides.

    >>> first_step_at([(0, 3.0), (10, 2.0), (20, 1.0)], 1.5)
    15.0
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loglore.errors import InputError
from loglore.runs import files

Point = tuple[float, float]


@dataclass(frozen=True)
class TrainingRun:
    """What a finished training run left: report, and (step, loss) points of its training and evaluation losses."""

    label: str
    stage: str
    report: dict[str, Any]
    validation: str | None
    training: list[Point] = field(default_factory=list)
    evaluation: list[Point] = field(default_factory=list)


def read_run(label: str, folder: Path) -> TrainingRun:
    """Read a training run's folder.

    Raises:
        InputError: the folder holds no finished training run.
    """
    report = files.read_json(folder / "report.json")
    spec = files.read_json(folder / "spec.json")
    if "stage" not in spec:
        raise InputError(f"{folder / 'spec.json'}: no key `stage`; expected the folder of a training run")
    rows = files.read_jsonl_log(folder / "metrics.jsonl")
    training = [(row["step"], row["loss"]) for row in rows if "loss" in row]
    evaluation = [(row["step"], row["eval_loss"]) for row in rows if "eval_loss" in row]
    if not training:
        raise InputError(f"{folder / 'metrics.jsonl'}: no losses; expected rows with `step` and `loss`")
    validation = spec.get("validation")
    return TrainingRun(label, spec["stage"], report, validation, sorted(training), sorted(evaluation))


def first_step_at(points: Sequence[Point], target: float) -> float | None:
    """First step at which the loss is at most `target`, interpolated linearly; None if it never gets there."""
    before: Point | None = None
    for step, loss in points:
        if loss <= target:
            if before is None:
                return float(step)
            share = (before[1] - target) / (before[1] - loss)
            return before[0] + share * (step - before[0])
        before = (step, loss)
    return None


def convergence(runs: Sequence[TrainingRun]) -> list[dict[str, Any]]:
    """Compare every later fine-tuning run with the first one: when does it reach the first one's final eval loss?

    Returns:
        per run: run, reference, target_loss, steps (None if never reached), reference_steps, ratio = steps /
        reference_steps, and final_loss; nothing where runs were validated on other rows or not at all.
    """
    tuned = [run for run in runs if run.stage == "sft" and run.evaluation]
    found = []
    for run in tuned[1:]:
        reference = tuned[0]
        if run.validation != reference.validation:
            continue
        end, target = reference.evaluation[-1]
        steps = first_step_at(run.evaluation, target)
        found.append(
            {
                "run": run.label,
                "reference": reference.label,
                "target_loss": target,
                "final_loss": run.evaluation[-1][1],
                "steps": steps,
                "reference_steps": end,
                "ratio": steps / end if steps is not None and end else None,
            }
        )
    return found


def summary(run: TrainingRun) -> dict[str, Any]:
    """The numbers of a run that a comparison shows, losses and points included."""
    kept = ("steps", "samples", "tokens", "seconds", "tokens_per_second", "perplexity", "cost", "device", "threads")
    return {
        "label": run.label,
        "stage": run.stage,
        **{name: run.report.get(name) for name in kept},
        "loss": _ends(run.training),
        "eval_loss": _ends(run.evaluation),
        "hyperparameters": run.report.get("hyperparameters", []),
    }


def _ends(points: Sequence[Point]) -> Mapping[str, float] | None:
    return {"first": points[0][1], "last": points[-1][1]} if points else None
