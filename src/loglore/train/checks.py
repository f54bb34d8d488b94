"""What is looked at before the first step, so that a run of hours does not fail at its end: one line for each fault."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from loglore.errors import InputError
from loglore.models.load import vocabulary_fault
from loglore.train import checkpoints
from loglore.train.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

GB = 1e9
# Bytes a trained parameter takes in a checkpoint: bf16 weights, fp32 masters and two moments; else fp32 weights.
ADAM_WITH_MASTERS, ADAM = 2 + 4 + 8, 4 + 8


def before_training(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    requested: Hyperparameters,
    longest: int,
    folder: Path,
    where: Path,
) -> None:
    """Check that model, tokenizer, rows and disk go together.

    Args:
        model: ready for training.
        tokenizer: of the same folder.
        requested: hyperparameters.
        longest: tokens of the longest sample.
        folder: of the run; checkpoints go there.
        where: of the model, for messages.

    Raises:
        InputError: naming what was found and what was expected.
    """
    fault = vocabulary_fault(model, tokenizer)
    if fault:
        raise InputError(f"{where}: {fault}")
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions and longest > positions:
        raise InputError(
            f"a sample has {longest:,} tokens, and {where} was made for {positions:,} positions; set "
            f"`max_sequence_length` to at most {positions}"
        )
    needed = disk_needed(model, requested)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {free / GB:.1f} GB free, and checkpoints and the model take up to {needed / GB:.1f} GB; free "
            "some space, or put the run on another disk"
        )


def disk_needed(model: "PreTrainedModel", requested: Hyperparameters) -> int:
    """Bytes that a run writes at most: recovery checkpoints (one more while it is written), published ones, model."""
    everything: int = sum(weight.numel() for weight in model.parameters())
    trained: int = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    state = ADAM_WITH_MASTERS if requested.mixed_precision == "bf16" else ADAM
    width = 2 if requested.mixed_precision == "bf16" else 4
    published = 0 if requested.checkpoint_strategy == "no" else requested.number_of_checkpoints + 1
    best = 2 if requested.save_best_checkpoint else 0
    return trained * (state * (checkpoints.KEPT + 1) + width * (published + best)) + everything * 2
