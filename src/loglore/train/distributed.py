"""`PackedTrainer` in several processes. Rows of a step are dealt to the processes; the step stays the same step.

    ddp, bf16      each process adds its gradients up in fp32 masters; they are averaged once a step, before clipping
    ddp, else      torch's DistributedDataParallel, by the Trainer
    fsdp           `sharded_loop`: FSDP2, weights, gradients, masters and optimizer state divided
    deepspeed      ZeRO 1 to 3, by the Trainer (configuration: `deepspeed`)

The loss of a row is its sum over the counted tokens of all rows of all processes, so that the average of the gradients
times the number of processes is what one process would have. Imports torch and transformers.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainingArguments

from loglore.data.packing import PackedRow
from loglore.train import deepspeed
from loglore.train.loss import summed_loss_of_rows
from loglore.train.sharded_loop import ShardedLoop
from loglore.train.trainer import PackedTrainer, _filler

REDUCED_AT_ONCE = 1 << 26  # elements: 256 MB of fp32 gradients


class DistributedTrainer(ShardedLoop, PackedTrainer):
    """The Trainer of one of several processes; takes what `PackedTrainer` takes."""

    def __init__(self, model: Any, plan: Any, requested: Any, context: Any, tick: Any, world: Any) -> None:
        self.backend = requested.distributed_backend
        super().__init__(model, plan, requested, context, tick, world)
        self.masters = self.masters and self.backend != "deepspeed"
        if self.backend == "fsdp":
            self.shard(self.masters)
        # The Trainer must not wrap what reduces its gradients itself.
        self.is_distributed_loading_by_transformers = self.masters or self.sharded

    def arguments(self) -> TrainingArguments:
        """As for one process, and the configuration of DeepSpeed."""
        found = self.trainer_arguments()
        if self.backend == "deepspeed":
            accumulation = found["gradient_accumulation_steps"]
            found["deepspeed"] = deepspeed.configuration(
                self.requested, 1, accumulation, self.world.size, self.hidden_size
            )
            found["bf16"] = self.requested.mixed_precision == "bf16"
        return TrainingArguments(**found)

    def with_gradients(self) -> Iterable[torch.Tensor]:
        """Masters, where there are any."""
        return self._masters() if self.masters else super().with_gradients()

    def _clip_masters(self, limit: float) -> torch.Tensor:
        self._average_masters()
        return super()._clip_masters(limit)

    def _masters(self) -> list[torch.Tensor]:
        return [master for _, master in self._bare_optimizer().pairs]

    def _average_masters(self) -> None:
        """Average the masters' gradients over the processes, in fp32."""
        gradients = [master.grad for master in self._masters() if master.grad is not None]
        start = 0
        while start < len(gradients):
            end, size = start, 0
            while end < len(gradients) and (end == start or size + gradients[end].numel() <= REDUCED_AT_ONCE):
                size += gradients[end].numel()
                end += 1
            flat = torch.cat([gradient.flatten() for gradient in gradients[start:end]])
            dist.all_reduce(flat)
            flat /= self.world.size
            sizes = [gradient.numel() for gradient in gradients[start:end]]
            for gradient, mean in zip(gradients[start:end], torch.split(flat, sizes), strict=True):
                gradient.copy_(mean.view_as(gradient))
            start = end

    def evaluation(self) -> float:
        """Mean loss of the evaluation rows, each read by one process."""
        rows = self.plan.evaluation
        own: Sequence[PackedRow] = [rows[number] for number in range(self.world.rank, len(rows), self.world.size)]
        # Under sharding a forward pass needs every process: all run as many.
        own = [*own, *[_filler()] * (-(-len(rows) // self.world.size) - len(own))]
        total, counted = summed_loss_of_rows(self.model_wrapped, own, self.accelerator.autocast, self.args.device)
        return self.world.sum(total) / max(self.world.sum(counted), 1)

    def gathered(self) -> dict[str, torch.Tensor] | None:
        """All weights on the leading process where they are divided (empty elsewhere), else None."""
        state = super().gathered()
        # Shards with masters are fp32 with bf16's values.
        return {name: value.bfloat16() for name, value in state.items()} if state and self.masters else state
