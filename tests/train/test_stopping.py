"""When a run stops: SIGTERM with a checkpoint, NaN, divergence, nothing trained, and checkpoints that are damaged."""

import contextlib
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support_tiny import TEXTS

from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import checkpoints, stopping
from loglore.train.job import TrainSpec, run

BASE = {
    "batch_size": 2, "gradient_accumulation_steps": 1, "epochs": 1, "learning_rate": 5e-3, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no",
    "lr_warmup_ratio": 0.0, "eval_strategy": "no",
}  # fmt: skip


def spec(folder: Path, model: Path, **changed: object) -> TrainSpec:
    path, data = folder / "h.json", folder / "rows.jsonl"
    path.write_text(json.dumps({**BASE, **changed}))
    files.write_jsonl(data, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    return TrainSpec(stage="cpt", model=model, train=data, hyperparameters=path, general_text=False)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]


class Signalled(RunFolder):
    """Gets SIGTERM while it records a step."""

    at = 3

    def metric(self, step: int, **values: float) -> None:
        super().metric(step, **values)
        if step == self.at and "loss" in values:
            os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_saves_ends_and_the_same_run_goes_on(tmp_path: Path, tiny_model: Path) -> None:
    asked = spec(tmp_path, tiny_model, epochs=2)
    run(asked, RunFolder(tmp_path / "straight", {}))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(JobError, match=r"stopped by SIGTERM after step \d+ of \d+, with a checkpoint"):
        run(asked, Signalled(tmp_path / "told", {}))
    assert signal.getsignal(signal.SIGTERM) == before
    (kept,) = checkpoints.complete(tmp_path / "told" / "checkpoints")
    assert checkpoints.damage(kept) is None and checkpoints.step_of(kept) in (3, 4)
    run(asked, RunFolder(tmp_path / "told", {}))
    assert losses(tmp_path / "told") == losses(tmp_path / "straight")


def test_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "0")
    asked = spec(tmp_path, tiny_model, epochs=2)
    run(asked, RunFolder(tmp_path / "straight", {}))
    with pytest.raises(JobError):
        run(asked, Signalled(tmp_path / "told", {}))
    before, newest = checkpoints.complete(tmp_path / "told" / "checkpoints")
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    context = RunFolder(tmp_path / "told", {})
    assert checkpoints.newest_sound(before.parent)[0] == before
    (newest.parent / f"damaged-{newest.name}").replace(newest)
    run(asked, context)
    assert losses(tmp_path / "told") == losses(tmp_path / "straight")
    (row,) = [
        row for row in files.read_jsonl_log(context.path / "events.jsonl") if row["event"] == "checkpoint damaged"
    ]
    assert row["fault"] == f"{newest.name}: model.safetensors does not match its checksum"


@pytest.mark.parametrize("lost", ["optimizer.pt", "files.json"])
def test_checkpoint_that_misses_a_file_is_damaged(tmp_path: Path, lost: str) -> None:
    for step in (1, 2):
        written = tmp_path / f"checkpoint-{step}"
        written.mkdir()
        for name in ("optimizer.pt", "model.safetensors"):
            (written / name).write_text(f"{name} {step}")
        checkpoints.publish(written, step, keep=2)
    (tmp_path / "step-2" / lost).unlink()
    found, faults = checkpoints.newest_sound(tmp_path)
    assert found == tmp_path / "step-1" and faults == [f"step-2: {lost} is missing"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged-step-2", "step-1"]


@pytest.mark.parametrize("step", [1, 2])
def test_a_kill_while_one_is_published_leaves_a_whole_one(tmp_path: Path, step: int) -> None:
    """Killed before each call that changes a name or removes something, with a single one to keep."""

    class Killed(BaseException):
        pass

    def written(number: int, content: str) -> Path:
        place = tmp_path / str(dies_at) / f"checkpoint-{number}"
        place.mkdir(parents=True)
        (place / "weights").write_text(content)
        return place

    for dies_at in range(1, 9):
        checkpoints.publish(written(1, "old"), 1, keep=1)
        calls = 0

        def counted(work: Callable[..., Any]) -> Callable[..., Any]:
            def step_of(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == dies_at:  # noqa: B023
                    raise Killed
                return work(*args, **options)

            return step_of

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "replace", counted(Path.replace))
            patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
            with contextlib.suppress(Killed):
                checkpoints.publish(written(step, "new"), step, keep=1)
        whole = [path for path in (tmp_path / str(dies_at)).iterdir() if checkpoints.damage(path) is None]
        assert whole, f"nothing is left after call {dies_at}"
        if calls < dies_at:
            assert [(path.name, (path / "weights").read_text()) for path in whole] == [(f"step-{step}", "new")]
            return
    raise AssertionError("publish has more calls than were tried")


def test_loss_that_is_not_a_number_stops(tmp_path: Path, tiny_model: Path) -> None:
    asked = spec(tmp_path, tiny_model, learning_rate=0.9, weight_decay=1e4, epochs=9)
    with pytest.raises(JobError, match=r"(became (nan|inf) at step \d+: lower `learning_rate`|training diverges)"):
        run(asked, RunFolder(tmp_path / "run", {}))
    assert not (tmp_path / "run" / "model").exists()


def see(values: list[float], norm: float = 1.0, fp16: bool = False) -> None:
    watch = stopping.Watch(fp16)
    for step, loss in enumerate(values, 1):
        watch.see(step, {"loss": loss, "grad_norm": norm})
    watch.end()


def test_watch_stops_for_what_cannot_end_well_and_for_nothing_else() -> None:
    falling = [3 * math.exp(-step / 30) + 0.3 * (-1) ** step for step in range(100)]
    see(falling)
    see([0.69] * 5 + [0.01] * 30 + [0.1] * 30)  # a preference loss near 0 may double
    with pytest.raises(JobError, match="training diverges: mean loss"):
        see(falling + [9.0] * 10)
    with pytest.raises(JobError, match="loss became nan at step 3"):
        see([1.0, 1.0, math.nan])
    with pytest.raises(JobError, match="gradient norm became inf at step 1"):
        see([1.0], norm=math.inf)
    see([1.0], norm=math.inf, fp16=True)


def test_nothing_trained_stops() -> None:
    with pytest.raises(JobError, match="nothing was trained: the gradient was 0 in 10 steps in a row"):
        see([1.0] * 40, norm=0.0)
    with pytest.raises(JobError, match="nothing was trained: the gradient was 0 in 3 steps"):
        see([1.0] * 3, norm=0.0)


def test_rows_whose_labels_are_all_masked_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    asked = spec(tmp_path, tiny_model)
    # One token and its end: a piece of one token predicts nothing.
    files.write_jsonl(asked.train, [{"text": "a"}])
    tight = asked.model_copy(update={"hyperparameters": tmp_path / "tight.json"})
    tight.hyperparameters.write_text(json.dumps({**BASE, "max_sequence_length": 1}))
    with pytest.raises(InputError, match=r"rows\.jsonl: no"):
        run(tight, RunFolder(tmp_path / "run", {}))
