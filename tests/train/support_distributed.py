"""Trainings in two gloo processes beside the same in one: rows, specs, and what runs many of them in one start."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support_tiny import TEXTS

from loglore.runs import files
from loglore.train.job import TrainSpec

BASE = {
    "batch_size": 1, "gradient_accumulation_steps": 2, "epochs": 2, "learning_rate": 5e-3, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no",
    "lr_warmup_ratio": 0.0, "eval_strategy": "epoch", "lora_dropout": 0.0, "max_grad_norm": 0.5,
}  # fmt: skip

# Runs every case in the same two processes: starting processes costs more than training the tiny model.
WORKER = """
import json, sys
from pathlib import Path
import torch
from torch.distributed.tensor import DTensor
from transformers import Trainer
from loglore.runs.folder import RunFolder
from loglore.train import job
from loglore.train.world import Follower, join

seen = {}
train = Trainer.train

def looked_at(self, *args, **kwargs):
    models = [self.model, getattr(self, "ref_model", None)]
    weights = [weight for model in models if model is not None for weight in model.parameters()]
    seen["dtensors"] = sum(isinstance(weight, DTensor) for weight in weights)
    seen["weights"] = len(weights)
    result = train(self, *args, **kwargs)
    seen["wrapped"] = type(self.model_wrapped).__name__
    return result

Trainer.train = looked_at
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


def write_rows(path: Path) -> None:
    """A corpus of short log texts."""
    files.write_jsonl(path, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])


def write_pairs(path: Path) -> None:
    """Eight pairs of a better and a worse answer."""
    rows = [
        {
            "conversations": [{"from": "human", "value": f"{number}. What is this?\n{text[:80]}"}],
            "chosen": {"from": "gpt", "value": f"Line {number}: the disk is full."},
            "rejected": {"from": "gpt", "value": f"I do not know {number * 7}"},
        }
        for number, text in enumerate(TEXTS[:8])
    ]
    files.write_jsonl(path, rows)


def spec(folder: Path, model: Path, rows: Path, **changed: object) -> TrainSpec:
    """A training on `rows`, evaluated on the same; `BASE` with other hyperparameters, and `processes`."""
    processes = changed.pop("processes", 1)
    path = folder / f"h-{len(list(folder.glob('h-*')))}.json"
    path.write_text(json.dumps({**BASE, **changed}))
    stage = "dpo" if "pref_loss" in changed else "cpt"
    return TrainSpec(
        stage=stage, model=model, train=rows, validation=rows, hyperparameters=path, general_text=False,
        processes=processes,
    )  # fmt: skip


def metrics(folder: Path, key: str = "loss") -> list[float]:
    """A number of every step or evaluation of a run."""
    return [row[key] for row in files.read_jsonl_log(folder / "metrics.jsonl") if key in row]


def in_two(folder: Path, asked: Mapping[str, TrainSpec], timeout: float = 280) -> None:
    """Run every training in the same two processes, each in a folder of its name; beside it `seen.json`."""
    folder.mkdir(exist_ok=True)
    script = folder / "worker.py"
    script.write_text(WORKER)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    specs = json.dumps({name: one.model_dump(mode="json") for name, one in asked.items()})
    subprocess.run([*torchrun, str(script), str(folder), specs], check=True, timeout=timeout)
