"""Preference training: losses against formulas written out here, rows, keys, and what a whole run leaves."""

import json
from pathlib import Path

import pytest
import torch
from support_tiny import TEXTS

from loglore.errors import InputError
from loglore.models.load import CAREFUL, load_model, load_tokenizer
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train import hyperparameters
from loglore.train.job import TrainSpec, run
from loglore.train.pairs import Pair, read_pairs

BASE = {
    "batch_size": 4, "gradient_accumulation_steps": 1, "epochs": 1, "learning_rate": 1e-3, "max_sequence_length": 256,
    "mixed_precision": "none", "disable_gradient_checkpointing": True, "checkpoint_strategy": "no", "pref_beta": 0.5,
    "lr_warmup_ratio": 0.0, "lr_scheduler_type": "constant", "eval_strategy": "no",
}  # fmt: skip


def row(number: int, chosen: str, rejected: str) -> dict:
    return {
        "conversations": [{"from": "human", "value": f"{number}. What is this?\n{TEXTS[number % 4]}"}],
        "chosen": {"from": "gpt", "value": chosen},
        "rejected": {"from": "gpt", "value": rejected},
    }


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    files.write_jsonl(path, [row(n, f"Line {n}: the disk is full.", f"I do not know {n}") for n in range(4)])
    return path


def spec(folder: Path, model: Path, rows: Path, **changed: object) -> TrainSpec:
    path = folder / f"h-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps({**BASE, **changed}))
    return TrainSpec(stage="dpo", model=model, train=rows, hyperparameters=path, general_text=False)


def metrics(folder: Path, key: str = "loss") -> list[float]:
    return [found[key] for found in files.read_jsonl_log(folder / "metrics.jsonl") if key in found]


