"""This process among those of a training run: its rank, and the few things that all of them must agree on.

One process is the common case and costs nothing: no process group exists, every question is answered at once.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """rank: 0 to size - 1; size: processes of the run."""

    rank: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        import torch
        import torch.distributed as dist

        value = torch.tensor(int(flag), device=_device())
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value.item())

    def sum(self, value: float) -> float:
        """The sum over all processes, in fp64."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        total = torch.tensor(value, dtype=torch.float64, device=_device())
        dist.all_reduce(total)
        return float(total.item())

    def of_leader(self, value: T) -> T:
        """What the leading process has."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Wait until every process is here."""
        self.any(False)


ALONE = World(0, 1)


def join(gpu: bool) -> World:
    """The world of this process: that of torchrun's environment, its process group started; else one process."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    import torch
    import torch.distributed as dist

    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if gpu else "gloo")
    return World(dist.get_rank(), size)


def here(world: World) -> int:
    """How many of the run's processes share this machine and its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world.size)) if world.size > 1 else 1


class Follower(RunFolder):
    """The run folder for a process that does not lead: it reads, and writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec = {}

    def event(self, event: str, **fields: Any) -> None:
        """Leave it to the leading process."""

    def metric(self, step: int, **values: float) -> None:
        """Leave it to the leading process."""

    def rewind_metrics(self, step: int) -> None:
        """Leave it to the leading process."""

    def finish(self, report: Mapping[str, Any]) -> None:
        """Leave it to the leading process."""

    @contextlib.contextmanager
    def progress(self, label: str, total: float, unit: str, done: float = 0) -> Iterator[Tick]:
        """Show nothing."""
        yield lambda amount=1, note="": None


def _device() -> Any:
    import torch
    import torch.distributed as dist

    return torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
