"""Master weights: small updates and gradients add up in fp32, and a state taken up again goes on in the same bits."""

import io
from pathlib import Path

import pytest
import torch
from support_tiny import TEXTS

from loglore.models.load import load_model, load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec, run
from loglore.train.master import MasterAdamW, MasterSGD


def weight(value: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.full((4,), value, dtype=torch.bfloat16))


def test_updates_below_the_resolution_of_bf16_add_up() -> None:
    # bf16 has no number between 0.99609375 and 1.
    kept, lost = weight(1.0), weight(1.0)
    with_masters = MasterSGD([{"params": [kept]}], lr=1e-4)
    without = torch.optim.SGD([lost], lr=1e-4)
    for _ in range(100):
        for parameter in (kept, lost):
            parameter.sum().backward()
        for optimizer in (with_masters, without):
            optimizer.step()
        without.zero_grad()
    assert lost.tolist() == [1.0] * 4
    # Each of the four lies on one of the two neighbours of 0.99 in bf16.
    assert kept.tolist() == pytest.approx([0.99] * 4, abs=2**-8)


def test_gradients_of_many_rows_add_up_in_fp32_and_bf16_ones_are_freed() -> None:
    parameter = weight(1.0)
    optimizer = MasterAdamW([{"params": [parameter]}], lr=1e-3)
    (parameter * 256).sum().backward()
    for _ in range(10):
        (parameter * 0.5).sum().backward()
    (master,) = optimizer.param_groups[0]["params"]
    assert parameter.grad is None
    assert master.grad.tolist() == [261.0] * 4  # bf16 would stay at 256


def test_adamw_over_masters_is_torchs_adamw_on_fp32_weights() -> None:
    torch.manual_seed(0)
    start = torch.randn(4, 3).bfloat16()
    ours, reference = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.float())
    mine = MasterAdamW([{"params": [ours], "weight_decay": 0.1}], lr=1e-2)
    theirs = torch.optim.AdamW([reference], lr=1e-2, weight_decay=0.1)
    for _ in range(20):
        gradient = torch.randn(4, 3).bfloat16()
        (ours * gradient).sum().backward()
        reference.grad = gradient.float()
        mine.step()
        theirs.step()
    torch.testing.assert_close(mine.param_groups[0]["params"][0], reference, rtol=1e-6, atol=1e-7)
    spacing = 2.0 ** torch.floor(torch.log2(reference.detach().abs())) / 128
    assert ((ours.float() - reference).abs() < spacing).all()


def test_saved_state_goes_on_in_the_same_bits() -> None:
    def steps(optimizer: MasterAdamW, parameter: torch.nn.Parameter, numbers: range) -> None:
        for number in numbers:
            (parameter * torch.tensor([0.1, 1.0, 3.0, number])).sum().backward()
            optimizer.step()

    straight, first, second = weight(1.0), weight(1.0), weight(1.0)
    steps(MasterAdamW([{"params": [straight]}], lr=1e-3), straight, range(8))
    optimizer = MasterAdamW([{"params": [first]}], lr=1e-3)
    steps(optimizer, first, range(4))
    saved = io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    saved.seek(0)
    resumed = MasterAdamW([{"params": [second]}], lr=1e-3)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    assert torch.equal(second, first)
    steps(resumed, second, range(4, 8))
    assert torch.equal(second, straight)


@pytest.mark.parametrize("training_type", ["full", "lora"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_in_bf16_follows_training_in_fp32(
    tmp_path: Path, tiny_model: Path, training_type: str, optimizer: str
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    files.write_jsonl(corpus, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    found = {}
    for precision in ("none", "bf16"):
        hyperparameters = tmp_path / f"{precision}.json"
        files.write_json(
            hyperparameters,
            {
                "batch_size": 2, "gradient_accumulation_steps": 2, "epochs": 2, "max_sequence_length": 128,
                "learning_rate": 5e-3 if optimizer == "adamw" else 0.5, "optimizer": optimizer, "max_grad_norm": 0.7,
                "training_type": training_type, "mixed_precision": precision, "disable_gradient_checkpointing": True,
                "checkpoint_strategy": "no",
            },
        )  # fmt: skip
        spec = TrainSpec(
            stage="cpt", model=tiny_model, train=corpus, hyperparameters=hyperparameters, general_text=False
        )
        run(spec, RunFolder(tmp_path / precision, {}))
        rows = files.read_jsonl_log(tmp_path / precision / "metrics.jsonl")
        found[precision] = (
            [row["loss"] for row in rows if "loss" in row],
            [row["grad_norm"] for row in rows if "loss" in row],
        )
    assert found["bf16"][0] == pytest.approx(found["none"][0], abs=0.02)
    assert found["bf16"][1] == pytest.approx(found["none"][1], rel=0.05)
    assert found["none"][0][-1] < found["none"][0][0]


def test_model_is_the_masters_rounded_to_a_neighbour(tmp_path: Path, tiny_model: Path) -> None:
    model = load_model(tiny_model, "bfloat16")
    ids = load_tokenizer(tiny_model)(TEXTS[0], return_tensors="pt")["input_ids"]
    optimizer = MasterAdamW([{"params": list(model.parameters())}], lr=1e-2)
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    for own, master in optimizer.pairs:
        mantissa = master.detach().view(torch.int32) & 0xFFFF0000 - (1 << 32)
        lower = mantissa.view(torch.float32)
        upper = (mantissa + 0x10000).view(torch.float32)
        assert ((own == lower) | (own == upper)).all()
    assert len(optimizer.pairs) == len(list(model.parameters()))