def log_probabilities(model: torch.nn.Module, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probability of every token of an answer, alone in its batch."""
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
    return logits.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]


def first_loss(model: torch.nn.Module, pairs: list[Pair], asked: dict) -> float:
    """The loss of one batch before any update, by the papers' formulas; reference = policy."""
    kind, beta, ftx = asked["pref_loss"], asked["pref_beta"], asked.get("pref_ftx", 0.0)
    smoothing, gamma = asked.get("dpo_label_smoothing", 0.0), asked.get("simpo_gamma", 0.5)
    losses, answers, texts = [], [], []
    for pair in pairs:
        chosen = log_probabilities(model, pair.prompt, pair.chosen)
        rejected = log_probabilities(model, pair.prompt, pair.rejected)
        answers.append(chosen)
        texts.append(log_probabilities(model, pair.prompt[:1], pair.prompt[1:] + pair.chosen))
        if kind in ("sigmoid", "hinge", "ipo"):  # both log ratios are 0
            zero = torch.zeros(())
            losses.append(
                {
                    "sigmoid": -torch.nn.functional.logsigmoid(zero),
                    "hinge": torch.relu(1 - zero),
                    "ipo": (zero - 1 / (2 * beta)) ** 2,
                }[kind]
            )
        elif kind == "simpo":
            margin = beta * (chosen.mean() - rejected.mean()) - gamma
            up, down = (-torch.nn.functional.logsigmoid(sign * margin) for sign in (1, -1))
            losses.append((1 - smoothing) * up + smoothing * down)
        else:
            p, q = chosen.mean().exp(), rejected.mean().exp()
            odds = torch.log(p / (1 - p)) - torch.log(q / (1 - q))
            losses.append(-beta * torch.nn.functional.logsigmoid(odds))
    if kind == "orpo":  # its language-model loss is that of prompt and answer
        return float(torch.stack(losses).mean() - torch.cat(texts).mean())
    return float(torch.stack(losses).mean() - ftx * torch.cat(answers).mean())


@pytest.mark.parametrize(
    "asked",
    [
        {"pref_loss": "sigmoid", "pref_ftx": 0.3, "training_type": "lora"},
        {"pref_loss": "hinge"},
        {"pref_loss": "ipo", "training_type": "lora"},
        {"pref_loss": "orpo", "training_type": "lora"},
        {"pref_loss": "simpo", "pref_ftx": 0.7, "simpo_gamma": 0.9},
        {"pref_loss": "simpo", "dpo_label_smoothing": 0.2, "training_type": "lora"},
    ],
    ids=lambda asked: "-".join(str(value) for value in asked.values()),
)
def test_first_loss_is_the_formula_and_training_lowers_it(
    tmp_path: Path, tiny_model: Path, rows: Path, asked: dict
) -> None:
    asked = {**asked, "pref_beta": 0.5}
    result = run(spec(tmp_path, tiny_model, rows, epochs=3, **asked), RunFolder(tmp_path / "run", {}))
    pairs = read_pairs(rows, load_tokenizer(tiny_model), 256)
    found = metrics(tmp_path / "run")
    assert found[0] == pytest.approx(first_loss(load_model(tiny_model), pairs, asked), abs=2e-4)
    assert found[-1] < found[0]
    assert result["steps"] == len(found) == 3
    assert result["tokens"] == 3 * sum(pair.tokens for pair in pairs)
    assert result["domain_perplexity"]["after"]["source"] == "chosen answers of training rows"
    load_model(tmp_path / "run" / "model")


@pytest.mark.parametrize("smoothing", [0.0, 0.2, 0.5])
def test_label_smoothing_is_conservative_dpo(tmp_path: Path, tiny_model: Path, rows: Path, smoothing: float) -> None:
    from loglore.train import preference, work
    from loglore.train.world import ALONE

    asked = spec(tmp_path, tiny_model, rows, pref_loss="sigmoid", dpo_label_smoothing=smoothing)
    requested = hyperparameters.load(asked.hyperparameters)
    tokenizer, context = load_tokenizer(tiny_model), RunFolder(tmp_path / "run", {})
    task = work.plan(asked, requested, tokenizer, context, 1)
    model = task.model(tiny_model, requested, ALONE, CAREFUL)
    loop = preference.build(model, tokenizer, task, requested, context, lambda *_, **__: None, ALONE)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        found = loop.compute_loss(model, loop.data_collator([loop.train_dataset[n] for n in range(4)]))
    reference = load_model(tiny_model)
    expected = []
    for pair in task.pairs:
        ratios = [
            (log_probabilities(model, pair.prompt, answer) - log_probabilities(reference, pair.prompt, answer)).sum()
            for answer in (pair.chosen, pair.rejected)
        ]
        margin = 0.5 * (ratios[0] - ratios[1])
        up, down = (-torch.nn.functional.logsigmoid(sign * margin) for sign in (1, -1))
        expected.append((1 - smoothing) * up + smoothing * down)
    assert float(torch.stack(expected).std()) > 0.01
    assert float(found) == pytest.approx(float(torch.stack(expected).mean()), rel=1e-4)


def test_weights_of_trls_losses_make_the_smoothed_one() -> None:
    from loglore.train import preference

    for smoothing in (0.01, 0.25, 0.5):
        asked = hyperparameters.load({**BASE, "dpo_label_smoothing": smoothing, "pref_ftx": 0.4})
        names, weights = preference._losses(asked)
        for margin in (-2.0, 0.1, 3.0):
            up, down = (float(-torch.nn.functional.logsigmoid(torch.tensor(s * margin))) for s in (1.0, -1.0))
            s = preference.ROBUST_SMOOTHING
            value = {"sigmoid": up, "robust": ((1 - s) * up - s * down) / (1 - 2 * s), "sft": 0.0}
            total = sum(weight * value[name] for name, weight in zip(names, weights, strict=True))
            assert total == pytest.approx((1 - smoothing) * up + smoothing * down, abs=1e-5)
        assert weights[names.index("sft")] == 0.4


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pref_loss": "kto_pair"}, "`pref_loss`: kto_pair was removed from TRL"),
        ({"pref_loss": "ipo", "dpo_label_smoothing": 0.1}, "`dpo_label_smoothing`: ipo has no smoothed form"),
        ({"pref_loss": "orpo", "pref_ftx": 1}, "`pref_ftx`: orpo holds the loss of prompt and chosen answer"),
        ({"pref_beta": 0}, "`pref_beta`: 0 leaves sigmoid without a gradient"),
    ],
)
def test_what_a_loss_cannot_honour_is_refused(changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hyperparameters.outcomes(hyperparameters.load(changed), "dpo", gpu=False, processes=1)


def test_keys_that_a_loss_does_not_read_are_listed() -> None:
    def status(loss: str) -> dict[str, str]:
        found = hyperparameters.outcomes(hyperparameters.load({"pref_loss": loss}), "dpo", gpu=False, processes=1)
        return {one.key: one.status for one in found if one.key in hyperparameters.PREFERENCE_KEYS}

    assert status("sigmoid") == {
        "dpo_label_smoothing": "effective", "pref_beta": "effective", "pref_ftx": "effective",
        "pref_loss": "effective", "simpo_gamma": "not applicable here",
    }  # fmt: skip
    assert status("orpo")["pref_ftx"] == status("hinge")["dpo_label_smoothing"] == "not applicable here"
    assert set(status("simpo").values()) == {"effective"}


def test_pairs_are_prompt_and_answers_with_their_end_of_turn(tmp_path: Path, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    path = tmp_path / "pairs.jsonl"
    conversation = [
        {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes?"}, {"from": "human", "value": "What failed?"},
    ]  # fmt: skip
    files.write_jsonl(
        path,
        [
            {
                "conversations": conversation,
                "chosen": {"from": "gpt", "value": "The disk."},
                "rejected": {"from": "gpt", "value": "Nothing at all."},
            }
        ],
    )
    (pair,) = read_pairs(path, tokenizer, 256)
    assert tokenizer.decode(pair.prompt) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n"
        "<|im_start|>user\nWhat failed?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(pair.chosen) == "The disk.<|im_end|>"
    assert tokenizer.decode(pair.rejected) == "Nothing at all.<|im_end|>"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"conversations": row(0, "a", "b")["conversations"] + [{"from": "gpt", "value": "x"}]}, "sharegpt rows hold"),
        ({"text": "a"}, "corpus rows hold one answer"),
        (row(0, "same", "same"), "the same answer"),
        (row(0, "a", " "), "`rejected`: empty turn"),
        (row(0, "a " * 300, "b"), "more than `max_sequence_length` 256"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, tiny_model: Path, bad: dict, message: str) -> None:
    path = tmp_path / "pairs.jsonl"
    files.write_jsonl(path, [row(0, "a", "b"), bad])
    with pytest.raises(InputError, match=r"pairs\.jsonl: row 2: .*" + message):
        read_pairs(path, load_tokenizer(tiny_model), 256)


def test_no_rows_at_all(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("")
    with pytest.raises(InputError, match=r"pairs\.jsonl: no rows"):
        read_pairs(path, load_tokenizer(tiny_model), 256)


def test_evaluation_best_and_resume(
    tmp_path: Path, tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGLORE_CHECKPOINT_SECONDS", "0")
    asked = spec(
        tmp_path, tiny_model, rows, epochs=4, batch_size=2, training_type="lora", eval_strategy="steps", eval_steps=2,
        save_best_checkpoint=True, learning_rate=1e-2, lora_dropout=0.1,
    )  # fmt: skip
    asked = asked.model_copy(update={"validation": rows})
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    run(asked, RunFolder(straight, {}))

    class Broken(RunFolder):
        def metric(self, step: int, **values: float) -> None:
            if step == 6 and "loss" in values:
                raise KeyboardInterrupt
            super().metric(step, **values)

    with pytest.raises(KeyboardInterrupt):
        run(asked, Broken(broken, {}))
    result = run(asked, RunFolder(broken, {}))
    for key in ("loss", "eval_loss", "eval_rewards_accuracies"):
        assert metrics(broken, key) == metrics(straight, key)
    assert metrics(broken, "eval_rewards_accuracies")[-1] == 1.0
    assert result["eval_loss"]["last"] < result["eval_loss"]["first"]
