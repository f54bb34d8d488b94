"""Memory of a training process by part, from the model's shapes: what `estimate` shows and what a start refuses by.

Weights, gradients and optimizer are exact counts of the loop's own tensors:

    bf16 with fp32 masters    weights 2 bytes a parameter; a trained one also 4 (gradient), 4 (master), 8 (two moments)
    FSDP, bf16                2 of a frozen parameter and 4 of a trained one (its values are bf16's), 4 (gradient),
                              4 (master) and 8, all over the processes; two layers gathered in bf16
    FSDP, else                4, 4 and 8 over the processes; two layers gathered in fp32
    DeepSpeed                 2 (weights, 4 without bf16), 4 (gradients), 12 (master and moments), divided as the ZeRO
                              stage says (Rajbhandari et al., "ZeRO", 2020, with gradients of 2)
    without bf16, and dpo     4 (weights); a trained one also 4 (gradient) and 8 (moments); 4 of a reference's

Activations are those that autograd keeps for the layers of transformers' Llama family, counted tensor by tensor
(`layer_activations`); other decoders have the same shapes in another order. One packed row is in work at a time.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.errors import InputError
from loglore.models.attention import BLOCK, LONGEST_IN_BLOCKS
from loglore.train.hyperparameters import WITH_REFERENCE, Hyperparameters

GIB = 1 << 30
ADAPTED = 7  # maps of a layer that have an adapter, each of which keeps its input in the adapter's rank
BACKWARD = 7  # gradients as wide as a feed-forward part that are there at once
# In preference training (TRL): bf16, fp32 log-probabilities kept, bf16 gradient; all of fp32 without bf16.
LOGIT_BYTES_OF_PAIRS = {2: 8, 4: 12}


@dataclass(frozen=True)
class Architecture:
    """A decoder's shape: widths in elements; `trained` and `parameters` are counts, `largest` that of its largest.

    quick_norms: on a CPU its norms are those of `models.norms`, which keep their input alone.
    """

    parameters: int
    trained: int
    largest: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    quick_norms: bool


def architecture(path: Path, requested: Hyperparameters) -> Architecture:
    """Read the shape of a model folder, without its weights: the network is built on no device.

    Raises:
        InputError: no configuration there.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from loglore.models.norms import has_quick_norms

    if not (path / "config.json").is_file():
        raise InputError(f"{path}: no config.json; an estimate needs a Hugging Face model folder")
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
        if requested.training_type == "lora":
            from peft import get_peft_model

            from loglore.train.base import lora_config

            model = get_peft_model(model, lora_config(requested))
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    weights = list(model.parameters())
    return Architecture(
        parameters=sum(weight.numel() for weight in weights),
        trained=sum(weight.numel() for weight in weights if weight.requires_grad),
        largest=max(weight.numel() for weight in weights if weight.requires_grad),
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        queries=text.num_attention_heads * head,
        keys=(getattr(text, "num_key_value_heads", None) or text.num_attention_heads) * head,
        vocabulary=text.vocab_size,
        quick_norms=has_quick_norms(model),
    )


def by_part(
    shape: Architecture,
    requested: Hyperparameters,
    stage: str,
    row: int,
    longest: int,
    counted: int,
    processes: int,
    gpu: bool,
) -> dict[str, float]:
    """Bytes of one process at its peak, by part.

    Args:
        shape: of the model.
        requested: hyperparameters.
        stage: `cpt`, `sft` or `dpo`.
        row: tokens of the longest row.
        longest: tokens of the longest sample.
        counted: of these, tokens that count for the loss.
        processes: in all.
        gpu: fused kernels (Liger) keep less, and no logits at all.
    """
    fused = gpu and requested.liger_kernel
    width = 2 if requested.mixed_precision == "bf16" else 4
    layer = layer_activations(shape, width, fused, shape.quick_norms and not gpu) * row
    work = 0
    if width == 2 and stage != "dpo" and not gpu and longest <= LONGEST_IN_BLOCKS:
        # Attention in blocks (`models.blocks`): probabilities of 2 bytes, somewhat more than each triangle,
        # as if all were as long as the longest; on the way back two blocks of scores.
        layer += shape.heads * row * (longest + min(BLOCK, longest))
        work = 2 * 2 * shape.heads * min(BLOCK, longest) * longest
    if requested.training_type == "lora":
        layer += ADAPTED * requested.lora_rank * row * width
    # Gradients of a feed-forward part, while they are on their way back through it.
    work += BACKWARD * shape.intermediate * row * width
    kept = shape.layers * layer
    if not requested.disable_gradient_checkpointing:
        inputs = 0 if gpu and requested.unsloth_gradient_checkpointing else shape.layers * row * shape.hidden * width
        kept = inputs + layer
    # A logit of a counted position is there once, its gradient in its place.
    logit = LOGIT_BYTES_OF_PAIRS[width] if stage == "dpo" else width
    logits = 0.0 if fused else float(counted * shape.vocabulary * logit)
    return {**_states(shape, requested, stage, processes), "activations": float(kept + work), "logits": logits}


