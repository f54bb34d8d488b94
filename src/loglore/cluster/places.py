"""Where a run's folder is for the processes of a job: on a path that all machines see, or a copy on each (`mirrored`).

One side works on a run at a time, and the next takes over what that one has handed on: who submits, the driver, the
leading worker, the driver again, who submitted. On a path that all see there is nothing to do for that.
"""

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from loglore.cluster.order import FOLDER, Order
from loglore.data.sources import S3
from loglore.errors import InputError, JobError
from loglore.runs import files
from loglore.runs.spec import Spec
from loglore.train import checkpoints

AnySpec = TypeVar("AnySpec", bound=Spec)
SEND_EVERY_S = 2.0
RUN_ID = "run-id"
PARTS = "parts.json"  # in a checkpoint: what of it machines that share no disk have handed on themselves, by name
Part = tuple[str, str]  # its place below the run, its SHA-256


class Shared:
    """A run folder that all machines see: whatever is written is there."""

    everywhere = True  # whether every machine sees what one has written
    every_s = 0.5  # between two looks

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = str(folder)

    def send(self, *names: str) -> None:
        """Hand files on, in this order; those that are there."""

    def fetch(self, *names: str) -> None:
        """Take files over that others have changed."""

    def remove(self, *names: str) -> None:
        """Take files, or all below a folder, away from the others."""

    def send_run(self) -> None:
        """Hand on what the job has made so far, whole folders with a mark that comes last."""

    def fetch_run(self, trees: str = "") -> None:
        """Take over what was handed on: all files, and the whole folders whose names match (empty: none)."""

    def fetch_trees(self, trees: str) -> None:
        """Only whole folders; checkpoints that the others do not have are removed."""

    def send_parts(self, folder: Path) -> dict[str, Part]:
        """Hand on this machine's files of a checkpoint that is being written; returns where they are."""
        return {}

    def steps(self) -> list[int]:
        """Steps of the checkpoints that a new start would find."""
        return [checkpoints.step_of(one) for one in checkpoints.complete(self.folder / "checkpoints")]

    def inputs(self, spec: Spec) -> dict[str, str]:
        """Hand on what a job reads; returns where each of its paths is found."""
        return {}

    def placed(self, spec: AnySpec, asked: Order) -> AnySpec:
        """The spec with paths of this machine.

        Raises:
            InputError: one of them is not here.
        """
        for path in (path for paths in spec.inputs().values() for path in paths):
            if not path.exists():
                raise InputError(f"{path} is not on node {os.uname().nodename}: put it where all nodes see it")
        return spec

    def for_ray(self) -> dict[str, Any]:
        """Where Ray Train keeps its own notes of a start: arguments of its `RunConfig`."""
        return {"storage_path": str(self.folder / FOLDER / "ray")}

    def leave(self) -> None:
        """Remove this machine's copy of what is done; a worker's order stays."""

    def end(self) -> None:
        """Remove what was handed on: the submitting side has it all."""


def of_run(folder: Path, storage: str | None) -> Shared:
    """The submitting side's: in `storage` (`s3://bucket/prefix`), or None for a path that all machines see."""
    if storage is None:
        return Shared(folder.absolute())
    from loglore.cluster.mirrored import Mirrored

    kept = folder / FOLDER / RUN_ID
    if not kept.exists():
        files.write_text(kept, secrets.token_hex(8))
    return Mirrored(f"{storage.rstrip('/')}/runs/{kept.read_text()}", folder.absolute())


def at(text: str) -> Shared:
    """That of a process on the cluster, from a place's `text`."""
    if not text.startswith(S3):
        return Shared(Path(text))
    from loglore.cluster.mirrored import Mirrored, scratch

    return Mirrored(text, scratch() / "runs" / text.rsplit("/", 1)[1])


@contextlib.contextmanager
def handing_on(send: Callable[[], None]) -> Iterator[None]:
    """Call `send` from time to time while the block runs, in a thread, and once when it has ended."""
    ended = threading.Event()

    def again() -> None:
        while not ended.wait(SEND_EVERY_S):
            with contextlib.suppress(InputError, JobError, OSError):  # the next may come through, and the last one must
                send()

    sending = threading.Thread(target=again, name="handing on", daemon=True)
    sending.start()
    try:
        yield
    finally:
        ended.set()
        sending.join()
        send()
