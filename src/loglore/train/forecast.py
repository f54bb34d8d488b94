"""What one training job will take, from its own model and rows: tokens, steps, memory by part, time and cost.

Rows are tokenized and packed as the run does it (and kept for the run, when it is given the same folder); the model's
weights are not read. With `measure`, one optimizer step's rows are trained for a few seconds on this machine, and the
time of the whole run is scaled from the tokens that took.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loglore import settings
from loglore.errors import InputError
from loglore.models.load import load_tokenizer, quiet
from loglore.runs.folder import RunFolder
from loglore.train import hyperparameters, memory, work
from loglore.train.hyperparameters import Hyperparameters
from loglore.train.world import ALONE

if TYPE_CHECKING:
    from loglore.train.job import TrainSpec

GIB = 1 << 30
WARM_UP_ROWS, MEASURED_ROWS = 1, 3


@dataclass(frozen=True)
class Forecast:
    """steps, tokens of the run; memory: bytes of one process by part, and `available`; seconds, dollars if known."""

    steps: int
    rows_per_step: int
    samples: int
    tokens: int
    longest_row: int
    processes: int
    memory: dict[str, float]
    available: int
    tokens_per_second: float | None
    seconds: float | None
    dollars: float | None

    @property
    def memory_in_all(self) -> float:
        """Bytes of one process at its peak."""
        return sum(self.memory.values())

    def lines(self) -> list[str]:
        """The forecast as text."""
        parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in self.memory.items())
        fits = "fits" if self.memory_in_all <= self.available else "does not fit"
        found = [
            f"{self.steps:,} optimizer steps of up to {self.rows_per_step:,} rows, {self.samples:,} samples, "
            f"{self.tokens:,} tokens, longest row {self.longest_row:,}",
            f"{self.memory_in_all / GIB:.2f} GiB a process of {self.available / GIB:.2f} available: {fits} ({parts})",
        ]
        if self.seconds is None:
            return [*found, "time and cost: not known before a measurement (--measure)"]
        dollars = f"${self.dollars:.2f} (GPUs x hours x price)" if self.dollars is not None else "no GPU, no price"
        return [*found, f"{self.seconds:,.0f} s of training at {self.tokens_per_second:,.0f} tokens/s; {dollars}"]


def gpu_hour_dollars(named: float | None) -> float:
    """The price of a GPU-hour: the one that a spec names, else the settings'."""
    return settings.load().gpu_hour_dollars if named is None else named


def forecast(spec: "TrainSpec", context: RunFolder, measure: bool = False) -> Forecast:
    """Forecast a run; `context` is where its rows are packed.

    Raises:
        InputError: as the run itself would.
    """
    import torch

    requested = hyperparameters.load(spec.hyperparameters)
    gpus = torch.cuda.device_count()
    processes = (spec.processes or max(gpus, 1)) * (spec.nodes or 1)
    hyperparameters.outcomes(requested, spec.stage, gpus > 0, processes)
    task = work.plan(spec, requested, load_tokenizer(spec.model), context, processes)
    speed = _measured(spec, requested, task) * processes if measure else None
    seconds = task.tokens / speed if speed else None
    price = gpu_hour_dollars(spec.price_per_gpu_hour)
    return Forecast(
        steps=task.steps,
        rows_per_step=task.rows_per_step,
        samples=task.facts["samples"],
        tokens=task.tokens,
        longest_row=task.longest_row,
        processes=processes,
        memory=parts(spec, requested, task, processes),
        available=available(),
        tokens_per_second=speed,
        seconds=seconds,
        dollars=processes * seconds / 3600 * price if seconds is not None and gpus else None,
    )


def parts(spec: "TrainSpec", requested: Hyperparameters, task: work.Work, processes: int) -> dict[str, float]:
    """Memory of one process by part; empty where the shape is not known before loading (GGUF, a model's own code)."""
    import torch

    if spec.model.suffix == ".gguf" or spec.trust_remote_code:
        return {}
    with quiet():
        shape = memory.architecture(spec.model, requested)
    share = min(1.0, task.facts["counted_tokens"] / task.tokens) if task.tokens else 1.0
    row = task.longest_row
    counted, gpu = round(row * share), torch.cuda.is_available()
    return memory.by_part(shape, requested, spec.stage, row, task.longest, counted, processes, gpu)


def available() -> int:
    """Bytes that a training process may take: of its GPU, or of the machine's memory that is free now."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def refuse_what_cannot_fit(needed: dict[str, float], processes_here: int) -> None:
    """Refuse a run whose memory, by the formulas, exceeds what there is.

    Raises:
        InputError: with the numbers by part.
    """
    import torch

    total, free = sum(needed.values()), available()
    if not torch.cuda.is_available():
        total *= processes_here
    if total > free:
        named = ", ".join(f"{name} {size / GIB:.2f}" for name, size in needed.items())
        raise InputError(
            f"training needs about {total / GIB:.2f} GiB and {free / GIB:.2f} GiB are free (GiB a process: {named}); "
            "shorten `max_sequence_length`, leave checkpointing on, use LoRA, or more processes with fsdp or deepspeed"
        )


def _measured(spec: "TrainSpec", requested: Hyperparameters, task: work.Work) -> float:
    """Tokens a second of forward and backward passes and one optimizer step here; the first row warms up."""
    import torch

    from loglore.train.loss import summed_loss, tensors
    from loglore.train.master import MasterAdamW

    if not isinstance(task, work.PackedWork):
        raise InputError("`--measure` times packed rows: stages cpt and sft")
    with quiet():
        model = task.model(spec.model, requested, ALONE, spec.trust).train()
        if not requested.disable_gradient_checkpointing:
            model.activation_checkpointing_enable()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    masters = requested.mixed_precision == "bf16"
    optimizer = (MasterAdamW if masters else torch.optim.AdamW)([{"params": trained}], lr=1e-12, fused=True)
    rows = [row for step in task.plan.steps[: WARM_UP_ROWS + MEASURED_ROWS] for row in step]
    tokens, start = 0, 0.0
    for number, row in enumerate(rows[: WARM_UP_ROWS + MEASURED_ROWS]):
        if number == min(WARM_UP_ROWS, len(rows) - 1):
            tokens, start = 0, _now()
        batch = {name: value.to(model.device) for name, value in tensors(row).items()}
        (summed_loss(model, batch) / len(row.ids)).backward()  # type: ignore[no-untyped-call]
        tokens += len(row.ids)
    optimizer.step()
    return tokens / (_now() - start)


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()
