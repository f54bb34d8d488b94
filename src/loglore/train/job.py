"""The job `train`: base model + samples + hyperparameters -> a model folder, resumable at any point.

Written to the run folder: `packed/` (tokens, mapped; a second start tokenizes nothing), `metrics.jsonl` (every
optimizer step and evaluation), `checkpoints/step-N` (recovery; removed at the end), `published/step-N` (as
`checkpoint_strategy` asks), `adapter/` (LoRA), `model/` (the result).

    run ── several processes? ── launch: torchrun, or a Ray cluster ── run in each of them ─┐
     └─ plan ─ load ─ (perplexity) ─ steps ─ (perplexity) ─ save, compare ─┴─> report
"""

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from loglore import settings
from loglore.data.long_rows import Policy
from loglore.errors import InputError
from loglore.models.load import Trust, check_folder, load_tokenizer, quiet
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec
from loglore.train import (
    card,
    checkpoints,
    checks,
    deepspeed,
    forecast,
    forgetting,
    hyperparameters,
    launch,
    live,
    loader,
    saving,
    stopping,
    trackers,
    work,
)
from loglore.train.hyperparameters import Hyperparameters
from loglore.train.trackers import Tracker
from loglore.train.world import World, here, join

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from loglore.data.packing import PackedRow


class TrainSpec(Spec):
    """What to train on what.

    stage: `cpt` (corpus or nlplog rows), `sft` (chat rows) or `dpo` (sharegpt-dpo rows). model: base, a folder or a
    GGUF file. train, validation: files of rows. hyperparameters: the JSON file of the contract. max_tokens: of training
    rows read from the start of the file. long_rows: what happens to chat rows longer than `max_sequence_length`
    (`data.long_rows`; rows of `dpo` are refused). general_text: measure perplexity on general text before and after.
    processes: training processes on a machine; null for one a GPU. nodes: machines of a Ray cluster; steps are planned
    for nodes x processes, and stay the same when a machine is lost. price_per_gpu_hour: in dollars. replay: share of
    a pretraining run's characters that is general text, against forgetting. report_to: trackers beside the run folder.
    allow_pickle: load weights that are pickles. trust_remote_code: run Python code that comes with the model.
    """

    stage: Literal["cpt", "sft", "dpo"]
    model: Path
    train: Path
    validation: Path | None = None
    hyperparameters: Path
    max_tokens: int | None = Field(None, ge=1)
    long_rows: Policy = "shorten_log"
    general_text: bool = True
    processes: int | None = Field(None, ge=1)
    nodes: int | None = Field(None, ge=1)
    price_per_gpu_hour: float | None = Field(None, ge=0)
    replay: float = Field(0.0, ge=0, lt=1)
    report_to: tuple[Tracker, ...] = ()
    allow_pickle: bool = False
    trust_remote_code: bool = False

    @property
    def trust(self) -> Trust:
        """What of the model's folder may run code."""
        return Trust(self.allow_pickle, self.trust_remote_code)


