"""DeepSpeed ZeRO 1 to 3 in two gloo processes on CPUs, against one process without it; `make test-deepspeed`.

The first run compiles one of DeepSpeed's operators for its communication (two minutes, kept in torch's cache).
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_distributed import in_two, metrics, spec, write_pairs, write_rows

from loglore.errors import JobError
from loglore.models.load import load_model
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import checkpoints
from loglore.train.job import TrainSpec, run

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.timeout(900)

BF16 = {"mixed_precision": "bf16"}
LORA = {"training_type": "lora"}
SIGMOID = {"pref_loss": "sigmoid", "pref_ftx": 0.3}
# Accumulation 2, clipping at 0.5 and evaluations in all of them (`support_distributed.BASE`).
CASES: dict[str, dict[str, object]] = {
    "plain": {}, "bf16": BF16, "bf16-lora": {**BF16, **LORA}, "bf16-fine": {**BF16, "learning_rate": 1e-5},
    "sigmoid": SIGMOID, "sigmoid-lora": {**SIGMOID, **LORA},
}  # fmt: skip
STAGES = {
    "plain": (1, 2, 3), "bf16": (1, 2, 3), "bf16-lora": (2, 3), "bf16-fine": (1, 3), "sigmoid": (2, 3),
    "sigmoid-lora": (3,),
}  # fmt: skip
TWO = [f"{name}-{stage}" for name, stages in STAGES.items() for stage in stages]


def zero(stage: int) -> dict[str, object]:
    return {"distributed_backend": "deepspeed", "zero_stage": stage}


LONG = {"epochs": 6, "learning_rate": 1e-3, **BF16}


@pytest.fixture(scope="module", autouse=True)
def on_cpus() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DS_ACCELERATOR", "cpu")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("deepspeed")
    write_rows(found / "rows.jsonl")
    write_pairs(found / "pairs.jsonl")
    return found


def asked(folder: Path, model: Path, name: str, **more: object) -> TrainSpec:
    rows = folder / ("pairs.jsonl" if "sigmoid" in name else "rows.jsonl")
    return spec(folder, model, rows, **CASES[name], **more)


@pytest.fixture(scope="module")
def both(folder: Path, tiny_model: Path) -> Path:
    """`one/CASE`: one process, twice the accumulation; `two/CASE-STAGE`: two processes."""
    two = {
        f"{name}-{stage}": asked(folder, tiny_model, name, **zero(stage)) for name in STAGES for stage in STAGES[name]
    }
    two |= {f"long-{stage}": spec(folder, tiny_model, folder / "rows.jsonl", **LONG, **zero(stage)) for stage in (2, 3)}
    in_two(folder / "two", two, timeout=800)
    for name in CASES:
        run(asked(folder, tiny_model, name, gradient_accumulation_steps=4), RunFolder(folder / "one" / name, {}))
    return folder


@pytest.mark.parametrize("two", TWO)
def test_two_processes_have_the_losses_of_one(both: Path, two: str) -> None:
    one = two.rpartition("-")[0]
    # DeepSpeed rounds its masters to nearest, we by chance.
    close = 2e-2 if "bf16" in two else 1e-5
    for key in ("loss", "eval_loss", "grad_norm"):
        expected, found = metrics(both / "one" / one, key), metrics(both / "two" / two, key)
        assert len(expected) >= 2
        assert found == pytest.approx(expected, abs=close, rel=close), key
    assert metrics(both / "two" / two, "tokens") == metrics(both / "one" / one, "tokens")


@pytest.mark.parametrize("two", TWO)
def test_saved_models_are_whole_and_those_of_one_process(both: Path, tiny_model: Path, two: str) -> None:
    one = load_model(both / "one" / two.rpartition("-")[0] / "model").state_dict()
    found = load_model(both / "two" / two / "model").state_dict()
    base = load_model(tiny_model).state_dict()
    assert found.keys() == one.keys()
    moved = sum(float((one[name] - base[name]).square().sum()) for name in one)
    apart = sum(float((found[name] - one[name]).square().sum()) for name in one)
    assert apart < 0.05 * moved or "fine" in two
    if "lora" in two:
        assert files.read_json(both / "two" / two / "seen.json")["result"]["parity"]["passed"]


@pytest.mark.parametrize("stage", STAGES["bf16-fine"])
def test_updates_finer_than_bf16_are_saved_by_chance(both: Path, tiny_model: Path, stage: int) -> None:
    base = load_model(tiny_model, "bfloat16").state_dict()

    def changed(folder: Path) -> float:
        """Share of large weights, where rounding to nearest would undo every update, that were saved as others."""
        state = load_model(folder / "model", "bfloat16").state_dict()
        pairs = [(state[name], base[name]) for name in base if base[name].dim() == 2]
        large = [(one[before.abs() > 0.04], before[before.abs() > 0.04]) for one, before in pairs]
        return sum(int((one != before).sum()) for one, before in large) / sum(len(one) for one, _ in large)

    expected = changed(both / "one" / "bf16-fine")
    assert expected > 0.01
    assert changed(both / "two" / f"bf16-fine-{stage}") == pytest.approx(expected, rel=0.3)


@pytest.mark.parametrize("stage", [2, 3])
def test_killed_it_goes_on_to_the_same_losses(
    tmp_path: Path, both: Path, tiny_model: Path, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "0")
    task = spec(tmp_path, tiny_model, both / "rows.jsonl", processes=2, **LONG, **zero(stage))
    context = RunFolder(tmp_path / "run", {})

    def kill_after_a_checkpoint() -> None:
        while not checkpoints.complete(context.path / "checkpoints"):
            time.sleep(0.02)
        for path in (context.path / "workers").glob("worker-*.pid"):
            os.kill(int(path.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill_after_a_checkpoint, daemon=True)
    killer.start()
    with pytest.raises(JobError, match="a training process ended with code"):
        run(task, context)
    killer.join()
    assert not (context.path / "model").exists()
    run(task, context)
    for key in ("loss", "eval_loss", "grad_norm"):
        assert metrics(context.path, key) == metrics(both / "two" / f"long-{stage}", key)
