"""What a finished run writes: the adapter and the model, behind a parity gate.

The gate compares, on the same tokens, the network that was trained with the one that was written and read again. For a
merged adapter both compute the same function in another order of sums, so their logits differ by rounding alone: the
merge is done and compared in fp32, where `LARGEST_DIFFERENCE` leaves room for rounding in tens of layers and nothing
else, and is rounded to bf16 once, afterwards, by chance: to nearest would undo what is smaller than bf16's steps.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.errors import JobError
from loglore.models.load import CAREFUL, Trust, load_model, save_model
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.train.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LARGEST_DIFFERENCE = 1e-3  # of a logit, in fp32, over the largest logit of the row
PROBE_TOKENS = 128


def save(
    base: Path,
    requested: Hyperparameters,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    context: RunFolder,
    trust: Trust = CAREFUL,
) -> tuple[dict[str, str], dict[str, Any] | None]:
    """Write `model/` in bf16; LoRA also writes `adapter/`, merged where `merge_adapter` says so.

    Returns:
        outputs, and what the parity gate measured (None where nothing was merged).

    Raises:
        JobError: the merged model computes something else than the adapter.
    """
    if requested.training_type == "full":
        write(model, tokenizer, context.path / "model")
        return {"model": "model"}, None
    with files.replacing_folder(context.path / "adapter") as folder:
        model.save_pretrained(folder)
        _sort_adapter_config(folder / "adapter_config.json")
    if not requested.merge_adapter:
        return {"adapter": "adapter"}, None
    merged, parity = merge(base, context.path / "adapter", tokenizer, trust)
    context.event("parity", **parity)
    if not parity["passed"]:
        raise JobError(
            f"the merged model does not compute what the adapter does: logits differ by {parity['difference']:.2g} of "
            f"the largest, limit {LARGEST_DIFFERENCE}; the adapter is in {context.path / 'adapter'}"
        )
    write(merged, tokenizer, context.path / "model")
    return {"model": "model", "adapter": "adapter"}, parity


def merge(
    base: Path, adapter: Path, tokenizer: "PreTrainedTokenizerBase", trust: Trust = CAREFUL
) -> tuple["PreTrainedModel", dict[str, Any]]:
    """Merge in fp32 and compare: the plain model, and `difference`, `limit`, `tokens`, `passed`."""
    from peft import PeftModel

    ids = probe(tokenizer)
    attached = PeftModel.from_pretrained(load_model(base, "float32", trust=trust), str(adapter)).eval()
    expected = _logits(attached, ids)
    merged = attached.merge_and_unload().eval()
    found = difference(expected, _logits(merged, ids))
    return merged, {
        "difference": found,
        "limit": LARGEST_DIFFERENCE,
        "tokens": ids.shape[1],
        "passed": found <= LARGEST_DIFFERENCE,
    }


def probe(tokenizer: "PreTrainedTokenizerBase") -> "torch.Tensor":
    """Token ids [1, up to 128] of general text: something that both networks read."""
    import torch

    from loglore.data import general_text

    ids = tokenizer(general_text.measured()[: PROBE_TOKENS * 8], add_special_tokens=False)["input_ids"]
    return torch.tensor([ids[:PROBE_TOKENS]])


def difference(expected: "torch.Tensor", found: "torch.Tensor") -> float:
    """The largest difference of two logits over the largest absolute logit; infinite where one is not a number."""
    import torch

    if not bool(torch.isfinite(found).all() & torch.isfinite(expected).all()):
        return float("inf")
    return float((expected - found).abs().max() / expected.abs().max())


def _logits(model: "PreTrainedModel", ids: "torch.Tensor") -> "torch.Tensor":
    import torch

    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits.float()
        return logits


def write(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", place: Path) -> None:
    """Write a trained model in bf16 as the folder `place`; it is rounded where it stands."""
    from loglore.train.rounding import rounded

    model.config.use_cache = True
    rounded(model)
    with files.replacing_folder(place) as folder:
        save_model(model, tokenizer, folder)


def restore_best(model: "PreTrainedModel", best: Path, trust: Trust = CAREFUL) -> None:
    """Put the weights of the best evaluation (`save_best_checkpoint`) back into the model."""
    import torch
    from safetensors.torch import load_file

    if (best / "adapter_model.safetensors").is_file():
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(best / "adapter_model.safetensors"))
        return
    kept = load_model(best, "float32", trust=trust).state_dict()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(kept[name])


def clean(context: RunFolder) -> None:
    """Remove what only a run that goes on needs."""
    for name in ("checkpoints", "best"):
        shutil.rmtree(context.path / name, ignore_errors=True)


def _sort_adapter_config(path: Path) -> None:
    """Sort the target modules: PEFT writes them in the order of a set, another one in every process."""
    config = files.read_json(path)
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    files.write_json(path, config)