def run(spec: TrainSpec, context: RunFolder) -> dict[str, Any]:
    """Train, or go on from the newest sound recovery checkpoint in the run folder.

    Returns:
        outputs (`model`, and `adapter` for LoRA), steps, samples, tokens, seconds, hyperparameters with their outcomes,
        packing fill, first and last losses, perplexity before and after, what the loader took. Empty in a process that
        does not lead.

    Raises:
        InputError: spec, hyperparameters, model or rows are not what they should be.
        JobError: training cannot go on, or was told to stop (`stopping.StoppedError`, a checkpoint is left).
    """
    import torch

    requested = hyperparameters.load(spec.hyperparameters)
    trackers.check(spec.report_to)
    gpu = torch.cuda.is_available()
    processes = spec.processes or max(torch.cuda.device_count(), 1)
    asked = processes * (spec.nodes or 1)
    deepspeed.check(requested, asked)
    outcomes = hyperparameters.outcomes(requested, spec.stage, gpu, asked)
    if asked > 1 and not launch.inside():
        return launch.launch(spec, context, processes)
    world = join(gpu)
    threads = settings.load().threads
    if threads:
        torch.set_num_threads(threads)
    if spec.model.is_dir():
        check_folder(spec.model, spec.trust)
    tokenizer = load_tokenizer(spec.model)
    # Of a cluster that has lost a machine fewer do the work of all: the steps stay what they were.
    task = work.plan(spec, requested, tokenizer, context, asked if spec.nodes else world.size)
    forecast.refuse_what_cannot_fit(forecast.parts(spec, requested, task, world.size), here(world))
    context.event("planned", steps=task.steps, rows_per_step=task.rows_per_step, tokens=task.tokens)
    with quiet(), stopping.listening():
        model, perplexity = _train(spec, requested, task, tokenizer, context, world)
    if not world.leads:
        return {}
    outputs, parity = saving.save(spec.model, requested, model, tokenizer, context, spec.trust)
    report = {
        "outputs": outputs,
        "stage": spec.stage,
        "processes": world.size,
        **_measured(spec, task, context, max(torch.cuda.device_count(), world.size) if gpu else 0),
        **perplexity,
        "parity": parity,
        "hyperparameters": [asdict(outcome) for outcome in outcomes],
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "threads": torch.get_num_threads(),
    }
    report["lineage"] = card.lineage(spec, report)
    for place in outputs.values():
        card.write(context.path / place, report["lineage"], context)
    saving.clean(context)
    return report


def _train(
    spec: TrainSpec,
    requested: Hyperparameters,
    task: work.Work,
    tokenizer: "PreTrainedTokenizerBase",
    context: RunFolder,
    world: World,
) -> tuple["PreTrainedModel", dict[str, Any]]:
    """Run the optimizer steps that are still to do; returns the trained model and what it forgot and learned."""
    from transformers import set_seed

    from loglore.train.tracking import Tracking

    start = _starting_point(requested, context, world)
    done = checkpoints.step_of(start) if start else 0
    context.rewind_metrics(done if start else -1)
    set_seed(requested.seed)
    model = task.model(spec.model, requested, world, spec.trust)
    checks.before_training(model, tokenizer, requested, task.longest, context.path, spec.model)
    before = _perplexity(spec, requested, task, model, tokenizer, context, world, start)
    finished = round(task.tokens_until(done))
    _tell_launcher(context, world, task, done, finished)
    with live.watched(context, f"train {spec.stage}", task.tokens, finished) as tick:
        loop = task.loop(model, requested, tokenizer, context, tick, world)
        waited = loader.watch(loop) if spec.stage != "dpo" else None
        for name in spec.report_to if world.leads else ():
            loop.add_callback(Tracking(name, context))
        if not start and task.evaluates and requested.eval_strategy != "no":
            loop.evaluate()
        loop.train(resume_from_checkpoint=str(start) if start else None)
    if world.any(stopping.asked()) and loop.state.global_step < task.steps:
        raise stopping.StoppedError(
            f"stopped by SIGTERM after step {loop.state.global_step} of {task.steps}, with a checkpoint; the same "
            "command goes on from there"
        )
    model = task.trained(loop, spec.model, requested, world, spec.trust)
    loop.recorder.watch.end()
    best = (context.path / "best").exists()
    if best and world.leads:
        saving.restore_best(model, context.path / "best", spec.trust)
    model.eval()
    if not world.leads:
        return model, {}
    after = _measure(spec, requested, task, model, tokenizer)
    found: dict[str, Any] = {
        name: {"before": before.get(name), "after": after.get(name)} if after.get(name) else None
        for name in ("perplexity", "domain_perplexity")
    }
    if rows := _evaluated(requested, task):
        found["domain_perplexity"] = forgetting.of_losses(context.metrics(), rows, best)
    found["loader"] = waited.report(context.metrics(), done) if waited else None
    return model, found


def _evaluated(requested: Hyperparameters, task: work.Work) -> "Sequence[PackedRow]":
    """Rows whose losses the run itself takes before and after: the domain's perplexity need not be measured again."""
    whole = requested.eval_strategy != "no" and not isinstance(requested.resume_from_checkpoint, str)
    return task.plan.evaluation if whole and isinstance(task, work.PackedWork) else []


