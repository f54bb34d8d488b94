"""Preference training through TRL, the only file that knows it: five losses on pairs of a better and a worse answer.

    sigmoid, hinge, ipo  `DPOTrainer` against a frozen reference: the base itself (LoRA off), or a copy in full training
    orpo, simpo          TRL's experimental `ORPOTrainer` and `CPOTrainer`, which need no reference; pinned to TRL 1.16

Sources: DPO (Rafailov et al. 2023), SLiC hinge (Zhao et al. 2023), IPO (Azar et al. 2023), ORPO (Hong et al. 2024),
SimPO (Meng et al. 2024). `pref_ftx` adds that much of the SFT loss (mean over the chosen answers' tokens).

`dpo_label_smoothing` e with sigmoid is conservative DPO, (1 - e) L+ + e L- with L± = -log sigmoid(± beta delta). TRL
has no such loss, but two that span it: `sigmoid` is L+ and `robust` at smoothing s is ((1 - s) L+ - s L-) / (1 - 2 s).
At s = 1/4 that is 1.5 L+ - 0.5 L-, so (1 + 2 e) sigmoid - 2 e robust is what was asked for, for every e.

Rows are tokenized by us (`pairs`); TRL's tokenization and its report to the Hugging Face hub are turned off. Under FSDP
policy and reference are divided by us (`sharded_loop`), as in the other stages. Imports torch, transformers and TRL:
import it inside a function.
"""

import copy
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import DPOConfig, DPOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.train import deepspeed, stopping, throughput
from loglore.train.base import lora_config
from loglore.train.hyperparameters import WITH_REFERENCE, Hyperparameters
from loglore.train.pairs import Pair, columns
from loglore.train.sharded_loop import ShardedLoop
from loglore.train.trainer import Schedule, common_arguments
from loglore.train.world import World

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from loglore.train.work import PairWork

ROBUST_SMOOTHING = 0.25
PREFIX = "eval_"


@dataclass(frozen=True)
class PairPlan:
    """What the schedule asks of a plan: `steps` of the run, an epoch's share of them, and evaluation pairs."""

    steps: range
    steps_per_epoch: int
    evaluation: Sequence[Pair]


class _Recorded(ShardedLoop):
    """What all three trainers do our way; stands before TRL's class in the bases."""

    state: Any
    deepspeed: Any
    tokens_read = 0
    evaluates_first = False

    def _send_telemetry(self) -> None:
        """Nothing leaves the machine."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Ours is written with the model; TRL's would come with every checkpoint."""

    def tokenize_row(self, _: Any, **__: Any) -> dict[str, Any]:
        """ORPO and CPO: the columns are there already."""
        return {}

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        """DPO: likewise."""
        return dataset

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Any:
        read = [mask for name, mask in inputs.items() if name.endswith("attention_mask") and "prompt" not in name]
        self.tokens_read += int(sum(mask.sum() for mask in read))
        return super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]

    def evaluate(self, *given: Any, **named: Any) -> Any:
        """DeepSpeed has nothing to evaluate with until training begins: what is asked for before waits until then."""
        if self.is_deepspeed_enabled and self.deepspeed is None:
            self.evaluates_first = True
            return {}
        return super().evaluate(*given, **named)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        step = self.state.global_step
        self.publish_checkpoint(self.context.path / "checkpoints" / f"checkpoint-{step}", step)
        self.context.event("checkpoint", step=step)


class _Dpo(_Recorded, DPOTrainer):  # type: ignore[misc]
    pass


class _Orpo(_Recorded, ORPOTrainer):  # type: ignore[misc]
    pass


class _Cpo(_Recorded, CPOTrainer):  # type: ignore[misc]
    pass


def build(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: "PairWork",
    requested: Hyperparameters,
    context: RunFolder,
    tick: Tick,
    world: World,
) -> Any:
    """TRL's trainer for the loss that was asked for.

    Args:
        model: to train, in place; with its adapter for orpo and simpo, without it for the others.
        tokenizer: of the model.
        task: training and evaluation pairs.
        requested: hyperparameters.
        context: run folder.
        tick: progress in tokens.
        world: this process among the run's.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    planned = PairPlan(range(task.steps), task.per_epoch, task.evaluation)
    recorder, schedule = Recorder(requested, context, tick, world), Schedule(planned, requested, context, world)
    given = {
        "model": model,
        "args": _config(requested, task, context, world, int(model.config.get_text_config().hidden_size)),
        "processing_class": tokenizer,
        "callbacks": [recorder, schedule],
    }
    if requested.pref_loss in WITH_REFERENCE:
        lora = requested.training_type == "lora"
        given["ref_model"] = None if lora else copy.deepcopy(model).requires_grad_(False)
        given["peft_config"] = lora_config(requested) if lora else None
        loop: Any = _Dpo(train_dataset=_dataset(task.pairs), eval_dataset=_dataset(task.evaluation), **given)
    else:
        kind = _Orpo if requested.pref_loss == "orpo" else _Cpo
        loop = kind(train_dataset=_labelled(task.pairs), eval_dataset=_labelled(task.evaluation), **given)
    for printer in (PrinterCallback, ProgressCallback):
        loop.remove_callback(printer)
    loop.context, loop.world = context, world
    if world.size > 1 and requested.distributed_backend == "fsdp":
        loop.shard(bf16=False, reference=loop.ref_model if requested.pref_loss in WITH_REFERENCE else None)
    recorder.loop = schedule.loop = loop
    loop.recorder = recorder
    return loop


def _config(requested: Hyperparameters, task: "PairWork", context: RunFolder, world: World, hidden_size: int) -> Any:
    """The configuration of TRL's trainer for the loss."""
    with warnings.catch_warnings():
        # TRL's own default is set under the old name of activation checkpointing.
        warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
        return _configured(requested, task, context, world, hidden_size)


