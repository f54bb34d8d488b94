"""What a run would take on machines that are not here: computed from one worker's measured rate and stated link speeds.

A step is computing and moving. Moving is hidden behind computing as long as it is the shorter of both (collectives run
beside the layers), so a step takes the longer one; nothing else is added, which makes this the best that can be hoped
for. Bytes that a GPU sends, with P parameters of which T are trained, in bf16 (Rajbhandari et al., "ZeRO", 2020):

    fsdp, ZeRO 3   each packed row: gathered for the forward and the backward pass, gradients scattered   3 x 2 P
    ZeRO 2         each packed row: gradients scattered 2 T;  a step: weights gathered                    2 T
    ZeRO 1         a step: gradients scattered, weights gathered                                          4 T
    ddp            a step: fp32 gradients of the masters, summed in a ring                                2 x 4 T

The global batch stays what the recipe asks for: more GPUs get fewer rows each, and none is of use beyond one row a GPU.
Checkpoints stop the run while they are written; at the start every node reads the model once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loglore import settings
from loglore.train.estimate import GIB, Declared, estimate, trained_parameters
from loglore.train.hyperparameters import Hyperparameters

GB = 1e9
# Bytes that a checkpoint holds: bf16 weights, and of each trained parameter fp32 master and two moments.
WEIGHT, STATE = 2, 12


@dataclass(frozen=True)
class Links:
    """Stated speeds, in bytes a second.

    Attributes:
        inside: between GPUs of a node, one direction (NVLink 4 of an H100: 450 GB/s).
        between: between nodes, for each GPU (one 400 Gbit/s port: 50 GB/s).
        storage: of the shared storage, all nodes together.
        gpus_per_node: GPUs of a node.
        gpu_memory: bytes of a GPU.
    """

    inside: float = 450 * GB
    between: float = 50 * GB
    storage: float = 5 * GB
    gpus_per_node: int = 8
    gpu_memory: int = 80 * GIB


@dataclass(frozen=True)
class Scaled:
    """A run on `gpus` GPUs.

    Attributes:
        gpus: paid for; working: those that have a row in every step.
        rows: packed rows of a step on the busiest GPU.
        steps: optimizer steps.
        compute_s, move_s: of a step; the longer one is its time.
        start_s, checkpoints_s: of the run.
        seconds, tokens_per_second, dollars: of the run, start and checkpoints within.
        memory: bytes of a GPU.
        bottleneck: what takes the largest part of the time that is no computing of an even share.
    """

    gpus: int
    working: int
    rows: int
    steps: int
    compute_s: float
    move_s: float
    start_s: float
    checkpoints_s: float
    seconds: float
    tokens_per_second: float
    dollars: float
    memory: float
    fits: bool
    bottleneck: str


def scaled(stage: Any, requested: Hyperparameters, declared: Declared, gpus: int, links: Links = Links()) -> Scaled:
    """The run of a recipe on another number of GPUs, at the recipe's global batch.

    Args:
        stage: `cpt` or `sft`.
        requested: its hyperparameters.
        declared: its shapes, and the measured rate of one GPU.
        gpus: 1 or more.
        links: stated speeds.
    """
    base = estimate(stage, requested, declared)
    there = estimate(stage, requested, _on(declared, gpus))
    rows_of_step = base.rows_per_step
    working = min(gpus, rows_of_step)
    rows = math.ceil(rows_of_step / working)
    tokens_of_row = base.tokens / (base.steps * rows_of_step)
    compute_s = rows * tokens_of_row / declared.hardware.tokens_per_second_per_gpu
    move_s = _moved(requested, declared, rows, working) / _link(links, working)
    nodes = math.ceil(gpus / links.gpus_per_node)
    start_s = nodes * WEIGHT * declared.model.parameters / links.storage
    training_s = base.steps * max(compute_s, move_s)
    checkpoint = WEIGHT * declared.model.parameters + STATE * trained_parameters(requested, declared.model)
    written = math.floor(training_s / settings.load().checkpoint_s)
    checkpoints_s = written * checkpoint / links.storage
    seconds = training_s + start_s + checkpoints_s
    memory = sum(there.memory.values())
    even_s = base.tokens / (declared.hardware.tokens_per_second_per_gpu * gpus)
    lost = {
        "storage, at the start": start_s,
        "storage, by checkpoints": checkpoints_s,
        f"links {'inside a node' if working <= links.gpus_per_node else 'between nodes'}": base.steps
        * max(move_s - compute_s, 0),
        "the batch: fewer rows in a step than GPUs": base.steps * compute_s - even_s if gpus > rows_of_step else 0.0,
    }
    worst = max(lost, key=lambda name: lost[name])
    return Scaled(
        gpus, working, rows, base.steps, compute_s, move_s, start_s, checkpoints_s, seconds, base.tokens / seconds,
        gpus * seconds / 3600 * declared.hardware.dollars_per_gpu_hour, memory, memory <= links.gpu_memory,
        "memory of a GPU" if memory > links.gpu_memory else worst,
    )  # fmt: skip


def _on(declared: Declared, gpus: int) -> Declared:
    return declared.model_copy(update={"hardware": declared.hardware.model_copy(update={"gpus": gpus})})


def _moved(requested: Hyperparameters, declared: Declared, rows: int, gpus: int) -> float:
    """Bytes that a GPU sends in a step."""
    whole, trained = declared.model.parameters, trained_parameters(requested, declared.model)
    stage = {"fsdp": 3, "deepspeed": requested.zero_stage, "ddp": 0}[requested.distributed_backend]
    bytes_ = {3: rows * 3 * 2 * whole, 2: rows * 2 * trained + 2 * trained, 1: 4 * trained, 0: 2 * 4 * trained}[stage]
    return bytes_ * (gpus - 1) / gpus


def _link(links: Links, gpus: int) -> float:
    return links.inside if gpus <= links.gpus_per_node else links.between


def lines(found: Scaled, links: Links = Links()) -> list[str]:
    """A run on so many GPUs as text."""
    nodes = math.ceil(found.gpus / links.gpus_per_node)
    idle = f", {found.gpus - found.working} of them without a row" if found.working < found.gpus else ""
    return [
        f"{nodes} nodes, {found.gpus} GPUs{idle}: {found.steps:,} steps of {found.rows} rows a GPU; a step computes "
        f"{found.compute_s:.2f} s and moves {found.move_s:.2f} s",
        f"    {found.tokens_per_second:,.0f} tokens/s, {found.seconds:,.0f} s (start {found.start_s:,.0f}, checkpoints "
        f"{found.checkpoints_s:,.0f}), ${found.dollars:,.2f}",
        f"    {found.memory / GIB:.1f} GiB a GPU of {links.gpu_memory / GIB:.0f}; first bottleneck: {found.bottleneck}",
    ]


@dataclass(frozen=True)
class Asking:
    """Measured rates of synthesis, and what is stated.

    Attributes:
        analyst: rows a second that one CPU core writes with the built-in analyst.
        runner: requests a second that one asking process sends and judges.
        teacher: requests a second that one replica of the teacher answers (stated).
        row: bytes of a written row.
        core_hour, replica_hour: dollars.
        cores_per_node: cores of a node without GPUs (stated).
    """

    analyst: float = 11.0
    runner: float = 290.0
    teacher: float = 2.0
    row: int = 12_000
    core_hour: float = 0.05
    replica_hour: float = settings.GPU_HOUR_DOLLARS
    cores_per_node: int = 64


@dataclass(frozen=True)
class Written:
    """Chunks written about by `workers` (cores, or replicas of a teacher): days, dollars, and what is full first."""

    workers: int
    by_teacher: bool
    rows_per_second: float
    days: float
    dollars: float
    bottleneck: str


def written(chunks: int, workers: int, by_teacher: bool, rates: Asking = Asking(), links: Links = Links()) -> Written:
    """Synthesis of one row a chunk. A teacher's replicas share as many asking processes as they need."""
    wanted = workers * (rates.teacher if by_teacher else rates.analyst)
    storage = links.storage / rates.row
    rate = min(wanted, storage)
    hours = chunks / rate / 3600
    askers = math.ceil(rate / rates.runner)
    price = workers * rates.replica_hour + askers * rates.core_hour if by_teacher else workers * rates.core_hour
    full = (
        ("the teacher's replicas" if by_teacher else "CPU cores") if wanted <= storage else "storage, by writing rows"
    )
    return Written(workers, by_teacher, rate, hours / 24, hours * price, full)


