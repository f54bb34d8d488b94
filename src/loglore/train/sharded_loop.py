"""What a Trainer does otherwise when its model is divided: wrap nothing, clip, save, gather.

By FSDP2 (`sharding`), after `shard` was called; or by DeepSpeed, which wraps, clips and saves by itself. Comes before a
Trainer in the bases of a class; with a whole model it changes nothing. Imports torch.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from loglore.runs.files import replacing_folder
from loglore.train import checkpoints, deepspeed, sharding
from loglore.train.world import World


class ShardedLoop:
    """A Trainer's methods for a divided model; `context` and `world` are the run's."""

    sharded = False
    context: Any
    world: World
    model: Any
    model_wrapped: Any
    lr_scheduler: Any
    args: Any
    accelerator: Any
    is_deepspeed_enabled: bool

    def shard(self, bf16: bool, reference: Any = None) -> None:
        """Divide the model, before the optimizer is made; `reference` is a second one, which is not trained."""
        sharding.shard(self.model, bf16, torch.cuda.is_available())
        if reference is not None:
            sharding.shard(reference, bf16, torch.cuda.is_available())
        self.context.event("sharded", **sharding.share(self.model))
        self.sharded = True
        # The Trainer must not wrap what reduces its gradients itself.
        self.is_distributed_loading_by_transformers = True

    def gathered(self) -> dict[str, torch.Tensor] | None:
        """All weights on the leading process where they are divided (empty elsewhere), else None."""
        if self.is_deepspeed_enabled:
            found = dict(self.accelerator.get_state_dict(self.model_wrapped) or {})
            state = found if self.world.leads else {}
            deepspeed.put_masters(self.model, state)
            return state
        return sharding.whole_state(self.model) if self.sharded else None

    def save_weights(self, folder: Path) -> None:
        """Gather what is divided; the leading process writes the model or its adapter as a folder of its own."""
        state = self.gathered()
        if self.world.leads:
            with replacing_folder(folder) as partial:
                self.model.save_pretrained(partial, state_dict=state)
        self.world.wait()

    def _sync_replicated_trainable_parameters(self, model: Any) -> None:
        """Nothing to do: every process loaded the same weights under the same seed."""

    @contextlib.contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Gradients are reduced after each row: whole ones would take the memory that sharding saves."""
        yield

    def with_gradients(self) -> Iterable[torch.Tensor]:
        """What the gradients of divided weights lie with."""
        weights: Iterable[torch.Tensor] = self.model.parameters()
        return weights

    def _clip_grad_norm(self, model: Any) -> Any:
        if not self.sharded:
            return super()._clip_grad_norm(model)  # type: ignore[misc]
        return self._clip_shards(self.with_gradients(), self.args.max_grad_norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if self.sharded and grad_norm is None:
            return self._clip_shards(self.with_gradients(), float("inf"))
        return super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]

    def _clip_shards(self, weights: Iterable[torch.Tensor], limit: float) -> torch.Tensor:
        norm = torch.nn.utils.clip_grad_norm_(weights, limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Of a checkpoint: shards are saved with the optimizer, and DeepSpeed saves its own."""
        if not self.sharded and not self.is_deepspeed_enabled:
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]
        Path(str(output_dir)).mkdir(parents=True, exist_ok=True)

    def publish_checkpoint(self, folder: Path, step: int) -> None:
        """When every process has written its part, and the leading one knows of all."""
        self.world.wait()
        self.context.bring_together(folder)
        if self.world.leads:
            checkpoints.publish(folder, step, checkpoints.KEPT)
        self.world.wait()

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.sharded:
            super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
            return
        sharding.save_shards(self.model, self._bare_optimizer(), Path(output_dir), self.world)
        if self.world.leads:
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.sharded:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.sharded or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
            return
        sharding.load_shards(self.model, self._bare_optimizer(), Path(checkpoint), self.world)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    def _bare_optimizer(self) -> Any:
        """Without accelerate's wrapper."""
        wrapped = self.optimizer  # type: ignore[attr-defined]
        return getattr(wrapped, "optimizer", wrapped)
