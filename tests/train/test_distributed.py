"""Two gloo processes train as one does: the same losses at equal global batch, under DDP and FSDP2; stop and go on.

All stages, in fp32 and in bf16, whose masters and rounding are the same in one process and in shards.
"""

import os
import signal
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from support_distributed import BASE, in_two, metrics, spec, write_pairs, write_rows

from loglore.errors import InputError, JobError
from loglore.models.load import load_model
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import deepspeed, hyperparameters
from loglore.train.job import run

BF16 = {"mixed_precision": "bf16"}
LORA = {"training_type": "lora"}
FSDP = {"distributed_backend": "fsdp"}
# Compared with one process; under DDP the same in `ddp-NAME`.
CASES: dict[str, dict[str, object]] = {"plain": {}, "bf16": BF16, "bf16-lora": {**BF16, **LORA}}
PREFERENCES: dict[str, dict[str, object]] = {
    "sigmoid": {"pref_loss": "sigmoid", "pref_ftx": 0.3},
    "hinge-bf16-lora": {"pref_loss": "hinge", **BF16, **LORA},
    "ipo": {"pref_loss": "ipo", **LORA},
    "orpo": {"pref_loss": "orpo"},
    "simpo": {"pref_loss": "simpo", **LORA},
}
DDP = ["plain", "bf16-lora", "sigmoid"]
# Long enough to be told to stop in the middle.
LONG = {**FSDP, **BF16, "epochs": 6, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "corpus.jsonl"
    write_rows(path)
    return path


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    write_pairs(path)
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows: Path, pairs: Path) -> Path:
    """`one/CASE`: one process, twice the accumulation; `two/BACKEND-CASE`: two processes."""
    folder = tmp_path_factory.mktemp("both")
    data = dict.fromkeys(CASES, rows) | dict.fromkeys(PREFERENCES, pairs)
    all_cases = CASES | {name: {**case, "epochs": 1, "eval_strategy": "no"} for name, case in PREFERENCES.items()}
    asked = {f"ddp-{name}": spec(folder, tiny_model, data[name], **all_cases[name]) for name in DDP}
    asked |= {f"fsdp-{name}": spec(folder, tiny_model, data[name], **FSDP, **all_cases[name]) for name in all_cases}
    asked["fsdp-long"] = spec(folder, tiny_model, rows, **LONG)
    in_two(folder / "two", asked)
    for name, case in all_cases.items():
        one = spec(folder, tiny_model, data[name], gradient_accumulation_steps=4, **case)
        run(one, RunFolder(folder / "one" / name, {}))
    return folder


TWO = [f"ddp-{name}" for name in DDP] + [f"fsdp-{name}" for name in [*CASES, *PREFERENCES]]


@pytest.mark.parametrize("two", TWO)
def test_two_processes_have_the_losses_of_one(both: Path, two: str) -> None:
    one = two.partition("-")[2]
    # In another order of sums a weight in many thousands is rounded to its other neighbour in bf16.
    close = 5e-4 if "bf16" in two else 1e-5
    for key in ("loss", "eval_loss", "grad_norm"):
        expected = metrics(both / "one" / one, key)
        found = metrics(both / "two" / two, key)
        tolerance = close * (20 if key == "grad_norm" else 1)
        assert found == pytest.approx(expected, abs=tolerance, rel=1e-5), key
    assert len(metrics(both / "one" / one)) >= 2
    assert metrics(both / "two" / two, "tokens") == metrics(both / "one" / one, "tokens")


@pytest.mark.parametrize("two", TWO)
def test_fsdp_divides_the_weights_and_ddp_does_not(both: Path, two: str) -> None:
    seen = files.read_json(both / "two" / two / "seen.json")
    if two.startswith("ddp"):
        assert seen["dtensors"] == 0
        if "bf16-lora" not in two:
            assert seen["wrapped"] == "DistributedDataParallel"
        return
    assert seen["dtensors"] == seen["weights"] > 0
    events = files.read_jsonl_log(both / "two" / two / "events.jsonl")
    (share,) = [row for row in events if row["event"] == "sharded"]
    assert 0.45 < share["here"] / share["parameters"] < 0.55


