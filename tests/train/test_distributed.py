"""Two gloo processes train as one does: the same losses at equal global batch, under DDP and FSDP2; stop and go on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from support_tiny import TEXTS

from loglore.errors import InputError, JobError
from loglore.models.load import load_model
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import deepspeed, hyperparameters
from loglore.train.job import TrainSpec, run

BASE = {
    "batch_size": 1, "gradient_accumulation_steps": 2, "epochs": 2, "learning_rate": 5e-3, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no",
    "lr_warmup_ratio": 0.0, "eval_strategy": "epoch", "lora_dropout": 0.0, "max_grad_norm": 0.5,
}  # fmt: skip

CASES = {
    "ddp": {"distributed_backend": "ddp"},
    "ddp-bf16-lora": {"distributed_backend": "ddp", "mixed_precision": "bf16", "training_type": "lora"},
    "fsdp": {"distributed_backend": "fsdp"},
    # Long enough to be told to stop in the middle.
    "fsdp-long": {"distributed_backend": "fsdp", "epochs": 12, "learning_rate": 1e-3},
    "fsdp-bf16-lora": {"distributed_backend": "fsdp", "mixed_precision": "bf16", "training_type": "lora"},
}

# Runs every case in the same two processes: starting processes costs more than training the tiny model.
WORKER = """
import json, sys
from pathlib import Path
import torch
from torch.distributed.tensor import DTensor
from loglore.runs.folder import RunFolder
from loglore.train import distributed, job
from loglore.train.world import Follower, join

seen = {}
train = distributed.DistributedTrainer.train

def looked_at(self, *args, **kwargs):
    weights = list(self.model.parameters())
    seen["dtensors"] = sum(isinstance(weight, DTensor) for weight in weights)
    seen["weights"] = len(weights)
    result = train(self, *args, **kwargs)
    seen["wrapped"] = type(self.model_wrapped).__name__
    return result

distributed.DistributedTrainer.train = looked_at
folder = Path(sys.argv[1])
world = join(False)
for name, spec in json.loads(sys.argv[2]).items():
    place = folder / name
    context = RunFolder(place, {}) if world.leads else Follower(place)
    world.wait()
    result = job.run(job.TrainSpec.parse(spec, name), context)
    if world.leads:
        (place / "seen.json").write_text(json.dumps({**seen, "result": result}))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "corpus.jsonl"
    files.write_jsonl(path, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    return path


def spec(folder: Path, model: Path, rows: Path, **changed: object) -> TrainSpec:
    processes = changed.pop("processes", 1)
    path = folder / f"h-{len(list(folder.glob('h-*')))}.json"
    path.write_text(json.dumps({**BASE, **changed}))
    return TrainSpec(
        stage="cpt", model=model, train=rows, validation=rows, hyperparameters=path, general_text=False,
        processes=processes,
    )  # fmt: skip


def metrics(folder: Path, key: str = "loss") -> list[float]:
    return [row[key] for row in files.read_jsonl_log(folder / "metrics.jsonl") if key in row]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows: Path) -> Path:
    """`one/CASE`: one process, twice the accumulation; `two/CASE`: two processes."""
    folder = tmp_path_factory.mktemp("both")
    asked = {name: spec(folder, tiny_model, rows, **case) for name, case in CASES.items()}
    script = folder / "worker.py"
    script.write_text(WORKER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    specs = json.dumps({name: one.model_dump(mode="json") for name, one in asked.items()})
    subprocess.run(
        [*torchrun, str(script), str(folder / "two"), specs],
        check=True,
        timeout=280,
    )
    for name in ("ddp", "ddp-bf16-lora"):
        one = spec(folder, tiny_model, rows, gradient_accumulation_steps=4, **CASES[name])
        run(one, RunFolder(folder / "one" / name, {}))
    return folder


@pytest.mark.parametrize(("two", "one", "close"), [
    ("ddp", "ddp", 1e-5), ("fsdp", "ddp", 1e-5),
    # bf16 rounds products of other shapes otherwise; FSDP's shards are fp32 masters of other gradients' sums.
    ("ddp-bf16-lora", "ddp-bf16-lora", 5e-3), ("fsdp-bf16-lora", "ddp-bf16-lora", 2e-2),
])  # fmt: skip
def test_two_processes_have_the_losses_of_one(both: Path, two: str, one: str, close: float) -> None:
    for key in ("loss", "eval_loss", "grad_norm"):
        expected = metrics(both / "one" / one, key)
        found = metrics(both / "two" / two, key)
        tolerance = close * (20 if key == "grad_norm" and close > 1e-4 else 1)
        assert found == pytest.approx(expected, abs=tolerance), key
    assert metrics(both / "two" / two, "tokens") == metrics(both / "one" / one, "tokens")


def test_fsdp_divides_the_weights_and_ddp_does_not(both: Path) -> None:
    for name in ("fsdp", "fsdp-bf16-lora"):
        seen = files.read_json(both / "two" / name / "seen.json")
        assert seen["dtensors"] == seen["weights"] > 0
        (share,) = [
            row for row in files.read_jsonl_log(both / "two" / name / "events.jsonl") if row["event"] == "sharded"
        ]
        assert 0.45 < share["here"] / share["parameters"] < 0.55
    seen = files.read_json(both / "two" / "ddp" / "seen.json")
    assert seen["dtensors"] == 0 and seen["wrapped"] == "DistributedDataParallel"


def test_saved_models_are_whole_and_equal(both: Path) -> None:
    one = load_model(both / "one" / "ddp" / "model").state_dict()
    for name in ("ddp", "fsdp"):
        two = load_model(both / "two" / name / "model").state_dict()
        assert two.keys() == one.keys()
        # Rounded to bf16 from weights that differ in the last bits of fp32.
        assert all(torch.allclose(two[key], one[key], rtol=1e-2, atol=1e-3) for key in one)
    for name in ("ddp-bf16-lora", "fsdp-bf16-lora"):
        assert files.read_json(both / "two" / name / "seen.json")["result"]["parity"]["passed"]


def test_told_to_stop_it_saves_and_goes_on_to_the_same_losses(
    tmp_path: Path, both: Path, tiny_model: Path, rows: Path
) -> None:
    asked = spec(tmp_path, tiny_model, rows, processes=2, **CASES["fsdp-long"])
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


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_configuration_says_what_was_asked(stage: int) -> None:
    asked = hyperparameters.load({**BASE, "distributed_backend": "deepspeed", "zero_stage": stage})
    found = deepspeed.configuration(asked, 6, 8, 4096)
    assert found["zero_optimization"]["stage"] == stage
    assert found["train_batch_size"] == 48 and found["gradient_clipping"] == 0.5
    assert found["bf16"] == {"enabled": False}
    # transformers checks what of it contradicts the Trainer's arguments, without DeepSpeed itself.
    assert ("stage3_gather_16bit_weights_on_model_save" in found["zero_optimization"]) == (stage == 3)
