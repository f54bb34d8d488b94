"""No dead key: for every hyperparameter, a change of its value changes what it should, and that alone.

Most are seen in short runs on the tiny model against one baseline run; what needs a GPU is seen where it is handed to
transformers. Keys that other files look at are named in `ELSEWHERE`.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support_tiny import TEXTS

from loglore.errors import InputError
from loglore.models.load import load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import base, hyperparameters, plan, trainer
from loglore.train.hyperparameters import Hyperparameters
from loglore.train.job import TrainSpec, run

BASE: dict[str, Any] = {
    "batch_size": 1, "gradient_accumulation_steps": 1, "epochs": 1, "learning_rate": 5e-3, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no", "max_grad_norm": 0,
    "lr_scheduler_type": "constant", "lr_warmup_ratio": 0.0, "eval_strategy": "no", "training_type": "lora",
    "lora_rank": 4, "lora_alpha": 8, "lora_dropout": 0.0, "weight_decay": 0.0, "target_modules": ["q_proj"],
}  # fmt: skip
ELSEWHERE = {
    "test_distributed": ("distributed_backend", "zero_stage"),
    "test_preference": ("dpo_label_smoothing", "pref_beta", "pref_ftx", "pref_loss", "simpo_gamma"),
    "test_job": ("save_best_checkpoint",),
}


class Seen:
    """What one run left, by name."""

    def __init__(self, folder: Path, report: dict[str, Any]) -> None:
        rows = [row for row in files.read_jsonl_log(folder / "metrics.jsonl") if "loss" in row]
        self.report = report
        self.loss, self.rate = ([row[key] for row in rows] for key in ("loss", "learning_rate"))
        self.norm, self.tokens = ([row[key] for row in rows] for key in ("grad_norm", "tokens"))
        self.evaluated = [row["step"] for row in files.read_jsonl_log(folder / "metrics.jsonl") if "eval_loss" in row]
        self.adapter = {}
        if (folder / "adapter").exists():
            self.adapter = load_file(folder / "adapter" / "adapter_model.safetensors")
            self.config = files.read_json(folder / "adapter" / "adapter_config.json")
        self.published = sorted(path.name for path in folder.glob("published/step-*"))


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Callable[..., Seen]:
    folder = tmp_path_factory.mktemp("keys")
    rows = folder / "rows.jsonl"
    files.write_jsonl(rows, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS[:16])])
    kept: dict[str, Seen] = {}

    def once(**changed: Any) -> Seen:
        name = json.dumps(changed, sort_keys=True)
        if name not in kept:
            place = folder / str(len(kept))
            asked = folder / f"h-{len(kept)}.json"
            asked.write_text(json.dumps({**BASE, **changed}))
            spec = TrainSpec(
                stage="cpt", model=tiny_model, train=rows, validation=rows, hyperparameters=asked, general_text=False
            )
            kept[name] = Seen(place, run(spec, RunFolder(place, {})))
        return kept[name]

    return once


def test_batch_and_accumulation_make_the_rows_of_a_step(train: Callable[..., Seen]) -> None:
    rows = len(train().loss)
    assert rows >= 3
    for twice in ({"batch_size": 2}, {"gradient_accumulation_steps": 2}):
        assert len(train(**twice).loss) == -(-rows // 2)
        assert sum(train(**twice).tokens) == sum(train().tokens)


def test_epochs_read_the_rows_again(train: Callable[..., Seen]) -> None:
    assert sum(train(epochs=2).tokens) == 2 * sum(train().tokens)


def test_learning_rate_and_its_schedule(train: Callable[..., Seen]) -> None:
    assert set(train().rate) == {5e-3} and set(train(learning_rate=1e-3).rate) == {1e-3}
    line, cosine = (train(lr_scheduler_type=kind).rate for kind in ("linear", "cosine"))
    steps = len(line)
    assert line == pytest.approx([5e-3 * (1 - step / steps) for step in range(steps)])
    assert cosine == pytest.approx([5e-3 * (1 + math.cos(math.pi * step / steps)) / 2 for step in range(steps)])


def test_warm_up_in_steps_and_as_a_ratio(train: Callable[..., Seen]) -> None:
    by_steps, by_ratio = train(lr_warmup_steps=2).rate, train(lr_warmup_ratio=0.5).rate
    assert by_steps == pytest.approx([0.0, 2.5e-3, *[5e-3] * (len(by_steps) - 2)])
    warm = round(0.5 * len(by_ratio))
    assert by_ratio == pytest.approx([5e-3 * min(step / warm, 1) for step in range(len(by_ratio))])


def test_clipping_leaves_the_first_norm_and_changes_what_follows(train: Callable[..., Seen]) -> None:
    # Adam's first step does not see a gradient's size; SGD's does.
    sgd = {"optimizer": "sgd", "learning_rate": 0.9}
    free, clipped = train(**sgd), train(**sgd, max_grad_norm=1e-3)
    assert clipped.norm[0] == free.norm[0] and clipped.loss[0] == free.loss[0] and clipped.loss[1] != free.loss[1]


def moved(one: Seen, other: Seen) -> bool:
    return any(not torch.equal(one.adapter[name], other.adapter[name]) for name in one.adapter)


@pytest.mark.parametrize(
    "changed", [{"weight_decay": 0.5}, {"optimizer": "sgd"}, {"seed": 7}, {"mixed_precision": "bf16"}], ids=str
)
def test_keys_that_change_the_weights(train: Callable[..., Seen], changed: dict) -> None:
    assert moved(train(**changed), train())


def test_seed_orders_the_rows_otherwise(train: Callable[..., Seen]) -> None:
    assert sum(train(seed=7).tokens) == sum(train().tokens)
    assert train(seed=7).loss != train().loss


def test_bf16_rounds_the_first_loss_a_little(train: Callable[..., Seen]) -> None:
    assert 0 < abs(train(mixed_precision="bf16").loss[0] - train().loss[0]) < 0.05


def test_max_sequence_length_is_the_room_of_a_row(train: Callable[..., Seen]) -> None:
    assert train(max_sequence_length=64).report["fill"] > train(max_sequence_length=512).report["fill"]


def test_training_type_and_the_keys_of_lora(train: Callable[..., Seen]) -> None:
    assert set(train().report["outputs"]) == {"model", "adapter"}
    assert set(train(training_type="full").report["outputs"]) == {"model"}
    assert {min(weight.shape) for weight in train().adapter.values()} == {4}
    assert {min(weight.shape) for weight in train(lora_rank=2).adapter.values()} == {2}
    assert train(lora_alpha=64).config["lora_alpha"] == 64 and train(lora_alpha=64).loss[1] != train().loss[1]
    assert train(lora_dropout=0.5).loss[1] != train().loss[1]
    assert all("q_proj" in name for name in train().adapter)
    assert any("down_proj" in name for name in train(target_modules="all-linear").adapter)
    assert set(train(merge_adapter=False).report["outputs"]) == {"adapter"}


def test_checkpoints_are_published_as_asked(train: Callable[..., Seen]) -> None:
    steps = len(train().loss)
    by_steps = {"checkpoint_strategy": "steps", "checkpoint_steps": 1}
    assert train(**by_steps, number_of_checkpoints=2).published == [f"step-{n}" for n in (steps - 1, steps)]
    assert train(**{**by_steps, "checkpoint_steps": 2}, number_of_checkpoints=1).published == [f"step-{steps // 2 * 2}"]
    assert len(train(checkpoint_strategy="epoch", epochs=2, number_of_checkpoints=9).published) == 2
    assert train().published == []


def test_evaluations_come_as_asked(train: Callable[..., Seen]) -> None:
    steps = len(train().loss)
    assert train(eval_strategy="steps", eval_steps=2).evaluated == sorted({*range(0, steps, 2), steps})
    assert train(eval_strategy="epoch", epochs=2).evaluated == [0, steps, 2 * steps]
    assert train().evaluated == []


@pytest.mark.parametrize(("every", "shown"), [(0, []), (-1, [1, 2, 3, 4]), (2, [2, 4])])
def test_logging_steps_are_the_lines_of_progress(tmp_path: Path, every: int, shown: list[int]) -> None:
    class Four:
        class steps:  # noqa: N801
            rows = ((0,),) * 4

            @staticmethod
            def tokens() -> list[int]:
                return [1] * 4

    notes: list[str] = []
    asked = hyperparameters.load({**BASE, "logging_steps": every})
    recorder = trainer._Recorder(Four, asked, RunFolder(tmp_path, {}), lambda amount, note="": notes.append(note))
    for step in range(1, 5):
        recorder.record(step, {"loss": 1.0, "learning_rate": 1.0, "grad_norm": 1.0})
    assert [step for step, note in enumerate(notes, 1) if note] == shown


def test_resume_from_checkpoint_starts_at_a_named_one(
    tmp_path: Path, tiny_model: Path, train: Callable[..., Seen], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr("loglore.train.saving.clean", lambda _: None)
    whole = train()
    rows = tmp_path / "rows.jsonl"
    files.write_jsonl(rows, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS[:16])])

    def go(name: str, **changed: Any) -> Path:
        asked = tmp_path / f"{name}.json"
        asked.write_text(json.dumps({**BASE, **changed}))
        spec = TrainSpec(stage="cpt", model=tiny_model, train=rows, hyperparameters=asked, general_text=False)
        run(spec, RunFolder(tmp_path / name, {}))
        return tmp_path / name

    first = go("first")
    newest = sorted((first / "checkpoints").iterdir())[-1]
    second = Seen(go("second", resume_from_checkpoint=str(newest)), {})
    assert second.loss == whole.loss[int(newest.name.removeprefix("step-")) :]
    with pytest.raises(InputError, match=r"`resume_from_checkpoint`: .* holds no trainer_state\.json"):
        go("third", resume_from_checkpoint=str(tmp_path))


def test_full_determinism_is_handed_over() -> None:
    for value in (True, False):
        asked = hyperparameters.load({**BASE, "full_determinism": value})
        assert trainer.common_arguments(asked, 1, Path("x"))["full_determinism"] is value


def test_gradient_checkpointing_is_on_unless_disabled(tiny_model: Path, tmp_path: Path) -> None:
    for disabled in (True, False):
        asked = hyperparameters.load({**BASE, "disable_gradient_checkpointing": disabled})
        assert trainer.common_arguments(asked, 1, tmp_path)["activation_checkpointing"] is not disabled


def test_keys_of_the_gpu(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    attention: list[str] = []

    class Loaded(Exception):  # noqa: N818
        pass

    def loaded(_path: Path, _dtype: str, implementation: str, *_: Any) -> None:
        attention.append(implementation)
        raise Loaded

    monkeypatch.setattr(base, "load_model", loaded)
    for flag in (True, False):
        asked = hyperparameters.load({**BASE, "flash_attention_v2": flag, "liger_kernel": flag})
        with pytest.raises(Loaded):
            base.bare(tiny_model, asked, "bfloat16")
        assert trainer.common_arguments(asked, 1, tmp_path)["use_liger_kernel"] is flag
    assert attention == ["flash_attention_2", "loglore_segmented"]

    class Loop(trainer.PackedTrainer):
        def __init__(self, requested: Hyperparameters) -> None:
            self.requested = requested

    offload = {"disable_gradient_checkpointing": False, "unsloth_gradient_checkpointing": True}
    assert isinstance(Loop(hyperparameters.load({**BASE, **offload})).offloaded(), torch.autograd.graph.save_on_cpu)
    assert not isinstance(Loop(hyperparameters.load(BASE)).offloaded(), torch.autograd.graph.save_on_cpu)


@pytest.mark.parametrize("bits", [4, 8])
def test_quantization_is_handed_to_bitsandbytes(bits: int) -> None:
    asked = hyperparameters.load({**BASE, "quantization_bit": bits})
    found = base._quantization(asked)
    assert (found.load_in_4bit, found.load_in_8bit) == (bits == 4, bits == 8)
    assert base._quantization(hyperparameters.load(BASE)) is None


def test_every_key_is_looked_at() -> None:
    here = Path(__file__).read_text()
    elsewhere = {key: name for name, keys in ELSEWHERE.items() for key in keys}
    for key in Hyperparameters.model_fields:
        other = Path(__file__).with_name(f"{elsewhere[key]}.py").read_text() if key in elsewhere else None
        assert key in (other or here.partition("class Seen")[2]), key


def test_plan_follows_the_processes(tiny_model: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    files.write_jsonl(rows, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    tokenizer, asked = load_tokenizer(tiny_model), hyperparameters.load({**BASE, "batch_size": 1})
    one, two = (plan.build("cpt", rows, None, tokenizer, asked, processes=number) for number in (1, 2))
    assert len(two.steps) == -(-len(one.steps) // 2)
    assert one.tokens() == two.tokens()
