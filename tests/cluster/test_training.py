"""What follows a lost machine: who goes on, on which nodes. Starts are written down here instead of made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loglore.cluster import training
from loglore.cluster.order import Order
from loglore.cluster.places import Shared
from loglore.errors import InputError
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec

LOST, TOO_FEW, DONE = "lost", "too few", "done"


def started(folder: Path, backend: str, ends: Sequence[str], rooms: Sequence[int], patch: pytest.MonkeyPatch) -> Any:
    """The report of a run whose starts end so, with room for so many workers after each; and what starts were made."""
    made: list[tuple[int, list[str]]] = []

    def start(place: Shared, asked: Order, count: int, silent: Sequence[str]) -> str:
        made.append((count, list(silent)))
        workers = place.folder / "workers"
        if (end := ends[len(made) - 1]) == TOO_FEW:
            files.write_json(workers / "error-1.json", {"kind": "InputError", "message": "needs 3 GiB"})
        elif end == DONE:
            files.write_json(workers / "result.json", {"steps": 5})
        return LOST if end == LOST else ""

    left = iter(rooms)
    patch.setattr(training, "_start", start)
    patch.setattr(training, "_left", lambda _: (next(left), [f"node-{len(made)}"]))
    (folder / "h.json").write_text(json.dumps({"distributed_backend": backend}))
    values = {"stage": "cpt", "model": folder, "train": folder, "hyperparameters": folder / "h.json"}
    asked = Order("train", {}, 3, 0, 1, 45.0, "/nowhere", "attempt")
    context = RunFolder(folder / "run", {})
    report = training._until_done(TrainSpec.parse(values, "test"), context, asked, Shared(context.path))
    return report, made


@pytest.mark.parametrize(("backend", "room", "count"), [
    ("ddp", 2, 2), ("ddp", 1, 1), ("ddp", 9, 3), ("fsdp", 2, 2), ("fsdp", 1, 2), ("deepspeed", 2, 3),
])  # fmt: skip
def test_those_that_are_left_go_on_where_fewer_can(
    backend: str, room: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, made = started(tmp_path, backend, [LOST, DONE], [room], monkeypatch)
    assert made == [(3, []), (count, ["node-1"])]
    assert [loss["reason"] for loss in report["cluster"]["losses"]] == [LOST]


def test_too_few_for_their_memory_wait_for_as_many_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, made = started(tmp_path, "fsdp", [LOST, TOO_FEW, DONE], [2, 2], monkeypatch)
    assert [count for count, _ in made] == [3, 2, 3] and len(report["cluster"]["losses"]) == 1
    with pytest.raises(InputError, match="needs 3 GiB"):
        started(tmp_path, "fsdp", [TOO_FEW], [], monkeypatch)
