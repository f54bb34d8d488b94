"""The base model made ready for training: dtype, attention, quantization and adapter, as the hyperparameters say."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.models.attention import register
from loglore.models.load import CAREFUL, Trust, load_model
from loglore.train.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def prepared(
    path: Path, requested: Hyperparameters, dtype: str, trust: Trust = CAREFUL, padded: bool = False
) -> "PreTrainedModel":
    """Load the base and, for LoRA, attach a new adapter.

    Args:
        path: folder or GGUF file.
        requested: hyperparameters.
        dtype: of the weights (`weights_dtype`).
        trust: what of the folder may run code.
        padded: for batches that are padded (preference training) instead of packed rows.
    """
    model = bare(path, requested, dtype, trust, padded)
    if requested.training_type == "full":
        return model
    from peft import get_peft_model

    if not requested.disable_gradient_checkpointing:
        # The frozen embeddings need no gradient, and checkpointed blocks would then compute none for the adapters.
        model.enable_input_require_grads()
    # Adapters in the base's own dtype: PEFT would make them fp32 and copy every activation to fp32 and back.
    return get_peft_model(model, lora_config(requested), autocast_adapter_dtype=requested.mixed_precision == "fp16")


def bare(
    path: Path, requested: Hyperparameters, dtype: str, trust: Trust = CAREFUL, padded: bool = False
) -> "PreTrainedModel":
    """Load the base without an adapter; quantized where asked (bitsandbytes: NF4 of Dettmers et al. 2023, or int8)."""
    import torch

    from loglore.models.norms import quicken_norms

    flash = requested.flash_attention_v2 and torch.cuda.is_available()
    attention = "flash_attention_2" if flash else "sdpa" if padded else register()
    model = load_model(path, dtype, attention, trust, _quantization(requested))
    model.config.use_cache = False
    if not torch.cuda.is_available():
        quicken_norms(model)
    return model


def _quantization(requested: Hyperparameters) -> Any:
    if requested.quantization_bit == "none":
        return None
    import torch
    from transformers import BitsAndBytesConfig

    if requested.quantization_bit == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    compute = torch.bfloat16 if requested.mixed_precision == "bf16" else torch.float32
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )


def weights_dtype(stage: str, requested: Hyperparameters) -> str:
    """The dtype in which the weights are loaded.

    bf16 where the optimizer keeps fp32 masters of its own (`master`, DeepSpeed); float32 where it does not: in
    preference training (autocast), and without bf16.
    """
    return "bfloat16" if requested.mixed_precision == "bf16" and stage != "dpo" else "float32"


def lora_config(requested: Hyperparameters) -> Any:
    """PEFT's configuration of the adapter."""
    import torch
    from peft import LoraConfig

    from loglore.train.lora import LoraLinear

    config = LoraConfig(
        r=requested.lora_rank,
        lora_alpha=requested.lora_alpha,
        lora_dropout=requested.lora_dropout,
        target_modules=requested.target_modules,
        task_type="CAUSAL_LM",
    )
    # Quantized layers need PEFT's own; so does ZeRO 3, which gathers a layer's weights when the layer itself is called.
    if requested.quantization_bit == "none" and requested.distributed_backend != "deepspeed":
        config._register_custom_module({torch.nn.Linear: LoraLinear})
    return config