def _starting_point(requested: Hyperparameters, context: RunFolder, world: World) -> Path | None:
    """The newest sound recovery checkpoint of this run, else the one that `resume_from_checkpoint` names."""
    own: Path | None = None
    if world.leads:
        folder = context.path / "checkpoints"
        checkpoints.remove_torn(folder)
        own, damaged = checkpoints.newest_sound(folder)
        for fault in damaged:
            context.event("checkpoint damaged", fault=fault)
    own = world.of_leader(own)
    if own is not None or not isinstance(requested.resume_from_checkpoint, str):
        return own
    named = Path(requested.resume_from_checkpoint)
    if not (named / "trainer_state.json").is_file():
        raise InputError(f"`resume_from_checkpoint`: {named} holds no trainer_state.json; expected a step-N folder")
    return named


def _perplexity(
    spec: TrainSpec,
    requested: Hyperparameters,
    task: work.Work,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    context: RunFolder,
    world: World,
    start: Path | None,
) -> dict[str, Any]:
    """What the untrained model has, kept in a file: a resumed run cannot measure it again."""
    kept = context.path / "perplexity-before.json"
    if not world.leads:
        return {}
    if start is None or not kept.exists():
        files.write_json(kept, _measure(spec, requested, task, model, tokenizer))
    return dict(files.read_json(kept))


def _measure(
    spec: TrainSpec,
    requested: Hyperparameters,
    task: work.Work,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
) -> dict[str, Any]:
    found = {}
    if not _evaluated(requested, task):
        rows, source = task.domain()
        found["domain_perplexity"] = forgetting.domain(model, rows, source, requested.mixed_precision != "none")
    if spec.general_text:
        found["perplexity"] = forgetting.general(model, tokenizer)
    return found


def _measured(spec: TrainSpec, task: work.Work, context: RunFolder, gpus: int) -> dict[str, Any]:
    """The numbers of the whole run, from what its steps recorded."""
    rows = context.metrics()
    steps = [row for row in rows if "loss" in row]
    evaluations = [row["eval_loss"] for row in rows if "eval_loss" in row]
    seconds, wall = sum(row["seconds"] for row in steps), _wall_seconds(context)
    tokens = sum(row["tokens"] for row in steps)
    return {
        "steps": task.steps,
        "tokens": tokens,
        **task.facts,
        "seconds": seconds,
        "wall_seconds": wall,
        "mfu": _mean([row["mfu"] for row in steps if "mfu" in row]),
        "tokens_per_second": tokens / seconds if seconds else None,
        "loss": {"first": steps[0]["loss"], "last": steps[-1]["loss"]},
        "eval_loss": {"first": evaluations[0], "last": evaluations[-1]} if evaluations else None,
        "cost": _cost(spec, seconds, wall, gpus),
    }


def _wall_seconds(context: RunFolder) -> float:
    """From the first start of the run until now, pauses between starts included."""
    events = files.read_jsonl_log(context.path / "events.jsonl")
    now = datetime.datetime.now(datetime.UTC)
    return (now - datetime.datetime.fromisoformat(events[0]["time"])).total_seconds() if events else 0.0


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _cost(spec: TrainSpec, seconds: float, wall: float, gpus: int) -> dict[str, float] | None:
    """GPUs x hours x price, of the hours in which steps ran and of all; None without a GPU and without a price.

    The published costs of the tutorial leave the number of GPUs out.
    """
    if spec.price_per_gpu_hour is None and not gpus:
        return None
    price = forecast.gpu_hour_dollars(spec.price_per_gpu_hour)
    active, whole = max(gpus, 1) * seconds / 3600, max(gpus, 1) * wall / 3600
    return {
        "gpus": gpus, "hours": seconds / 3600, "wall_hours": wall / 3600, "price_per_gpu_hour": price,
        "dollars": active * price, "wall_dollars": whole * price,
    }  # fmt: skip


def _tell_launcher(context: RunFolder, world: World, task: work.Work, step: int, finished: int) -> None:
    """Where this start begins, for the parent's progress bar."""
    if world.leads and world.size > 1:
        place = context.path / launch.FOLDER / "planned.json"
        files.write_text(place, json.dumps({"tokens": task.tokens, "done": finished, "step": step}))
