"""A thin `transformers.Trainer`: packed rows in planned order, token-weighted loss, safe checkpoints.

Loop, optimizer, schedule, clipping, autocast and distribution are the Trainer's. Ours are: the loss (module `loss`: the
sum over counted tokens, divided by their number over all rows of the step and all ranks, so that batch 8 x accumulate 1
equals batch 1 x accumulate 8), the evaluation (weighted likewise), a row of metrics every step, and where checkpoints
go. Imports torch and transformers: import it inside a function.
"""

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from loglore import settings
from loglore.data.packing import IGNORED, PackedRow
from loglore.runs.files import replacing_folder
from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.train import checkpoints, stopping, throughput
from loglore.train.hyperparameters import Hyperparameters
from loglore.train.loss import evaluation_loss, summed_loss, tensors
from loglore.train.master import MasterAdamW, MasterSGD
from loglore.train.plan import Plan
from loglore.train.world import ALONE, World

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from loglore.train.preference import PairPlan as Scheduled


class StepRows:
    """Map-style dataset of a plan's rows in order, read when asked for; a step with fewer rows gets fillers."""

    def __init__(self, plan: Plan, processes: int = 1) -> None:
        self.steps = plan.steps
        # Dealt to the processes in turn: each gets as many.
        self.rows_per_step = -(-plan.rows_per_step // processes) * processes

    def __len__(self) -> int:
        return len(self.steps) * self.rows_per_step

    def __getitem__(self, number: int) -> PackedRow:
        return self.steps.row(*divmod(number, self.rows_per_step)) or _filler()


def _filler() -> PackedRow:
    zero = np.zeros(1, dtype=np.int32)
    return PackedRow(zero, zero, np.full(1, IGNORED, dtype=np.int32), np.array([0, 1], dtype=np.int32))


def collate(rows: list[PackedRow]) -> dict[str, torch.Tensor]:
    """Batches hold one row. `labels` stands for Trainer's count of tokens, which prefers `shift_labels`."""
    (row,) = rows
    batch = tensors(row)
    return {**batch, "labels": batch["shift_labels"]}


class PackedTrainer(Trainer):  # type: ignore[misc]  # transformers is not checked
    """The Trainer of one run; call `.train(resume_from_checkpoint=…)` on it.

    Args:
        model: to train, in place.
        plan: every optimizer step.
        requested: hyperparameters.
        context: run folder; checkpoints go to `checkpoints/step-N`, metrics to `metrics.jsonl`.
        tick: progress in tokens.
        world: this process among the run's.
    """

    # `compute_loss` divides by the step's number of counted tokens itself.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: "PreTrainedModel",
        plan: Plan,
        requested: Hyperparameters,
        context: RunFolder,
        tick: Tick,
        world: World = ALONE,
    ) -> None:
        self.plan, self.requested, self.context, self.world = plan, requested, context, world
        self.recorder = _Recorder(plan, requested, context, tick)
        self.recorder.measure(model, world.size)
        self.hidden_size = int(model.config.get_text_config().hidden_size)
        self.masters = requested.mixed_precision == "bf16"
        super().__init__(
            model=model,
            args=self.arguments(),
            train_dataset=StepRows(plan, world.size),
            data_collator=collate,
            callbacks=[schedule := Schedule(plan, requested, context, world)],
        )
        schedule.loop = self
        for printer in (PrinterCallback, ProgressCallback):
            self.remove_callback(printer)
        # The loss takes the step's number of counted tokens, whatever the model's own forward accepts.
        self.model_accepts_loss_kwargs = True

    def arguments(self) -> TrainingArguments:
        """The Trainer's arguments for this run."""
        return TrainingArguments(**self.trainer_arguments())

    def trainer_arguments(self) -> dict[str, Any]:
        """The same as plain values."""
        return arguments(self.requested, self.plan, self.context.path / "checkpoints", self.world)

    def create_optimizer(self, model: Any = None) -> Any:
        """Fused AdamW or SGD as asked; over fp32 masters where the model computes in bf16."""
        if self.optimizer is None and self.masters:  # type: ignore[has-type]
            trained = [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]
            decaying = self.get_decay_parameter_names(self.model)
            groups = [
                {"params": [w for name, w in trained if name in decaying], "weight_decay": self.args.weight_decay},
                {"params": [w for name, w in trained if name not in decaying], "weight_decay": 0.0},
            ]
            _, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            kind = MasterAdamW if self.requested.optimizer == "adamw" else MasterSGD
            self.optimizer = kind([group for group in groups if group["params"]], **options)
        return super().create_optimizer(model)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.masters:
            for weight in self.model.parameters():
                weight.data = weight.data.bfloat16()  # PEFT loads adapters as fp32

    def _clip_grad_norm(self, model: Any) -> Any:
        return self._clip_masters(self.args.max_grad_norm) if self.masters else super()._clip_grad_norm(model)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if self.masters and grad_norm is None:
            return self._clip_masters(float("inf"))
        return super()._get_grad_norm(model, grad_norm)

    def _clip_masters(self, limit: float) -> torch.Tensor:
        """Norm of the gradients before clipping; they lie with the masters, where the Trainer does not look."""
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        return torch.nn.utils.clip_grad_norm_(weights, limit)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Loss of one packed row as its share of the step's mean."""
        if self.accelerator.num_processes == 1 and inputs["input_ids"].shape[1] == 1:
            # A filler: with no other rank to agree with, the model need not run for nothing.
            loss = torch.zeros((), device=inputs["input_ids"].device, requires_grad=True)
        else:
            # DDP averages gradients over ranks; the count is over all ranks already.
            with self.offloaded():
                loss = summed_loss(model, inputs) / num_items_in_batch * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def offloaded(self) -> Any:
        """Activations kept for the backward pass wait in the host's memory, as `unsloth_gradient_checkpointing` asks.

        With checkpointing these are the inputs of the layers; on a CPU there is nowhere else for them to be.
        """
        if self.requested.unsloth_gradient_checkpointing and torch.cuda.is_available():
            return torch.autograd.graph.save_on_cpu(pin_memory=True)
        return contextlib.nullcontext()

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss of the plan's evaluation rows, recorded; the best model so far is kept when asked for."""
        step = self.state.global_step
        loss = self.evaluation()
        earlier = [row["eval_loss"] for row in self.context.metrics() if "eval_loss" in row]
        best = self.world.of_leader(loss < min(earlier, default=float("inf")))
        if self.requested.save_best_checkpoint and best:
            self.save_weights(self.context.path / "best")
        self.context.metric(step, eval_loss=loss)
        self.context.event("evaluated", step=step, eval_loss=loss)
        result = {"eval_loss": loss}
        # Tells the Trainer that the evaluation which was due is done.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)  # type: ignore[has-type]
        return result

    def evaluation(self) -> float:
        """Mean loss of the plan's evaluation rows."""
        return evaluation_loss(self.model, self.plan.evaluation, self.accelerator.autocast, self.args.device)

    def save_weights(self, folder: Path) -> None:
        """Write the model or its adapter as a folder of its own."""
        with replacing_folder(folder) as partial:
            self.model.save_pretrained(partial)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Record a step's numbers; the summary that the Trainer logs at the end is in the job's report."""
        if "loss" in logs and "grad_norm" in logs:
            self.recorder.record(self.state.global_step, logs)
            self.callback_handler.on_log(self.args, self.state, self.control, dict(logs))

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        step = self.state.global_step
        self.publish_checkpoint(self.context.path / "checkpoints" / f"checkpoint-{step}", step)
        self.context.event("checkpoint", step=step)

    def publish_checkpoint(self, folder: Path, step: int) -> None:
        """Mark a written checkpoint as whole."""
        checkpoints.publish(folder, step, checkpoints.KEPT)


class Schedule(TrainerCallback):  # type: ignore[misc]
    """After each step: log, evaluate, publish as asked, save for recovery from time to time, stop when told to."""

    def __init__(
        self, plan: "Plan | Scheduled", requested: Hyperparameters, context: RunFolder, world: World = ALONE
    ) -> None:
        self.plan, self.requested, self.context, self.world = plan, requested, context, world
        self.saved = time.monotonic()
        # A killed run loses at most about this much work; a checkpoint takes seconds.
        self.every_s = settings.load().checkpoint_s
        self.loop: Any = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Decide what is due; processes must agree, or one would wait for the others for ever."""
        step = state.global_step
        stop = self.world.any(stopping.asked()) and step < state.max_steps
        control.should_log = True
        control.should_evaluate = bool(self.plan.evaluation) and evaluates(self.requested, self.plan, step)
        due = time.monotonic() - self.saved >= self.every_s
        control.should_save = stop or (self.world.of_leader(due) and step < state.max_steps)
        control.should_training_stop = control.should_training_stop or stop
        if control.should_save:
            self.saved = time.monotonic()
        if publishes(self.requested, self.plan, step):
            writing = self.context.path / "published" / "writing"
            self.loop.save_weights(writing)
            if self.world.leads:
                checkpoints.publish(writing, step, keep=self.requested.number_of_checkpoints)