@pytest.mark.parametrize("two", TWO)
def test_saved_models_are_whole_and_equal(both: Path, two: str) -> None:
    one = load_model(both / "one" / two.partition("-")[2] / "model").state_dict()
    found = load_model(both / "two" / two / "model").state_dict()
    assert found.keys() == one.keys()
    # Rounded to bf16 from weights that differ in the last bits of fp32: by the same noise, so few go another way.
    equal = sum(int((found[name] == weight).sum()) for name, weight in one.items())
    assert equal > 0.9 * sum(weight.numel() for weight in one.values())
    if "lora" in two:
        assert files.read_json(both / "two" / two / "seen.json")["result"]["parity"]["passed"]


def test_told_to_stop_it_saves_and_goes_on_to_the_same_losses(
    tmp_path: Path, both: Path, tiny_model: Path, rows: Path
) -> None:
    asked = spec(tmp_path, tiny_model, rows, processes=2, **LONG)
    context = RunFolder(tmp_path / "run", {})

    def stop_at_step_one() -> None:
        metrics_file = context.path / "metrics.jsonl"
        while not any("loss" in row for row in files.read_jsonl_log(metrics_file)):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=stop_at_step_one, daemon=True)
    watcher.start()
    with pytest.raises(JobError, match=r"stopped by SIGTERM after step \d+ of \d+, with a checkpoint"):
        run(asked, context)
    watcher.join()
    (checkpoint,) = (context.path / "checkpoints").iterdir()
    assert {path.name for path in checkpoint.glob("shard-*")} == {"shard-0-of-2.pt", "shard-1-of-2.pt"}
    result = run(asked, context)
    assert metrics(context.path) == metrics(both / "two" / "fsdp-long")
    assert metrics(context.path, "eval_loss") == metrics(both / "two" / "fsdp-long", "eval_loss")
    assert result["processes"] == 2
    assert any(row["event"] == "finished" for row in files.read_jsonl_log(context.path / "events.jsonl"))


def test_faults_of_workers_reach_the_caller(tmp_path: Path, tiny_model: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": 5}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl: row 1: `text`: expected a text"):
        run(spec(tmp_path, tiny_model, bad, processes=2), RunFolder(tmp_path / "run", {}))


def test_several_machines_are_a_clusters_to_give(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    asked = spec(tmp_path, tiny_model, rows).model_copy(update={"nodes": 2})
    with pytest.raises(
        InputError, match=r"`nodes`: 2 machines are a Ray cluster's to give: run it with --executor ray"
    ):
        run(asked, RunFolder(tmp_path / "run", {}))


@pytest.mark.skipif(find_spec("deepspeed") is not None, reason="DeepSpeed is installed")
def test_deepspeed_that_is_not_there_is_one_line(tmp_path: Path, tiny_model: Path, rows: Path) -> None:
    asked = spec(tmp_path, tiny_model, rows, processes=2, distributed_backend="deepspeed")
    with pytest.raises(InputError, match=r"`distributed_backend`: deepspeed is not installed; install the extra"):
        run(asked, RunFolder(tmp_path / "run", {}))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_configuration_says_what_was_asked(stage: int) -> None:
    asked = hyperparameters.load({**BASE, "distributed_backend": "deepspeed", "zero_stage": stage})
    found = deepspeed.configuration(asked, 1, 6, 8, 4096)
    assert found["zero_optimization"]["stage"] == stage
    assert found["train_batch_size"] == 48 and found["gradient_clipping"] == 0.5
    assert found["bf16"] == {"enabled": False} and "data_types" not in found
    halves = deepspeed.configuration(hyperparameters.load({**BASE, "mixed_precision": "bf16"}), 1, 6, 8, 4096)
    assert halves["data_types"] == {"grad_accum_dtype": "fp32"} and halves["communication_data_type"] == "fp32"
    # transformers checks what of it contradicts the Trainer's arguments, without DeepSpeed itself.
    assert ("stage3_gather_16bit_weights_on_model_save" in found["zero_optimization"]) == (stage == 3)
