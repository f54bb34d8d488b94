"""Fold a LoRA adapter into its base model: W + (alpha / rank) · B·A for every adapted matrix W.

The sum is taken in float32 and rounded once to the base's own dtype. Merging in bf16 directly would round twice and
loses small updates (bf16 keeps 8 bits of a weight's mantissa). Costs 4 bytes of memory a parameter while it runs.
"""

from pathlib import Path

from loglore.runs import files


def merge(model: Path, adapter: Path | None, target: Path) -> Path:
    """Write `model` with `adapter` merged in as a Hugging Face folder (safetensors, tokenizer, chat template).

    Args:
        model: the base, a Hugging Face folder or a GGUF file.
        adapter: a PEFT adapter folder, or None to save the model as it is.
        target: the folder to write; it appears only when it is complete.

    Raises:
        InputError: nothing loadable in `model` or `adapter`.
    """
    from loglore.models.load import attach_adapter, load_model, load_tokenizer, save_model

    network = load_model(model, "float32")
    if adapter is not None:
        network = attach_adapter(network, adapter)
    network = network.to(_stored_dtype(model))
    with files.replacing_folder(target) as partial:
        save_model(network, load_tokenizer(model), partial)
    return target


def _stored_dtype(model: Path) -> "object":
    import torch

    if model.suffix == ".gguf":
        return torch.bfloat16
    config = files.read_json(model / "config.json")
    return getattr(torch, config.get("dtype") or config.get("torch_dtype") or "float32")
