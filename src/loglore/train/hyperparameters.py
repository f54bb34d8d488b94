"""The 40 hyperparameters, accepted verbatim from the published JSON files, and what became of each.

Every key ends as *effective*, *replaced* (by what), *not applicable here* or *refused* (an error with the reason);
the report of a run lists requested -> status -> effective value.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from loglore.errors import InputError
from loglore.runs.files import read_json
from loglore.runs.spec import Spec

LORA_KEYS = ("lora_rank", "lora_alpha", "lora_dropout", "target_modules", "merge_adapter")
PREFERENCE_KEYS = ("dpo_label_smoothing", "pref_beta", "pref_ftx", "pref_loss", "simpo_gamma")
WITH_REFERENCE = ("sigmoid", "hinge", "ipo")  # preference losses against a frozen reference
SMOOTHED = ("sigmoid", "simpo")  # preference losses that take `dpo_label_smoothing`


class Hyperparameters(Spec):
    """Requested values with the ranges that the studio documents; units in the comments."""

    batch_size: int = Field(8, ge=1)  # per device: packed rows in pretraining, samples in fine-tuning
    gradient_accumulation_steps: int = Field(2, ge=1)  # batches an optimizer step
    epochs: int = Field(1, ge=1)
    learning_rate: float = Field(1e-5, gt=0, lt=1)
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "cosine"
    lr_warmup_steps: int = Field(0, ge=0)  # when > 0 it takes precedence over the ratio
    lr_warmup_ratio: float = Field(0.1, ge=0, lt=1)  # share of all optimizer steps
    max_grad_norm: float = Field(1.0, ge=0)  # 0 turns clipping off
    weight_decay: float = Field(0.01, ge=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    max_sequence_length: int = Field(8192, ge=1)  # tokens a row
    mixed_precision: Literal["bf16", "fp16", "none"] = "bf16"
    quantization_bit: Literal["none", 4, 8] = "none"
    training_type: Literal["full", "lora"] = "full"
    lora_rank: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.05, ge=0, le=1)
    target_modules: str | list[str] = "all-linear"
    merge_adapter: bool = True
    flash_attention_v2: bool = True
    liger_kernel: bool = True
    disable_gradient_checkpointing: bool = False
    unsloth_gradient_checkpointing: bool = False
    distributed_backend: Literal["ddp", "deepspeed", "fsdp"] = "ddp"
    zero_stage: Literal[1, 2, 3] = 1
    checkpoint_strategy: Literal["no", "epoch", "steps"] = "epoch"
    checkpoint_steps: int = Field(1000, ge=1)
    number_of_checkpoints: int = Field(1, ge=1)
    save_best_checkpoint: bool = False
    eval_strategy: Literal["no", "epoch", "steps"] = "epoch"
    eval_steps: int = Field(1000, ge=1)
    logging_steps: int = Field(10, ge=-1)  # of progress lines; 0 for none, -1 for every step
    resume_from_checkpoint: bool | str = False
    seed: int = Field(1309, ge=0)
    full_determinism: bool = False
    dpo_label_smoothing: float = Field(0.0, ge=0, le=0.5)
    pref_beta: float = Field(0.1, ge=0, le=1)
    pref_ftx: float = Field(0.0, ge=0, le=10)
    pref_loss: Literal["sigmoid", "hinge", "ipo", "kto_pair", "orpo", "simpo"] = "sigmoid"
    simpo_gamma: float = Field(0.5, gt=0)

    @model_validator(mode="after")
    def _cross_field(self) -> "Hyperparameters":
        if self.quantization_bit != "none" and self.training_type == "full":
            raise ValueError(
                "`quantization_bit` needs `training_type: lora`: quantized weights cannot be trained in full"
            )
        if self.save_best_checkpoint and self.eval_strategy == "no":
            raise ValueError("`save_best_checkpoint` needs `eval_strategy` epoch or steps: best by evaluation loss")
        return self

    @property
    def samples_per_step(self) -> int:
        """Rows (pretraining) or samples (fine-tuning) an optimizer step on one device."""
        return self.batch_size * self.gradient_accumulation_steps

    def warmup_steps(self, steps: int) -> int:
        """Warm-up in optimizer steps of a run of `steps`; the steps key wins over the ratio, as in transformers."""
        return self.lr_warmup_steps or round(self.lr_warmup_ratio * steps)


@dataclass(frozen=True)
class Outcome:
    """What became of one key: status is `effective`, `replaced` or `not applicable here`."""

    key: str
    requested: Any
    status: str
    effective: Any
    note: str = ""


def load(source: Path | dict[str, Any]) -> Hyperparameters:
    """Read hyperparameters from a JSON file or a dict; keys left out take the defaults.

    Raises:
        InputError: unknown key (the closest known one is named), value out of range, keys that exclude each other.
    """
    if isinstance(source, Path):
        values = read_json(source)
        if not isinstance(values, dict):
            raise InputError(f"{source}: expected a JSON object of hyperparameters, found {type(values).__name__}")
        return Hyperparameters.parse(values, str(source))
    return Hyperparameters.parse(source, "hyperparameters")


def outcomes(requested: Hyperparameters, stage: str, gpu: bool, processes: int) -> list[Outcome]:
    """What becomes of every key in this stage on this machine.

    Raises:
        InputError: a key that is refused here, with the reason.
    """
    _refuse(requested, gpu)
    if stage == "dpo":
        _refuse_preference(requested)
    if processes > 1:
        _refuse_divided(requested)
    replaced = _replaced(requested, gpu, processes)
    skipped = _not_applicable(requested, stage, processes)
    result = []
    for key, value in requested.model_dump().items():
        if key in skipped:
            result.append(Outcome(key, value, "not applicable here", None, skipped[key]))
        elif key in replaced:
            effective, note = replaced[key]
            result.append(Outcome(key, value, "replaced", effective, note))
        else:
            result.append(Outcome(key, value, "effective", value))
    return result


def _refuse(requested: Hyperparameters, gpu: bool) -> None:
    if requested.quantization_bit != "none" and not gpu:
        raise InputError("`quantization_bit`: 4 and 8 need a CUDA GPU (bitsandbytes); set it to none on a CPU")
    if requested.mixed_precision == "fp16" and not gpu:
        raise InputError("`mixed_precision`: fp16 training needs a CUDA GPU; use bf16 or none on a CPU")
    if requested.unsloth_gradient_checkpointing and requested.disable_gradient_checkpointing:
        raise InputError(
            "`unsloth_gradient_checkpointing` offloads checkpointed activations: it excludes "
            "`disable_gradient_checkpointing`"
        )
    if requested.full_determinism and gpu and requested.flash_attention_v2:
        raise InputError("`full_determinism` excludes `flash_attention_v2`: its backward pass is not deterministic")


def _refuse_divided(requested: Hyperparameters) -> None:
    """Refuse what cannot be divided among processes."""
    backend = requested.distributed_backend
    if requested.quantization_bit != "none" and backend != "ddp":
        raise InputError(f"`quantization_bit`: quantized weights cannot be divided by {backend}; use ddp")


def _refuse_preference(requested: Hyperparameters) -> None:
    """Refuse what a preference loss cannot honour: no key is read and then ignored."""
    loss = requested.pref_loss
    if loss == "kto_pair":
        raise InputError(
            "`pref_loss`: kto_pair was removed from TRL (its KTO learns from single rated answers, not from pairs); "
            "use sigmoid, hinge, ipo, orpo or simpo"
        )
    if requested.dpo_label_smoothing and loss not in SMOOTHED:
        raise InputError(f"`dpo_label_smoothing`: {loss} has no smoothed form; use sigmoid or simpo, or set it to 0")
    if requested.pref_ftx and loss == "orpo":
        raise InputError(
            "`pref_ftx`: orpo holds the loss of prompt and chosen answer already, with weight 1; set it to 0"
        )
    if not requested.pref_beta and loss != "orpo":
        raise InputError(f"`pref_beta`: 0 leaves {loss} without a gradient; expected more than 0")


def _replaced(requested: Hyperparameters, gpu: bool, processes: int) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    if requested.flash_attention_v2 and not gpu:
        found["flash_attention_v2"] = (False, "no GPU: SDPA by segment (models.attention), free of contamination too")
    if requested.liger_kernel and not gpu:
        found["liger_kernel"] = (False, "no GPU: logits of counted positions only, which saves the same memory")
    if requested.unsloth_gradient_checkpointing and not gpu:
        found["unsloth_gradient_checkpointing"] = (False, "no GPU to offload activations from")
    if requested.distributed_backend != "ddp" and processes == 1:
        found["distributed_backend"] = ("none", "one process: nothing to distribute")
    return found


def _unused_by_loss(loss: str) -> dict[str, str]:
    found = {} if loss == "simpo" else {"simpo_gamma": f"pref_loss is {loss}"}
    if loss not in SMOOTHED:
        found["dpo_label_smoothing"] = f"{loss} has no smoothed form"
    if loss == "orpo":
        found["pref_ftx"] = "orpo holds the loss of prompt and chosen answer with weight 1"
    return found


def _not_applicable(requested: Hyperparameters, stage: str, processes: int) -> dict[str, str]:
    found = {}
    if requested.training_type == "full":
        found.update(dict.fromkeys(LORA_KEYS, "full training has no adapter"))
    if stage != "dpo":
        found.update(dict.fromkeys(PREFERENCE_KEYS, f"no preference loss in stage {stage}"))
    else:
        found.update(_unused_by_loss(requested.pref_loss))
    if requested.distributed_backend == "ddp" and processes == 1:
        found["distributed_backend"] = "one process"
    if requested.distributed_backend != "deepspeed" or processes == 1:
        found["zero_stage"] = "no DeepSpeed in this run"
    if requested.checkpoint_strategy != "steps":
        found["checkpoint_steps"] = f"checkpoint_strategy is {requested.checkpoint_strategy}"
    if requested.eval_strategy != "steps":
        found["eval_steps"] = f"eval_strategy is {requested.eval_strategy}"
    if requested.lr_warmup_steps:
        found["lr_warmup_ratio"] = "lr_warmup_steps is set"
    return found
