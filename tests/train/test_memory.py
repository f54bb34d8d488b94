"""Memory by part against measured peaks, forecasts, and the refusal of what cannot fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support_memory import Peak
from support_tiny import TEXTS
from transformers import LlamaConfig, LlamaForCausalLM

from loglore.data.packing import flatten
from loglore.data.render import Rendered
from loglore.errors import InputError
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import base, forecast, hyperparameters, memory
from loglore.train.job import TrainSpec, run
from loglore.train.loss import summed_loss, tensors
from loglore.train.master import MasterAdamW

ROW = 512


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama, 6 layers of width 192: large enough that activations count."""
    folder = tmp_path_factory.mktemp("llama")
    shape = {"vocab_size": 2048, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6}
    config = LlamaConfig(**shape, num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def measured_peak(folder: Path, asked: hyperparameters.Hyperparameters) -> int:
    """Bytes at the peak of two optimizer steps of two rows each."""
    bf16 = asked.mixed_precision == "bf16"
    samples = [Rendered(np.random.default_rng(0).integers(3, 2000, ROW).astype(np.int32), np.ones(ROW, dtype=bool))]
    row = tensors(flatten(samples))
    network = base.prepared(folder, asked, "bfloat16" if bf16 else "float32").train()
    if not asked.disable_gradient_checkpointing:
        network.activation_checkpointing_enable()
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    with Peak() as tracked:
        optimizer = (MasterAdamW if bf16 else torch.optim.AdamW)([{"params": trained}], lr=1e-3, fused=True)
        for _ in range(2):
            for _ in range(2):
                (summed_loss(network, row) / ROW).backward()
            optimizer.step()
            optimizer.zero_grad()
    return weights + tracked.peak


@pytest.mark.parametrize("training", ["full", "lora"])
@pytest.mark.parametrize("precision", ["bf16", "none"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_estimate_is_within_15_percent_of_the_measured_peak(
    model: Path, training: str, precision: str, checkpointing: bool
) -> None:
    asked = hyperparameters.load(
        {
            "training_type": training, "mixed_precision": precision, "lora_dropout": 0.0,
            "disable_gradient_checkpointing": not checkpointing,
        }
    )  # fmt: skip
    shape = memory.architecture(model, asked)
    estimated = sum(memory.by_part(shape, asked, "cpt", ROW, ROW, ROW - 1, 1, gpu=False).values())
    assert estimated == pytest.approx(measured_peak(model, asked), rel=0.15)


def test_sharding_divides_what_it_says(model: Path) -> None:
    def found(stage: str = "cpt", **changed: object) -> dict[str, float]:
        asked = hyperparameters.load(changed)
        return memory.by_part(memory.architecture(model, asked), asked, stage, ROW, ROW, ROW, 8, gpu=True)

    whole = memory.architecture(model, hyperparameters.load({})).parameters
    zero = [found(distributed_backend="deepspeed", zero_stage=stage) for stage in (1, 2, 3)]
    assert [one["optimizer"] for one in zero] == [12 * whole / 8] * 3
    assert [one["gradients"] for one in zero] == [4 * whole, 4 * whole / 8, 4 * whole / 8]
    assert [one["weights"] for one in zero] == [2 * whole, 2 * whole, 2 * whole / 8]
    plain = found(distributed_backend="deepspeed", zero_stage=3, mixed_precision="none")
    assert (plain["weights"], plain["gradients"]) == (4 * whole / 8, 4 * whole / 8)
    sharded = found(distributed_backend="fsdp")
    assert (sharded["gradients"], sharded["optimizer"]) == (4 * whole / 8, 12 * whole / 8)
    wide = found(distributed_backend="fsdp", mixed_precision="none")
    assert (wide["gradients"], wide["optimizer"]) == (4 * whole / 8, 8 * whole / 8)
    # A reference of its own, against none.
    for backend, reference in (("fsdp", 4 * whole / 8), ("deepspeed", 2 * whole / 8)):
        divided = {"distributed_backend": backend, "zero_stage": 3}
        pair = [found("dpo", pref_loss=loss, **divided)["weights"] for loss in ("ipo", "orpo")]
        assert pair[0] - pair[1] == reference
    assert found()["logits"] == 0  # Liger never holds them


@pytest.fixture
def spec(tmp_path: Path, tiny_model: Path) -> TrainSpec:
    rows, asked = tmp_path / "rows.jsonl", tmp_path / "h.json"
    files.write_jsonl(rows, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    asked.write_text(json.dumps({"batch_size": 2, "gradient_accumulation_steps": 1, "max_sequence_length": 128}))
    return TrainSpec(stage="cpt", model=tiny_model, train=rows, hyperparameters=asked, general_text=False)


def test_forecast_is_what_the_run_then_does(tmp_path: Path, spec: TrainSpec) -> None:
    context = RunFolder(tmp_path / "run", {})
    expected = forecast.forecast(spec, context, measure=True)
    report = run(spec, context)
    assert (expected.steps, expected.tokens, expected.samples) == (report["steps"], report["tokens"], report["samples"])
    assert expected.longest_row <= 128
    assert expected.seconds == pytest.approx(expected.tokens / expected.tokens_per_second)
    assert "fits (weights" in expected.lines()[1] and "no GPU, no price" in expected.lines()[2]


def test_run_that_cannot_fit_is_refused_with_the_numbers(
    tmp_path: Path, spec: TrainSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "available", lambda: 1 << 20)
    with pytest.raises(InputError, match=r"training needs about 0\.\d+ GiB and 0\.00 GiB are free .*weights 0\.00"):
        run(spec, RunFolder(tmp_path / "run", {}))
