"""Bad input of a training run: each ends before the first step, in one line that says what was expected."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from support_tiny import CHATML, TEXTS, build_tokenizer

from loglore.errors import InputError
from loglore.models.load import Trust, load_model, load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import checks, hyperparameters
from loglore.train.job import TrainSpec, run

BASE = {
    "batch_size": 2, "gradient_accumulation_steps": 1, "epochs": 1, "max_sequence_length": 128,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no",
}  # fmt: skip


def train(folder: Path, model: Path, stage: str = "cpt", rows: list[dict] | None = None, **changed: object) -> None:
    path, data = folder / "h.json", folder / "rows.jsonl"
    path.write_text(json.dumps({**BASE, **changed}))
    files.write_jsonl(data, [{"text": text} for text in TEXTS] if rows is None else rows)
    spec = TrainSpec(stage=stage, model=model, train=data, hyperparameters=path, general_text=False)
    run(spec, RunFolder(folder / "run", {}))


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def assert_refused_in_one_line(folder: Path, model: Path, message: str, **arguments: object) -> None:
    with pytest.raises(InputError, match=message) as caught:
        train(folder, model, **arguments)
    assert "\n" not in str(caught.value)


def test_model_folder_without_weights(tmp_path: Path, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert_refused_in_one_line(tmp_path, copy, r"model: no weights; expected \*\.safetensors")


def test_damaged_weights(tmp_path: Path, copy: Path) -> None:
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes()[:1000])
    assert_refused_in_one_line(tmp_path, copy, "model: damaged weights")


def test_pickles_are_refused_unless_asked_for(tmp_path: Path, copy: Path) -> None:
    weights = load_model(copy).state_dict()
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    assert_refused_in_one_line(tmp_path, copy, r"its weights are pickles \(pytorch_model\.bin\)")
    loaded = load_model(copy, trust=Trust(pickles=True)).state_dict()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_code_of_a_model_is_refused_unless_asked_for(tmp_path: Path, copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoModelForCausalLM": "modeling_homemade.Homemade"}}
    (copy / "config.json").write_text(json.dumps(config))
    # The tokenizer of such a folder loads without its code; so the model is what is refused.
    assert_refused_in_one_line(tmp_path, copy, "model type 'homemade' needs the Python code that comes with it")


HOMEMADE = """
from transformers import LlamaConfig, LlamaForCausalLM

class HomemadeConfig(LlamaConfig):
    model_type = "homemade"

class Homemade(LlamaForCausalLM):
    config_class = HomemadeConfig
"""


@pytest.mark.parametrize("training_type", ["full", "lora"])
def test_model_with_code_trains_when_it_is_trusted(tmp_path: Path, copy: Path, training_type: str) -> None:
    (copy / "modeling_homemade.py").write_text(HOMEMADE)
    config = json.loads((copy / "config.json").read_text())
    names = {"AutoConfig": "HomemadeConfig", "AutoModelForCausalLM": "Homemade"}
    config |= {"model_type": "homemade", "auto_map": {key: f"modeling_homemade.{name}" for key, name in names.items()}}
    (copy / "config.json").write_text(json.dumps(config))
    keys, rows = tmp_path / "h.json", tmp_path / "rows.jsonl"
    best = {"save_best_checkpoint": True, "eval_strategy": "epoch"}
    keys.write_text(json.dumps({**BASE, **best, "training_type": training_type}))
    files.write_jsonl(rows, [{"text": text} for text in TEXTS])
    spec = TrainSpec(
        stage="cpt", model=copy, train=rows, validation=rows, hyperparameters=keys, general_text=False,
        trust_remote_code=True,
    )  # fmt: skip
    run(spec, RunFolder(tmp_path / "run", {}))
    trained = load_model(tmp_path / "run" / "model", trust=Trust(remote_code=True))
    assert type(trained).__name__ == "Homemade"
    with pytest.raises(InputError, match="needs the Python code that comes with it"):
        load_model(tmp_path / "run" / "model")


def test_tokenizer_without_chat_template(tmp_path: Path, copy: Path) -> None:
    build_tokenizer(copy, chat_template=CHATML)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = copy / name
        if name.endswith("json"):
            config = json.loads(path.read_text())
            config.pop("chat_template", None)
            path.write_text(json.dumps(config))
        else:
            path.unlink(missing_ok=True)
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    assert_refused_in_one_line(tmp_path, copy, "the tokenizer has no chat template", stage="sft", rows=rows)


def test_vocabulary_of_another_model(tmp_path: Path, copy: Path) -> None:
    tokenizer = load_tokenizer(copy)
    tokenizer.add_tokens([f"<extra{number}>" for number in range(600)])
    tokenizer.save_pretrained(copy)
    assert_refused_in_one_line(tmp_path, copy, r"the tokenizer has ids up to \d+, the model embeds 512")


@pytest.mark.parametrize(
    ("stage", "row", "message"),
    [
        ("cpt", {"messages": [{"role": "user", "content": "a"}]}, "openai-chat rows are no pretraining text"),
        ("sft", {"text": "a"}, "corpus rows have no chat messages"),
        ("dpo", {"text": "a"}, "stage dpo takes sharegpt-dpo"),
    ],
)
def test_rows_of_another_stage(tmp_path: Path, tiny_model: Path, stage: str, row: dict, message: str) -> None:
    assert_refused_in_one_line(tmp_path, tiny_model, r"rows\.jsonl: row 1: .*" + message, stage=stage, rows=[row])


def test_no_rows(tmp_path: Path, tiny_model: Path) -> None:
    assert_refused_in_one_line(tmp_path, tiny_model, r"rows\.jsonl: no rows", rows=[])


def test_learning_rate_zero(tmp_path: Path, tiny_model: Path) -> None:
    assert_refused_in_one_line(tmp_path, tiny_model, "`learning_rate`: Input should be greater than 0", learning_rate=0)


def test_more_tokens_than_the_model_has_positions(tmp_path: Path, copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32}))
    assert_refused_in_one_line(
        tmp_path, copy, "a sample has 64 tokens, and .*model was made for 32 positions",
        rows=[{"text": TEXTS[0] * 9}], max_sequence_length=64,
    )  # fmt: skip


def test_disk_too_small_for_the_checkpoints(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    assert_refused_in_one_line(tmp_path, tiny_model, r"run: 0\.0 GB free, and checkpoints and the model take up to")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_disk_needed_is_what_checkpoints_take(tmp_path: Path, tiny_model: Path) -> None:
    """Against a run: three recovery checkpoints (two kept, one in writing) and the model."""
    asked = hyperparameters.load({**BASE, "mixed_precision": "bf16"})
    model = load_model(tiny_model, "bfloat16")
    parameters = sum(weight.numel() for weight in model.parameters())
    assert checks.disk_needed(model, asked) == parameters * (3 * 14 + 2)
