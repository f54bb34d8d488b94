"""Training on a tiny random Llama: exact losses, and the same result bit for bit after being killed."""

import json
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support_forked import forked
from support_tiny import TEXTS
from support_training import train

from loglore.data.files import read_rows
from loglore.data.formats import to_messages
from loglore.data.packing import IGNORED
from loglore.errors import InputError
from loglore.models.load import load_model, load_tokenizer
from loglore.runs import files, fingerprint
from loglore.runs.folder import RunFolder
from loglore.train import checkpoints, loss, plan, trainer
from loglore.train.hyperparameters import load
from loglore.train.job import TrainSpec, run

BASE = {
    "batch_size": 2,
    "gradient_accumulation_steps": 2,
    "epochs": 2,
    "learning_rate": 5e-3,
    "max_sequence_length": 256,
    "mixed_precision": "none",
    "disable_gradient_checkpointing": True,
    "checkpoint_strategy": "no",
    "lr_warmup_ratio": 0.0,
}


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    files.write_jsonl(
        path,
        [
            {
                "conversations": [
                    {"from": "human", "value": f"{number}. What is this?\n\nLog content:\n{text}"},
                    {"from": "gpt", "value": f"Line {number} says: {text[: 10 + 7 * (number % 5)]}"},
                ]
            }
            for number, text in enumerate(TEXTS)
        ],
    )
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    files.write_jsonl(path, [{"text": f"{text} {number}"} for number, text in enumerate(TEXTS)])
    return path


def spec(folder: Path, stage: str, model: Path, rows: Path, **changed: object) -> TrainSpec:
    hyperparameters = folder / f"h-{fingerprint.of_value(changed)[:8]}.json"
    hyperparameters.write_text(json.dumps({**BASE, **changed}))
    return TrainSpec(
        stage=stage, model=model, train=rows, validation=rows, hyperparameters=hyperparameters, general_text=False
    )


def losses(folder: Path, key: str = "loss") -> list[float]:
    return [row[key] for row in files.read_jsonl_log(folder / "metrics.jsonl") if key in row]


@pytest.mark.parametrize("training_type", ["full", "lora"])
def test_loss_falls_and_the_saved_model_has_the_last_evaluation_loss(
    tmp_path: Path, tiny_model: Path, chats: Path, training_type: str
) -> None:
    asked = spec(tmp_path, "sft", tiny_model, chats, training_type=training_type, epochs=3)
    result = run(asked, RunFolder(tmp_path / "run", {}))
    measured = losses(tmp_path / "run", "eval_loss")
    assert measured[-1] < measured[0] - 0.3
    assert result["eval_loss"] == {"first": measured[0], "last": measured[-1]}
    assert result["steps"] == 3 * 8 and result["samples"] == 32
    # Independent of our packing and our loss: transformers' own, padded, on the saved model.
    saved = load_model(tmp_path / "run" / "model")
    assert padded_loss(saved, tiny_model, chats) == pytest.approx(measured[-1], abs=0.02)  # saved in bf16
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert (tmp_path / "run" / "adapter").exists() == (training_type == "lora")


def padded_loss(model: torch.nn.Module, folder: Path, chats: Path) -> float:
    """Mean loss of answer tokens, computed the textbook way: one row a sample, padded, prompts masked by length."""
    tokenizer = load_tokenizer(folder)
    rows = [to_messages(row) for row in read_rows(chats)]
    texts = [tokenizer.apply_chat_template(row, tokenize=False).removesuffix("\n") for row in rows]
    prompts = [tokenizer.apply_chat_template(row[:1], tokenize=False, add_generation_prompt=True) for row in rows]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    labels = batch["input_ids"].clone()
    for number, prompt in enumerate(prompts):
        labels[number, : len(tokenizer(prompt)["input_ids"])] = IGNORED
        labels[number, batch["attention_mask"][number].sum() :] = IGNORED
    with torch.no_grad():
        return float(model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss)


def test_first_loss_is_that_of_padded_training(tmp_path: Path, tiny_model: Path, chats: Path) -> None:
    asked = spec(tmp_path, "sft", tiny_model, chats, batch_size=32, gradient_accumulation_steps=1, epochs=1)
    run(asked, RunFolder(tmp_path / "run", {}))
    expected = padded_loss(load_model(tiny_model), tiny_model, chats)
    assert losses(tmp_path / "run")[0] == pytest.approx(expected, abs=1e-5)


def test_batch_and_accumulation_are_interchangeable(tmp_path: Path, tiny_model: Path, chats: Path) -> None:
    found = {}
    for batch, accumulation in ((8, 1), (1, 8), (2, 4)):
        folder = tmp_path / f"{batch}x{accumulation}"
        asked = spec(
            tmp_path, "sft", tiny_model, chats, batch_size=batch, gradient_accumulation_steps=accumulation, epochs=1
        )
        run(asked, RunFolder(folder, {}))
        found[batch] = losses(folder)
    assert found[8] == pytest.approx(found[1], abs=1e-5)
    assert found[8] == pytest.approx(found[2], abs=1e-5)


def test_packing_into_longer_rows_changes_no_loss(tmp_path: Path, tiny_model: Path, chats: Path) -> None:
    found = []
    for length in (128, 1024):
        run(spec(tmp_path, "sft", tiny_model, chats, max_sequence_length=length), RunFolder(tmp_path / str(length), {}))
        found.append(losses(tmp_path / str(length)))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@pytest.mark.parametrize(("stage", "training_type"), [("cpt", "full"), ("sft", "lora")])