def evaluates(requested: Hyperparameters, plan: "Plan | Scheduled", step: int) -> bool:
    """Whether the evaluation loss is due after this step: as `eval_strategy` says, and always after the last step."""
    if requested.eval_strategy == "no":
        return False
    every = plan.steps_per_epoch if requested.eval_strategy == "epoch" else requested.eval_steps
    return step % every == 0 or step == len(plan.steps)


def publishes(requested: Hyperparameters, plan: "Plan | Scheduled", step: int) -> bool:
    """Whether a checkpoint is published after this step, as `checkpoint_strategy` says."""
    if requested.checkpoint_strategy == "no":
        return False
    every = plan.steps_per_epoch if requested.checkpoint_strategy == "epoch" else requested.checkpoint_steps
    return step % every == 0


def arguments(requested: Hyperparameters, plan: Plan, output: Path, world: World) -> dict[str, Any]:
    """The Trainer's arguments for packed rows: one row a forward pass, as many as a step has."""
    return {
        **common_arguments(requested, len(plan.steps), output),
        "max_steps": len(plan.steps),
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": -(-plan.rows_per_step // world.size),
        # bf16 is the dtype of the weights here (module `master`), not an autocast.
        "bf16": False,
    }


def common_arguments(requested: Hyperparameters, steps: int, output: Path) -> dict[str, Any]:
    """Our hyperparameters in the Trainer's words; what is ours (logging, saving) is turned off there."""
    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(output),
        "learning_rate": requested.learning_rate,
        "lr_scheduler_type": requested.lr_scheduler_type
        if requested.lr_scheduler_type != "constant"
        else "constant_with_warmup",
        "warmup_steps": requested.warmup_steps(steps),
        "max_grad_norm": requested.max_grad_norm,
        "weight_decay": requested.weight_decay,
        "optim": "adamw_torch_fused" if requested.optimizer == "adamw" else "sgd",
        "bf16": requested.mixed_precision == "bf16",
        "fp16": requested.mixed_precision == "fp16",
        "use_cpu": not gpu,
        "ddp_backend": "gloo" if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not gpu else None,
        "activation_checkpointing": not requested.disable_gradient_checkpointing,
        "use_liger_kernel": requested.liger_kernel and gpu,
        "seed": requested.seed,
        "full_determinism": requested.full_determinism,
        "logging_strategy": "no",
        # A loss that is not a number must be seen, not replaced by an average.
        "logging_nan_inf_filter": False,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": gpu,
    }