def _states(shape: Architecture, requested: Hyperparameters, stage: str, processes: int) -> dict[str, float]:
    frozen, trained = shape.parameters - shape.trained, shape.trained
    moments = 8 if requested.optimizer == "adamw" else 0
    backend = requested.distributed_backend if processes > 1 else "ddp"
    stored = {"none": 2.0, 8: 1.0, 4: 0.5}[requested.quantization_bit]
    if backend == "fsdp":
        return _sharded(shape, requested, stage, processes)
    if backend == "deepspeed":
        share = [processes if requested.zero_stage >= level else 1 for level in (1, 2, 3)]
        width = 4 if requested.mixed_precision == "none" else 2
        gradient = 2 if requested.mixed_precision == "fp16" else 4
        return {
            "weights": width * (shape.parameters + _reference(shape, requested, stage)) / share[2],
            "gradients": gradient * trained / share[1],
            "optimizer": (4 + moments) * trained / share[0],
        }
    if requested.mixed_precision == "bf16" and stage != "dpo":
        # A bf16 gradient lives until it is added to its master's: one at a time, the largest counts.
        return {
            "weights": stored * frozen + 2 * trained,
            "gradients": 4.0 * trained + 2 * shape.largest,
            "optimizer": float((4 + moments) * trained),
        }
    weights = 4.0 * (shape.parameters + _reference(shape, requested, stage))
    return {"weights": weights, "gradients": 4.0 * trained, "optimizer": float(moments * trained)}


def _sharded(shape: Architecture, requested: Hyperparameters, stage: str, processes: int) -> dict[str, float]:
    """FSDP2: shards, and two layers gathered at once."""
    frozen, trained = shape.parameters - shape.trained, shape.trained
    moments = 8 if requested.optimizer == "adamw" else 0
    masters = requested.mixed_precision == "bf16" and stage != "dpo"
    width = 2 if masters else 4
    held = width * frozen + 4 * trained + 4 * _reference(shape, requested, stage)
    return {
        "weights": held / processes + 2 * width * shape.parameters / max(shape.layers, 1),
        "gradients": 4 * trained / processes,
        "optimizer": (moments + (4 if masters else 0)) * trained / processes,
    }


def _reference(shape: Architecture, requested: Hyperparameters, stage: str) -> int:
    """Parameters of the copy that full preference training compares with; an adapter is compared with its base."""
    full = stage == "dpo" and requested.training_type == "full"
    return shape.parameters if full and requested.pref_loss in WITH_REFERENCE else 0


def layer_activations(shape: Architecture, width: int, fused: bool, quick_norms: bool) -> float:
    """Bytes a token that one decoder layer keeps for the backward pass; `width` is that of an activation.

    Two norms: the fp32 input and the normalized value; their product with the weight is the input of the maps behind.
    Attention: queries, keys, values, its output, and that output in the order that the last map wants. Feed-forward
    part: gate, its activation, the upward map, and the product. Fused kernels keep a norm's input, gate and upward map,
    quick norms their input as it came.
    """
    attention = width * (3 * shape.queries + 2 * shape.keys)
    if fused:
        return 4 * width * shape.hidden + attention - width * shape.queries + 3 * width * shape.intermediate
    norms = 2 * (2 * width if quick_norms else 4 + 2 * width) * shape.hidden
    return norms + attention + 4 * width * shape.intermediate
