"""A training that is long enough to lose a machine in, and what one process makes of it."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support_tiny import TEXTS
from support_workers import until

from loglore.models.load import load_model
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec, run

PLANNED = 6  # rows of a step, over all processes
HYPERPARAMETERS = {
    "batch_size": 1, "gradient_accumulation_steps": 2, "epochs": 120, "learning_rate": 1e-3, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no",
    "lr_warmup_ratio": 0.0, "eval_strategy": "no", "lora_dropout": 0.0, "max_grad_norm": 0.5,
}  # fmt: skip


def spec(folder: Path, model: Path, nodes: int | None, **other: Any) -> TrainSpec:
    """A training on `nodes` machines, a process each (None: on this one), of the same steps for any of 1, 2, 3.

    other: hyperparameters instead of those above.
    """
    files.write_jsonl(folder / "corpus.jsonl", [{"text": f"{text} {n}"} for n, text in enumerate(TEXTS)])
    shared = HYPERPARAMETERS | other | {"gradient_accumulation_steps": PLANNED // (nodes or 1)}
    files.write_json(folder / f"h-{nodes}.json", shared)
    asked = {
        "stage": "cpt", "model": model, "train": folder / "corpus.jsonl", "general_text": False,
        "hyperparameters": folder / f"h-{nodes}.json", "nodes": nodes,
    }  # fmt: skip
    return TrainSpec.parse(asked, "test")


def alone(folder: Path, model: Path) -> Path:
    """The run folder of one process."""
    run(spec(folder, model, None), RunFolder(folder / "alone", {}))
    return folder / "alone"


def same(found: Path, expected: Path) -> None:
    """Assert that two runs had the same losses (1e-5) and made the same weights, but for bf16's rounding by chance."""
    told, others = losses(found), losses(expected)
    assert told.keys() == others.keys()
    assert [told[step] for step in others] == pytest.approx(list(others.values()), abs=1e-5)
    weights, right = (load_model(folder / "model").state_dict() for folder in (found, expected))
    assert all(weights[name].allclose(right[name], rtol=1e-2, atol=1e-3) for name in right)


def losses(folder: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row}


def events(place: Path, event: str) -> list[dict[str, Any]]:
    """What a run has told of one kind."""
    return [row for row in files.read_jsonl_log(place / "events.jsonl") if row["event"] == event]


@contextlib.contextmanager
def at_a_checkpoint(place: Path, act: Callable[[], object]) -> Iterator[None]:
    """Do something when the run has written its next checkpoint."""
    before = len(events(place, "checkpoint"))

    def watch() -> None:
        until(lambda: len(events(place, "checkpoint")) > before)
        act()

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        watching.join()
