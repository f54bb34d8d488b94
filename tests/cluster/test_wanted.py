"""What a job takes of a cluster, from its spec and what there is; no Ray is needed for that."""

from types import SimpleNamespace
from typing import Any

import pytest

from loglore.cluster.connection import Node
from loglore.cluster.wanted import Wanted, wanted
from loglore.errors import InputError


def node(name: str, cpus: int, gpus: int = 0) -> Node:
    return Node(name, name, cpus, gpus, 1 << 30, "H100" if gpus else None, name == "head")


GPUS = [node("head", 4), node("a", 64, 8), node("b", 64, 8), node("c", 32, 4)]
CPUS = [node("head", 8), node("a", 8), node("b", 4)]


def spec(nodes: int | None = None, processes: int | None = None) -> Any:
    return SimpleNamespace(nodes=nodes, processes=processes)


@pytest.mark.parametrize(("kind", "asked", "held", "nodes", "found"), [
    ("train", spec(2, 8), None, GPUS, Wanted(16, 1, 1)),  # the tutorial's nodes x GPUs
    ("train", spec(), None, GPUS, Wanted(20, 1, 1)),      # all there are
    ("train", spec(3), None, GPUS, Wanted(12, 1, 1)),     # as many as the third largest has, on each
    ("train", spec(2), 8, GPUS, Wanted(8, 1, 1)),         # what the queue gave it, divided
    ("train", spec(), 6, GPUS, Wanted(6, 1, 1)),
    ("train", spec(), 0, GPUS, Wanted(1, 0, 64)),         # no GPU wanted
    ("train", spec(), None, CPUS, Wanted(1, 0, 8)),
    ("train", spec(2), None, CPUS, Wanted(2, 0, 8)),
    ("train", spec(3), None, CPUS, Wanted(3, 0, 4)),      # the smallest of the three decides
    ("train", spec(2, 4), None, CPUS, Wanted(8, 0, 2)),
    ("test", spec(), None, GPUS, Wanted(0, 1, 1)),
    ("test", spec(), 0, CPUS, Wanted(0, 0, 1)),
    ("prepare", spec(), 4, GPUS, Wanted(0, 0, 1)),
])  # fmt: skip
def test_what_is_open_is_what_there_is(kind: str, asked: Any, held: int, nodes: list[Node], found: Wanted) -> None:
    assert wanted(kind, asked, held, nodes) == found


@pytest.mark.parametrize(("asked", "held", "nodes", "message"), [
    (spec(3, 8), None, GPUS, "3 x 8 GPUs are wanted, and the cluster has head: 0 GPUs, 4 CPUs, a: 8 GPUs"),
    (spec(1, 16), None, GPUS, "1 x 16 GPUs are wanted"),
    (spec(None, 32), None, GPUS, "32 GPUs are wanted"),
    (spec(), 24, GPUS, "24 GPUs are wanted, and the cluster has"),
    (spec(2, 8), 8, GPUS, "`nodes` x `processes` is 2 x 8, and the job holds 8 GPUs"),
    (spec(4), None, CPUS, "4 x 1 CPUs are wanted"),
])  # fmt: skip
def test_what_is_not_there_is_refused_in_a_line(asked: Any, held: int, nodes: list[Node], message: str) -> None:
    with pytest.raises(InputError) as fault:
        wanted("train", asked, held, nodes)
    assert str(fault.value).startswith(message) and "\n" not in str(fault.value)