def workers_of(nodes: int, by_teacher: bool, rates: Asking = Asking(), links: Links = Links()) -> int:
    """Who writes on so many nodes: their cores, or a replica of the teacher on each of their GPUs."""
    return nodes * (links.gpus_per_node if by_teacher else rates.cores_per_node)


def line(found: Written) -> str:
    """A synthesis by so many as text."""
    who = "replicas of the teacher" if found.by_teacher else "cores"
    return (
        f"    {found.workers:,} {who}: {found.rows_per_second:,.0f} rows/s, {found.days:,.2f} days, "
        f"${found.dollars:,.2f}; first bottleneck: {found.bottleneck}"
    )


def table(found: Sequence[Scaled]) -> list[str]:
    """Runs on several numbers of GPUs as a Markdown table."""
    head = [
        "| GPUs | rows a GPU | compute s | move s | tokens/s | minutes | dollars | GiB a GPU | first bottleneck |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    return head + [
        f"| {one.gpus} | {one.rows} | {one.compute_s:.2f} | {one.move_s:.2f} | {one.tokens_per_second:,.0f} | "
        f"{one.seconds / 60:,.1f} | {one.dollars:,.2f} | "
        f"{one.memory / GIB:.0f}{'' if one.fits else ' (does not fit)'} | "
        f"{one.bottleneck} |"
        for one in found
    ]
