"""What a job wants of a cluster, and whether the cluster has it: known before anything is submitted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from loglore.cluster.connection import Node
from loglore.errors import InputError

ON_GPUS = ("train", "test")  # kinds that compute on GPUs where there are some


@dataclass(frozen=True)
class Wanted:
    """workers: processes of a training run, 0 for other kinds; gpus, cpus: of each, or of another kind's process."""

    workers: int
    gpus: int
    cpus: int


def wanted(kind: str, spec: Any, held: int | None, nodes: Sequence[Node]) -> Wanted:
    """What a job takes.

    `nodes` x `processes` of a train spec are the tutorial's nodes x GPUs. What is left open is what there is: all GPUs,
    or on a cluster without any one worker.

    Args:
        kind: of the job.
        spec: of the job.
        held: GPUs that the queue gave it; None where there is no queue.
        nodes: of the cluster.

    Raises:
        InputError: the cluster has not so many GPUs or CPUs; names what it has.
    """
    gpus = sum(node.gpus for node in nodes)
    if kind != "train":
        return Wanted(0, min(1, held if held is not None else gpus) if kind in ON_GPUS else 0, 1)
    if held is not None and held > gpus:
        raise InputError(f"{held} GPUs are wanted, and the cluster has {_listed(nodes)}")
    on_gpus = gpus > 0 and held != 0
    machines = spec.nodes or 1
    each = spec.processes or _share(spec.nodes, held, nodes, on_gpus)
    workers = machines * each
    if held and workers > held:
        raise InputError(f"`nodes` x `processes` is {machines} x {each}, and the job holds {held} GPUs")
    _check(machines if spec.nodes else None, each, workers, nodes, on_gpus)
    return Wanted(workers, int(on_gpus), 1 if on_gpus else _cpus(each, workers, nodes))


def _share(machines: int | None, held: int | None, nodes: Sequence[Node], on_gpus: bool) -> int:
    """Processes of a machine, where the spec leaves them open."""
    if not on_gpus:
        return 1
    if held:
        return max(held // (machines or 1), 1)
    counts = sorted((node.gpus for node in nodes), reverse=True)
    if machines is None:
        return sum(counts)
    return max(counts[min(machines, len(counts)) - 1], 1)


def _check(machines: int | None, each: int, workers: int, nodes: Sequence[Node], on_gpus: bool) -> None:
    what = "GPUs" if on_gpus else "CPUs"
    have = [node.gpus if on_gpus else int(node.cpus) for node in nodes]
    able = sum(count >= each for count in have)
    if (machines is not None and able < machines) or sum(have) < workers:
        asked = f"{machines} x {each}" if machines is not None else str(workers)
        raise InputError(f"{asked} {what} are wanted, and the cluster has {_listed(nodes)}")


def _cpus(each: int, workers: int, nodes: Sequence[Node]) -> int:
    """CPUs of a worker without a GPU: an equal part of the smallest machine that the workers need."""
    counts = sorted((int(node.cpus) for node in nodes if node.cpus >= each), reverse=True)
    machines = max(1, min(len(counts), -(-workers // each)))
    return max(counts[machines - 1] // each, 1) if counts else 1


def _listed(nodes: Sequence[Node]) -> str:
    return ", ".join(f"{node.name}: {node.gpus} GPUs, {node.cpus:g} CPUs" for node in nodes) or "no nodes"