def test_killed_training_ends_in_the_same_bits(
    tmp_path: Path, tiny_model: Path, chats: Path, corpus: Path, stage: str, training_type: str
) -> None:
    rows = corpus if stage == "cpt" else chats
    asked = spec(
        tmp_path, stage, tiny_model, rows, training_type=training_type, batch_size=1, mixed_precision="bf16",
        lora_dropout=0.1, eval_strategy="steps", eval_steps=3, max_sequence_length=128, full_determinism=True,
        epochs=2 if stage == "cpt" else 1,  # 8 and 16 steps
    )  # fmt: skip
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    _to_the_end(straight, asked)
    process = forked(train, killed, asked.model_dump_json())
    _wait_for_step(process, killed, 2)
    process.kill()
    process.join()
    # While a checkpoint is written: the one before is the newest whole one.
    process = forked(train, killed, asked.model_dump_json(), 5)
    process.join(200)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in checkpoints.complete(killed / "checkpoints")] == ["step-3", "step-4"]
    assert (killed / "checkpoints" / "checkpoint-5").is_dir() and not (killed / "model").exists()
    _to_the_end(killed, asked)
    assert losses(killed) == losses(straight)
    assert losses(killed, "eval_loss") == losses(straight, "eval_loss")
    bits = [load_file(folder / "model" / "model.safetensors") for folder in (straight, killed)]
    assert all(torch.equal(bits[0][name], bits[1][name]) for name in bits[0])
    if training_type == "lora":
        assert fingerprint.of_path(straight / "adapter") == fingerprint.of_path(killed / "adapter")


def _to_the_end(folder: Path, asked: TrainSpec) -> None:
    process = forked(train, folder, asked.model_dump_json())
    process.join(200)
    assert process.exitcode == 0


def _wait_for_step(process: BaseProcess, folder: Path, step: int) -> None:
    """Wait until the run has written the metrics of `step`."""
    metrics = folder / "metrics.jsonl"
    while not any(row["step"] >= step and "loss" in row for row in files.read_jsonl_log(metrics)):
        assert process.is_alive(), "the run ended before it could be killed"
        time.sleep(0.01)


def test_torn_checkpoints_are_not_taken_for_whole_ones(tmp_path: Path) -> None:
    for step in (9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "weights").write_text(str(step))
        checkpoints.publish(tmp_path / f"checkpoint-{step}", step, keep=2)
    (tmp_path / "checkpoint-12").mkdir()
    (tmp_path / "removing-step-8").mkdir()
    assert [path.name for path in checkpoints.complete(tmp_path)] == ["step-10", "step-11"]
    checkpoints.remove_torn(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-11"]


def test_best_checkpoint_is_the_one_that_is_saved(tmp_path: Path, tiny_model: Path, chats: Path) -> None:
    # A rate far too high: the loss rises after its best, so best and last differ.
    asked = spec(
        tmp_path,
        "sft",
        tiny_model,
        chats,
        learning_rate=0.05,
        epochs=4,
        save_best_checkpoint=True,
        eval_strategy="epoch",
    )
    run(asked, RunFolder(tmp_path / "run", {}))
    measured = losses(tmp_path / "run", "eval_loss")
    best = padded_loss(load_model(tmp_path / "run" / "model"), tiny_model, chats)
    assert best == pytest.approx(min(measured), abs=0.05)


def test_published_checkpoints_follow_strategy_and_number(tmp_path: Path, tiny_model: Path, chats: Path) -> None:
    asked = spec(
        tmp_path, "sft", tiny_model, chats, checkpoint_strategy="steps", checkpoint_steps=4, number_of_checkpoints=2
    )
    run(asked, RunFolder(tmp_path / "run", {}))
    published = sorted(path.name for path in (tmp_path / "run" / "published").iterdir())
    assert published == ["step-12", "step-16"]
    load_model(tmp_path / "run" / "published" / "step-16")


def test_row_longer_than_the_limit_is_named(tmp_path: Path, tiny_model: Path, chats: Path) -> None:
    asked = spec(tmp_path, "sft", tiny_model, chats, max_sequence_length=40)
    with pytest.raises(InputError, match=r"chats\.jsonl: row 1: \d+ tokens, more than `max_sequence_length` 40"):
        run(asked, RunFolder(tmp_path / "run", {}))


def test_long_pretraining_text_is_cut_and_all_of_it_learned(tmp_path: Path, tiny_model: Path, corpus: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    steps = plan.build("cpt", corpus, None, tokenizer, load({**BASE, "epochs": 1, "max_sequence_length": 16}))
    whole = sum(len(tokenizer(row["text"])["input_ids"]) + 1 for row in read_rows(corpus))
    assert whole - len(TEXTS) <= steps.tokens() <= whole


def test_max_tokens_reads_from_the_start(tiny_model: Path, corpus: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    hyperparameters = load({**BASE, "epochs": 1})
    assert plan.build("cpt", corpus, None, tokenizer, hyperparameters, 200).tokens() <= 200
    assert plan.build("cpt", corpus, None, tokenizer, hyperparameters, 200).samples >= 3


def test_row_without_counted_tokens_adds_no_loss(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    row = loss.tensors(trainer._filler())
    found = loss.summed_loss(model, row)
    found.backward()
    assert found.item() == 0
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())