def _configured(
    requested: Hyperparameters, task: "PairWork", context: RunFolder, world: World, hidden_size: int
) -> Any:
    common = {
        **common_arguments(requested, task.steps, context.path / "checkpoints"),
        "num_train_epochs": requested.epochs,
        "per_device_train_batch_size": requested.batch_size,
        "per_device_eval_batch_size": requested.batch_size,
        "gradient_accumulation_steps": requested.gradient_accumulation_steps,
        "max_length": requested.max_sequence_length,
        "beta": requested.pref_beta,
        # Dropout of the base is off already; LoRA's is the user's.
        "disable_dropout": False,
    }
    common["gradient_checkpointing"] = common.pop("activation_checkpointing")
    if world.size > 1 and requested.distributed_backend == "deepspeed":
        rows = requested.batch_size, requested.gradient_accumulation_steps
        common["deepspeed"] = deepspeed.configuration(requested, *rows, world.size, hidden_size)
    if requested.pref_loss == "orpo":
        return ORPOConfig(**common)
    if requested.pref_loss == "simpo":
        return CPOConfig(
            **common,
            loss_type="simpo",
            cpo_alpha=requested.pref_ftx,
            simpo_gamma=requested.simpo_gamma,
            label_smoothing=requested.dpo_label_smoothing,
        )
    losses, weights = _losses(requested)
    return DPOConfig(**common, loss_type=losses, loss_weights=weights, label_smoothing=ROBUST_SMOOTHING)


def _losses(requested: Hyperparameters) -> tuple[list[str], list[float]]:
    """TRL's losses and their weights; see the head of this file for label smoothing."""
    parts: dict[str, float] = {requested.pref_loss: 1.0}
    if requested.dpo_label_smoothing:
        smoothing = requested.dpo_label_smoothing
        parts = {"sigmoid": 1 + 2 * smoothing, "robust": -2 * smoothing}
    if requested.pref_ftx:
        parts["sft"] = requested.pref_ftx
    return list(parts), list(parts.values())


def _dataset(pairs: Sequence[Pair]) -> Dataset | None:
    return Dataset.from_dict(columns(pairs)) if pairs else None


def _labelled(pairs: Sequence[Pair]) -> Dataset | None:
    """Rows as `tokenize_row` of ORPO and CPO makes them; the empty texts stand where they look for a template's."""
    if not pairs:
        return None
    rows = []
    for pair in pairs:
        row: dict[str, Any] = {"prompt": "", "chosen": "", "rejected": "", "prompt_input_ids": pair.prompt}
        row["prompt_attention_mask"] = [1] * len(pair.prompt)
        for name, answer in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            ids = pair.prompt + answer
            row[f"{name}_input_ids"], row[f"{name}_attention_mask"] = ids, [1] * len(ids)
            row[f"{name}_labels"] = [-100] * len(pair.prompt) + answer
        rows.append(row)
    return Dataset.from_list(rows)


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Writes what TRL logs into the run folder: a row a step, a row an evaluation; keeps the best model when asked."""

    def __init__(self, requested: Hyperparameters, context: RunFolder, tick: Tick, world: World) -> None:
        self.requested, self.context, self.tick, self.world = requested, context, tick, world
        self.watch = stopping.Watch(requested.mixed_precision == "fp16")
        self.last, self.read = time.monotonic(), 0
        self.losses: list[float] = []
        self.loop: Any = None

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first evaluation, where it had to wait."""
        if self.loop.evaluates_first:
            self.loop.evaluate()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """A step's numbers; those of an evaluation come with `on_evaluate`."""
        if not logs or "grad_norm" not in logs:
            return
        self.watch.see(state.global_step, logs)
        now, read = time.monotonic(), round(self.world.sum(self.loop.tokens_read))
        rewards = {name.replace("/", "_"): value for name, value in logs.items() if name.startswith("rewards/")}
        self.context.metric(
            state.global_step,
            loss=logs["loss"],
            learning_rate=logs["learning_rate"],
            grad_norm=logs["grad_norm"],
            tokens=read - self.read,
            seconds=round(now - self.last, 3),
            tokens_per_second=round((read - self.read) / max(now - self.last, 1e-9), 1),
            memory_bytes=throughput.memory_in_use(),
            **rewards,
        )
        every = 1 if self.requested.logging_steps == -1 else self.requested.logging_steps
        show = bool(every) and state.global_step % every == 0
        self.losses.append(logs["loss"])
        note = f"step {state.global_step} loss {logs['loss']:.3f} {throughput.sparkline(self.losses)}" if show else ""
        self.tick(read - self.read, note=note)
        self.last, self.read = now, read

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Loss, accuracy and margin of the evaluation pairs."""
        found = metrics or {}
        loss = found["eval_loss"]
        if self.requested.save_best_checkpoint and self.world.of_leader(loss < self._best()):
            self.loop.save_weights(self.context.path / "best")
        rewards = {
            f"eval_{name.removeprefix(PREFIX).replace('/', '_')}": value
            for name, value in found.items()
            if "rewards/" in name
        }
        self.context.metric(state.global_step, eval_loss=loss, **rewards)
        self.context.event("evaluated", step=state.global_step, eval_loss=loss)

    def _best(self) -> float:
        earlier = [row["eval_loss"] for row in self.context.metrics() if "eval_loss" in row]
        return min(earlier, default=float("inf"))


def without_dropout(model: torch.nn.Module) -> None:
    """Turn dropout off, so that the policy and its reference differ by training alone (as TRL does by default)."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
