"""The loss of every step of a tiny seeded run, as it was when it was last looked at: nothing may move it unnoticed.

A change that is meant (another order of rows, another mask) changes these numbers too; say so where they are changed.
"""

import json
from pathlib import Path

import pytest
from support_tiny import TEXTS

from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec, run

KEYS = {
    "batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 5e-3, "lr_warmup_ratio": 0.25,
    "lr_scheduler_type": "cosine", "weight_decay": 0.01, "max_grad_norm": 1.0, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no", "seed": 7,
}  # fmt: skip
EPOCHS = {"cpt": 4, "sft": 1}
ROWS = {
    "cpt": [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)],
    "sft": [
        {"instruction": f"{number}. What is this?", "input": text, "output": f"Line {number}: {text[:20]}"}
        for number, text in enumerate(TEXTS)
    ],
}
PINNED: dict[tuple[str, str], list[float]] = {
    ("cpt", "full"): [6.264241, 6.268493, 5.927098, 5.670742, 5.343269, 5.025521, 4.837073, 4.869124],
    ("cpt", "lora"): [6.264241, 6.268493, 6.20297, 6.081624, 6.012032, 5.976707, 5.950788, 5.915421],
    ("sft", "full"): [6.259593, 6.276605, 5.953496, 5.598838, 5.281243, 4.971377, 4.748021, 4.684756],
    ("sft", "lora"): [6.259593, 6.276605, 6.188067, 6.064326, 6.042571, 5.983553, 5.967808, 6.004917],
}


@pytest.mark.parametrize(("stage", "training_type"), list(PINNED))
def test_losses_are_the_pinned_ones(tmp_path: Path, tiny_model: Path, stage: str, training_type: str) -> None:
    rows, keys = tmp_path / "rows.jsonl", tmp_path / "h.json"
    files.write_jsonl(rows, ROWS[stage])
    keys.write_text(json.dumps({**KEYS, "epochs": EPOCHS[stage], "training_type": training_type, "lora_dropout": 0.0}))
    spec = TrainSpec(stage=stage, model=tiny_model, train=rows, hyperparameters=keys, general_text=False)
    run(spec, RunFolder(tmp_path / "run", {}))
    losses = [row["loss"] for row in files.read_jsonl_log(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert losses == pytest.approx(PINNED[stage, training_type], abs=1e-5)
