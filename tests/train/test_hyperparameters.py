import json
from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.train import hyperparameters
from loglore.train.hyperparameters import Hyperparameters, load, outcomes

# The keys of the contract, as the studio documents them.
KEYS = [
    "batch_size",
    "gradient_accumulation_steps",
    "epochs",
    "learning_rate",
    "lr_scheduler_type",
    "lr_warmup_steps",
    "lr_warmup_ratio",
    "max_grad_norm",
    "weight_decay",
    "optimizer",
    "max_sequence_length",
    "mixed_precision",
    "quantization_bit",
    "training_type",
    "lora_rank",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "merge_adapter",
    "flash_attention_v2",
    "liger_kernel",
    "disable_gradient_checkpointing",
    "unsloth_gradient_checkpointing",
    "distributed_backend",
    "zero_stage",
    "checkpoint_strategy",
    "checkpoint_steps",
    "number_of_checkpoints",
    "save_best_checkpoint",
    "eval_strategy",
    "eval_steps",
    "logging_steps",
    "resume_from_checkpoint",
    "seed",
    "full_determinism",
    "dpo_label_smoothing",
    "pref_beta",
    "pref_ftx",
    "pref_loss",
    "simpo_gamma",
]


def test_the_keys_are_those_of_the_contract() -> None:
    assert sorted(Hyperparameters.model_fields) == sorted(KEYS)
    assert len(KEYS) == 40


@pytest.mark.parametrize("name", ["cpt_llama-3.1-8b_8xh100", "sft_llama-3.1-8b_4xh100"])
def test_published_files_are_accepted_verbatim_and_every_key_has_an_outcome(repository: Path, name: str) -> None:
    path = repository / "recipes" / "hyperparameters" / f"{name}.json"
    requested = load(path)
    written = json.loads(path.read_text())
    assert {key: value for key, value in requested.model_dump().items() if key in written} == written
    found = {outcome.key: outcome for outcome in outcomes(requested, path.name[:3], gpu=False, processes=1)}
    assert sorted(found) == sorted(KEYS)
    assert {outcome.status for outcome in found.values()} == {"effective", "replaced", "not applicable here"}
    assert found["flash_attention_v2"].status == "replaced" and "SDPA" in found["flash_attention_v2"].note
    lora = "not applicable here" if name.startswith("cpt") else "effective"
    assert found["lora_rank"].status == lora
    assert found["pref_beta"].status == "not applicable here"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rte": 1e-5}, r"unknown key `learning_rte`; did you mean `learning_rate`\?"),
        ({"learning_rate": 1.0}, "`learning_rate`: .*less than 1"),
        ({"learning_rate": 0}, "`learning_rate`: .*greater than 0"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"lr_warmup_ratio": 1}, "`lr_warmup_ratio`"),
        ({"lora_dropout": 1.1}, "`lora_dropout`"),
        ({"dpo_label_smoothing": 0.6}, "`dpo_label_smoothing`"),
        ({"pref_beta": 1.5}, "`pref_beta`"),
        ({"pref_ftx": 11}, "`pref_ftx`"),
        ({"simpo_gamma": 0}, "`simpo_gamma`"),
        ({"logging_steps": -2}, "`logging_steps`"),
        ({"lr_scheduler_type": "step"}, "`lr_scheduler_type`: .*'linear', 'cosine' or 'constant'"),
        ({"quantization_bit": 4}, "`quantization_bit` needs `training_type: lora`"),
        ({"save_best_checkpoint": True, "eval_strategy": "no"}, "`save_best_checkpoint` needs `eval_strategy`"),
    ],
)
def test_values_out_of_range_are_named(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"quantization_bit": 8, "training_type": "lora"}, "`quantization_bit`: 4 and 8 need a CUDA GPU"),
        ({"mixed_precision": "fp16"}, "`mixed_precision`: fp16 training needs a CUDA GPU"),
    ],
)
def test_what_a_cpu_cannot_do_is_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        outcomes(load(values), "sft", gpu=False, processes=1)


def test_warmup_steps_win_over_the_ratio() -> None:
    assert load({"lr_warmup_steps": 7, "lr_warmup_ratio": 0.5}).warmup_steps(100) == 7
    assert load({"lr_warmup_ratio": 0.1}).warmup_steps(106) == 11


def test_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.json"
    path.write_text("[1]")
    with pytest.raises(InputError, match=r"h\.json: expected a JSON object of hyperparameters, found list"):
        hyperparameters.load(path)
