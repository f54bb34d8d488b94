"""`PackedTrainer` in several processes. Rows of a step are dealt to the processes; the step stays the same step.

    ddp, bf16      each process adds its gradients up in fp32 masters; they are averaged once a step, before clipping
    ddp, else      torch's DistributedDataParallel, by the Trainer
    fsdp           `sharding`: FSDP2, weights, gradients and optimizer state divided
    deepspeed      ZeRO 1 to 3, by the Trainer (configuration: `deepspeed`)

The loss of a row is its sum over the counted tokens of all rows of all processes, so that the average of the gradients
times the number of processes is what one process would have. Imports torch and transformers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainingArguments

from loglore.data.packing import PackedRow
from loglore.runs.files import replacing_folder
from loglore.train import checkpoints, deepspeed, sharding
from loglore.train.loss import summed_loss_of_rows
from loglore.train.trainer import PackedTrainer, _filler

REDUCED_AT_ONCE = 1 << 26  # elements: 256 MB of fp32 gradients


class DistributedTrainer(PackedTrainer):
    """The Trainer of one of several processes; takes what `PackedTrainer` takes."""

    def __init__(self, model: Any, plan: Any, requested: Any, context: Any, tick: Any, world: Any) -> None:
        self.backend = requested.distributed_backend
        super().__init__(model, plan, requested, context, tick, world)
        self.masters = self.masters and self.backend == "ddp"
        if self.backend == "fsdp":
            sharding.shard(model, requested.mixed_precision == "bf16", torch.cuda.is_available())
            context.event("sharded", **sharding.share(model))
        # The Trainer must not wrap what reduces its gradients itself.
        self.is_distributed_loading_by_transformers = self.masters or self.backend == "fsdp"

    def arguments(self) -> TrainingArguments:
        """As for one process, and the configuration of DeepSpeed."""
        found = self.trainer_arguments()
        if self.backend == "deepspeed":
            accumulation = found["gradient_accumulation_steps"]
            found["deepspeed"] = deepspeed.configuration(
                self.requested, accumulation, self.world.size, self.hidden_size
            )
            found["bf16"] = self.requested.mixed_precision == "bf16"
        return TrainingArguments(**found)

    def _sync_replicated_trainable_parameters(self, model: Any) -> None:
        """Nothing to do: every process loaded the same weights under the same seed."""

    def _clip_masters(self, limit: float) -> torch.Tensor:
        self._average_masters()
        return super()._clip_masters(limit)

    def _average_masters(self) -> None:
        """Average the masters' gradients over the processes, in fp32."""
        masters = [master for _, master in self._bare_optimizer().pairs]
        gradients = [master.grad for master in masters if master.grad is not None]
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

    def _bare_optimizer(self) -> Any:
        """Without accelerate's wrapper."""
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def _clip_grad_norm(self, model: Any) -> Any:
        if self.backend != "fsdp":
            return super()._clip_grad_norm(model)
        return self._clip_shards(model, self.args.max_grad_norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if self.backend == "fsdp" and grad_norm is None:
            return self._clip_shards(model, float("inf"))
        return super()._get_grad_norm(model, grad_norm)

    def _clip_shards(self, model: Any, limit: float) -> torch.Tensor:
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def evaluation(self) -> float:
        """Mean loss of the evaluation rows, each read by one process."""
        rows = self.plan.evaluation
        own: Sequence[PackedRow] = [rows[number] for number in range(self.world.rank, len(rows), self.world.size)]
        # Under sharding a forward pass needs every process: all run as many.
        own = [*own, *[_filler()] * (-(-len(rows) // self.world.size) - len(own))]
        total, counted = summed_loss_of_rows(self.model_wrapped, own, self.accelerator.autocast, self.args.device)
        return self.world.sum(total) / max(self.world.sum(counted), 1)

    def save_weights(self, folder: Path) -> None:
        """Gather what is divided; the leading process writes."""
        state = self.gathered()
        if self.world.leads:
            with replacing_folder(folder) as partial:
                self.model.save_pretrained(partial, state_dict=state)
        self.world.wait()

    def gathered(self) -> dict[str, torch.Tensor] | None:
        """All weights on the leading process where they are divided (empty elsewhere), else None."""
        if self.backend == "fsdp":
            return sharding.whole_state(self.model)
        if self.backend == "deepspeed":
            return dict(self.accelerator.get_state_dict(self.deepspeed))
        return None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Of a checkpoint: shards are saved with the optimizer, and DeepSpeed saves its own."""
        if self.backend not in ("fsdp", "deepspeed"):
            super().save_model(output_dir, _internal_call)
        Path(str(output_dir)).mkdir(parents=True, exist_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.backend != "fsdp":
            super()._save_optimizer_and_scheduler(output_dir)
            return
        sharding.save_shards(self.model, self._bare_optimizer(), Path(output_dir), self.world)
        if self.world.leads:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.backend != "fsdp":
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.backend != "fsdp" or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        sharding.load_shards(self.model, self._bare_optimizer(), Path(checkpoint), self.world)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    def publish_checkpoint(self, folder: Path, step: int) -> None:
        """When every process has written its part."""
        self.world.wait()
        if self.world.leads:
            checkpoints.publish(folder, step, checkpoints.KEPT)
        self.world.wait()
