"""A thin `transformers.Trainer`: packed rows in planned order, token-weighted loss, safe checkpoints.

Loop, optimizer, schedule, clipping, autocast and distribution are the Trainer's. Ours are:
the loss (sum of cross entropies of the step's counted tokens, divided by their number over all rows of the step and
all ranks: batch 8 x accumulate 1 equals batch 1 x accumulate 8), its logits (of counted positions only: in fine-tuning
three of four positions are the prompt's), the evaluation (token-weighted likewise), a row of metrics every step, and
where checkpoints go.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from loglore.data.packing import IGNORED, PackedRow
from loglore.runs.files import replacing_folder
from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.train import checkpoints
from loglore.train.hyperparameters import Hyperparameters
from loglore.train.plan import Plan

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, TrainingArguments

LOSS_POSITIONS = 256
RECOVERY_EVERY_S = 45.0  # a killed run loses at most about this much work


def tensors(row: PackedRow) -> dict[str, "torch.Tensor"]:
    """A packed row as the model's arguments: [1, length] ids, positions and shifted labels, and segment bounds."""
    import torch

    bounds = torch.from_numpy(row.segments)
    longest = int(np.diff(row.segments).max())
    return {
        "input_ids": torch.from_numpy(row.ids).long()[None],
        "position_ids": torch.from_numpy(row.positions).long()[None],
        "shift_labels": torch.from_numpy(row.targets).long()[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": torch.tensor(longest),
        "max_length_k": torch.tensor(longest),
    }


def summed_loss(model: "torch.nn.Module", row: dict[str, "torch.Tensor"]) -> "torch.Tensor":
    """Sum of cross entropies (nats) over the counted tokens of one packed row, in fp32.

    A row with nothing to count gives a zero that still reaches every weight: ranks must agree on what is reduced.
    """
    import torch

    targets = row["shift_labels"][0]
    counted = torch.nonzero(targets != IGNORED)[:, 0]
    wanted = counted if len(counted) else torch.zeros(1, dtype=torch.long, device=targets.device)
    logits: torch.Tensor = model(
        input_ids=row["input_ids"],
        position_ids=row["position_ids"],
        cu_seq_lens_q=row["cu_seq_lens_q"],
        cu_seq_lens_k=row["cu_seq_lens_k"],
        max_length_q=int(row["max_length_q"]),
        max_length_k=int(row["max_length_k"]),
        logits_to_keep=wanted,
        use_cache=False,
    ).logits[0]
    if not len(counted):
        return logits.float().sum() * 0.0
    # In parts, or the fp32 copy of all logits (vocabulary x positions) leaves the cache.
    parts = zip(torch.split(logits, LOSS_POSITIONS), torch.split(targets[counted], LOSS_POSITIONS), strict=True)
    losses = [torch.nn.functional.cross_entropy(part.float(), wanted, reduction="sum") for part, wanted in parts]
    return torch.stack(losses).sum()


class StepRows:
    """Map-style dataset of a plan's rows in order; steps with fewer rows are filled up with rows that count nothing."""

    def __init__(self, plan: Plan) -> None:
        self.rows_per_step = plan.rows_per_step
        self.rows = [row for step in plan.steps for row in step + [_filler()] * (self.rows_per_step - len(step))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> PackedRow:
        return self.rows[number]


def _filler() -> PackedRow:
    zero = np.zeros(1, dtype=np.int32)
    return PackedRow(zero, zero, np.full(1, IGNORED, dtype=np.int32), np.array([0, 1], dtype=np.int32))


def collate(rows: list[PackedRow]) -> dict[str, "torch.Tensor"]:
    """Batches hold one row. `labels` stands for Trainer's count of tokens, which prefers `shift_labels`."""
    (row,) = rows
    batch = tensors(row)
    return {**batch, "labels": batch["shift_labels"]}


def build(
    model: "PreTrainedModel",
    plan: Plan,
    requested: Hyperparameters,
    context: RunFolder,
    tick: Tick,
    recovery_every_s: float,
) -> Any:
    """The Trainer of this run; call `.train(resume_from_checkpoint=…)` on it.

    Args:
        model: to train, in place.
        plan: every optimizer step.
        requested: hyperparameters.
        context: run folder; checkpoints go to `checkpoints/step-N`, metrics to `metrics.jsonl`.
        tick: progress in steps.
        recovery_every_s: seconds between recovery checkpoints; 0 for one after every step.
    """
    from transformers import Trainer, TrainerCallback

    class PackedTrainer(Trainer):  # type: ignore[misc]
        loss_is_scaled_for_ga = True

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            loss = summed_loss(model, inputs) / num_items_in_batch
            # DDP averages gradients over ranks; the count is over all ranks already.
            loss = loss * self.accelerator.num_processes
            return (loss, {}) if return_outputs else loss

        def _get_train_sampler(self, train_dataset: Any = None) -> "torch.utils.data.Sampler[int]":
            import torch

            return torch.utils.data.SequentialSampler(self.train_dataset)

        def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
            loss = evaluation_loss(self.model, plan.evaluation, self.accelerator.autocast, self.args.device)
            earlier = [row["eval_loss"] for row in context.metrics() if "eval_loss" in row]
            if requested.save_best_checkpoint and loss < min(earlier, default=float("inf")):
                with replacing_folder(context.path / "best") as folder:
                    self.model.save_pretrained(folder)
            context.metric(self.state.global_step, eval_loss=loss)
            context.event("evaluated", step=self.state.global_step, eval_loss=loss)
            result = {"eval_loss": loss}
            # Tells the Trainer that the evaluation which was due is done.
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, result)  # type: ignore[has-type]
            return result

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            if "loss" in logs and "grad_norm" in logs:
                recorder.record(self.state.global_step, logs)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            step = self.state.global_step
            folder = context.path / "checkpoints"
            checkpoints.publish(folder / f"checkpoint-{step}", step, keep=1)
            context.event("checkpoint", step=step)

    class Schedule(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.saved = time.monotonic()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_log = True
            control.should_evaluate = bool(plan.evaluation) and evaluates(requested, plan, state.global_step)
            due = time.monotonic() - self.saved >= recovery_every_s
            control.should_save = due and state.global_step < state.max_steps
            if control.should_save:
                self.saved = time.monotonic()
            if publishes(requested, plan, state.global_step):
                written = context.path / "published" / "writing"
                model.save_pretrained(written)
                checkpoints.publish(written, state.global_step, keep=requested.number_of_checkpoints)

    recorder = _Recorder(plan, requested, context, tick)
    trainer = PackedTrainer(
        model=model,
        args=arguments(requested, plan, context.path / "checkpoints"),
        train_dataset=StepRows(plan),
        data_collator=collate,
        callbacks=[Schedule()],
    )
    _remove_printers(trainer)
    # The loss takes the step's number of counted tokens, whatever the model's own forward accepts.
    trainer.model_accepts_loss_kwargs = True
    return trainer


def evaluates(requested: Hyperparameters, plan: Plan, step: int) -> bool:
    """Whether the evaluation loss is due after this step: as `eval_strategy` says, and always after the last step."""
    if requested.eval_strategy == "no":
        return False
    every = plan.steps_per_epoch if requested.eval_strategy == "epoch" else requested.eval_steps
    return step % every == 0 or step == len(plan.steps)


def publishes(requested: Hyperparameters, plan: Plan, step: int) -> bool:
    """Whether a checkpoint is published after this step, as `checkpoint_strategy` says."""
    if requested.checkpoint_strategy == "no":
        return False
    every = plan.steps_per_epoch if requested.checkpoint_strategy == "epoch" else requested.checkpoint_steps
    return step % every == 0


def evaluation_loss(
    model: "torch.nn.Module", rows: list[PackedRow], autocast: Callable[[], Any], device: "torch.device"
) -> float:
    """Mean cross entropy (nats a token) over all counted tokens of `rows`."""
    import torch

    was_training = model.training
    model.eval()
    total = 0.0
    with torch.no_grad():
        for row in rows:
            batch = {name: value.to(device) for name, value in tensors(row).items()}
            with autocast():
                total += float(summed_loss(model, batch))
    model.train(was_training)
    return total / max(sum(int((row.targets != IGNORED).sum()) for row in rows), 1)


def arguments(requested: Hyperparameters, plan: Plan, output: Path) -> "TrainingArguments":
    """Our hyperparameters in the Trainer's words; what is ours (order, logging, saving) is turned off there."""
    import torch
    from transformers import TrainingArguments

    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(output),
        max_steps=len(plan.steps),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=plan.rows_per_step,
        learning_rate=requested.learning_rate,
        lr_scheduler_type=requested.lr_scheduler_type
        if requested.lr_scheduler_type != "constant"
        else "constant_with_warmup",
        warmup_steps=requested.warmup_steps(len(plan.steps)),
        max_grad_norm=requested.max_grad_norm,
        weight_decay=requested.weight_decay,
        optim="adamw_torch" if requested.optimizer == "adamw" else "sgd",
        bf16=requested.mixed_precision == "bf16",
        fp16=requested.mixed_precision == "fp16",
        use_cpu=not gpu,
        activation_checkpointing=not requested.disable_gradient_checkpointing,
        use_liger_kernel=requested.liger_kernel and gpu,
        seed=requested.seed,
        full_determinism=requested.full_determinism,
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=gpu,
    )


class _Recorder:
    """Writes one row of metrics a step and moves the progress bar."""

    def __init__(self, plan: Plan, requested: Hyperparameters, context: RunFolder, tick: Tick) -> None:
        self.tokens = [sum(len(row.ids) for row in step) for step in plan.steps]
        self.every = 1 if requested.logging_steps == -1 else requested.logging_steps
        self.context = context
        self.tick = tick
        self.last = time.monotonic()

    def record(self, step: int, logs: dict[str, float]) -> None:
        now = time.monotonic()
        self.context.metric(
            step,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            grad_norm=logs["grad_norm"],
            tokens=self.tokens[step - 1],
            seconds=round(now - self.last, 3),
        )
        self.last = now
        show = bool(self.every) and step % self.every == 0
        self.tick(self.tokens[step - 1], note=f"step {step} loss {logs['loss']:.3f}" if show else "")


def _remove_printers(trainer: Any) -> None:
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