class _Recorder:
    """Writes one row of metrics a step and moves the progress bar."""

    def __init__(self, plan: Plan, requested: Hyperparameters, context: RunFolder, tick: Tick) -> None:
        self.plan, self.requested = plan, requested
        self.tokens = plan.steps.tokens()
        self.losses: list[float] = []
        self.flop_share = 0.0
        self.every = 1 if requested.logging_steps == -1 else requested.logging_steps
        self.context = context
        self.tick = tick
        self.last = time.monotonic()
        self.watch = stopping.Watch(requested.mixed_precision == "fp16")

    def measure(self, model: Any, processes: int) -> None:
        """Look at what MFU and fill are shares of."""
        lengths = self.plan.steps.dataset.lengths
        flop = throughput.flop_per_token(model, self.requested.training_type == "full", lengths)
        self.flop_share = flop / (throughput.peak() * processes)

    def record(self, step: int, logs: dict[str, float]) -> None:
        now = time.monotonic()
        tokens, seconds = self.tokens[step - 1], max(now - self.last, 1e-9)
        self.watch.see(step, logs)
        self.context.metric(
            step,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            grad_norm=logs["grad_norm"],
            tokens=tokens,
            seconds=round(seconds, 3),
            tokens_per_second=round(tokens / seconds, 1),
            mfu=round(self.flop_share * tokens / seconds, 4),
            fill=round(tokens / (len(self.plan.steps.rows[step - 1]) * self.requested.max_sequence_length), 4),
            memory_bytes=throughput.memory_in_use(),
        )
        self.last = now
        self.losses.append(logs["loss"])
        show = bool(self.every) and step % self.every == 0
        line = f"step {step} loss {logs['loss']:.3f} {throughput.sparkline(self.losses)}"
        self.tick(tokens, note=line if show else "")
