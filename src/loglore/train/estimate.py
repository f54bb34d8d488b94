"""What a training run will take, before it starts: optimizer steps, tokens, memory per GPU, time and cost.

Every number follows from declared or measured shapes by the formulas below; nothing is looked up by a model's name.
The parts of memory that scale with the model are exact, the activations are an estimate (Korthikanti et al., "Reducing
Activation Recomputation in Large Transformer Models", 2022, with the score matrix left out as FlashAttention does).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import Field

from loglore.runs.spec import Spec
from loglore.train.hyperparameters import Hyperparameters

GIB = 1 << 30


class ModelShape(Spec):
    """A decoder's shape: parameters in all; hidden_size, layers, intermediate_size, vocabulary."""

    parameters: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    layers: int = Field(ge=1)
    vocabulary: int = Field(ge=1)


class DataShape(Spec):
    """rows of the training set and its tokens in all."""

    rows: int = Field(ge=1)
    tokens: int = Field(ge=1)


class Hardware(Spec):
    """gpus in all; tokens_per_second_per_gpu as measured; dollars_per_gpu_hour of use; where the speed is from."""

    gpus: int = Field(ge=1)
    gpu: str
    tokens_per_second_per_gpu: float = Field(gt=0)
    dollars_per_gpu_hour: float = Field(ge=0)
    source: str


class Declared(Spec):
    """What a recipe declares about a train job, for a plan without the model and the data at hand."""

    model: ModelShape
    data: DataShape
    hardware: Hardware


@dataclass(frozen=True)
class Estimate:
    """steps: optimizer steps; tokens: read over all epochs; memory in bytes per GPU; seconds of training; dollars."""

    steps: int
    rows_per_step: int
    tokens: int
    memory: dict[str, float]
    seconds: float
    dollars: float

    def as_json(self) -> dict[str, Any]:
        """As plain values, with the sum of the memory's parts."""
        return {**asdict(self), "memory_per_gpu": sum(self.memory.values())}


def estimate(stage: Literal["cpt", "sft"], requested: Hyperparameters, declared: Declared) -> Estimate:
    """Estimate a run.

    Steps in pretraining: tokens fill rows of `max_sequence_length`, and a step is `batch_size` x accumulation x GPUs
    such rows; in fine-tuning a step is as many samples.
    """
    gpus = declared.hardware.gpus
    rows_per_step = requested.samples_per_step * gpus
    rows = math.ceil(declared.data.tokens / requested.max_sequence_length) if stage == "cpt" else declared.data.rows
    steps = math.ceil(rows / rows_per_step) * requested.epochs
    tokens = declared.data.tokens * requested.epochs
    seconds = tokens / (declared.hardware.tokens_per_second_per_gpu * gpus)
    dollars = gpus * seconds / 3600 * declared.hardware.dollars_per_gpu_hour
    return Estimate(steps, rows_per_step, tokens, memory_per_gpu(requested, declared.model, gpus), seconds, dollars)


def memory_per_gpu(requested: Hyperparameters, model: ModelShape, gpus: int) -> dict[str, float]:
    """Bytes on one GPU by part: weights, gradients, optimizer, activations, logits.

    Full mixed-precision AdamW: 2 bytes of weights, 4 of gradients (added up in fp32), 12 of optimizer (fp32 master
    weights and two moments) a parameter; ZeRO divides the optimizer (stage 1), the gradients too (2), the weights too
    (3) by the number of GPUs.
    """
    zero = requested.zero_stage if requested.distributed_backend == "deepspeed" else 0
    if requested.distributed_backend == "fsdp":
        zero = 3
    share = [gpus if zero >= stage else 1 for stage in (1, 2, 3)]
    width = {"none": 2.0, 8: 1.0, 4: 0.5}[requested.quantization_bit]
    trained = trained_parameters(requested, model)
    return {
        "weights": model.parameters * width / share[2] + (trained * 2 if trained != model.parameters else 0),
        "gradients": trained * 4 / share[1],
        "optimizer": trained * (12 if requested.optimizer == "adamw" else 4) / share[0],
        "activations": _activations(requested, model),
        "logits": _logits(requested, model),
    }


def trained_parameters(requested: Hyperparameters, model: ModelShape) -> int:
    """Parameters that training changes: all of them, or those of the LoRA adapters."""
    if requested.training_type == "full":
        return model.parameters
    # Seven linear maps a layer: four of the attention (about square), three of the feed-forward part.
    attention = 4 * 2 * model.hidden_size
    feed_forward = 3 * (model.hidden_size + model.intermediate_size)
    return model.layers * requested.lora_rank * (attention + feed_forward)


def _activations(requested: Hyperparameters, model: ModelShape) -> float:
    """One packed row at a time (see `train.plan`): with checkpointing a layer's input each, and one layer in full."""
    row = requested.max_sequence_length * 2.0
    layer = row * (8 * model.hidden_size + 3 * model.intermediate_size)
    if requested.disable_gradient_checkpointing:
        return model.layers * layer
    return model.layers * row * model.hidden_size + layer


def _logits(requested: Hyperparameters, model: ModelShape) -> float:
    """Fused kernels (Liger) never hold them; else bf16 logits, their fp32 copy and its gradient."""
    return 0.0 if requested.liger_kernel else requested.max_sequence_length * model.vocabulary * 10.0
