"""The process of a worker: `loglore worker`, or `python -m loglore.jobs.work` for whoever starts it as a part.

Ctrl-C or SIGTERM: running jobs save a checkpoint and are queued again; they go on when a worker starts. A second Ctrl-C
does not wait for the checkpoint.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from loglore.errors import InputError, JobError
from loglore.jobs.local import LocalExecutor
from loglore.jobs.worker import Patience, Worker
from loglore.store.database import open_database

PATIENT = Patience()


def work(
    gpus: int | None = None,
    slots: int | None = None,
    until_idle: bool = False,
    until_eof: bool = False,
    patience: Patience = PATIENT,
) -> None:
    """Claim and run jobs until Ctrl-C or SIGTERM.

    Args:
        gpus: how many GPUs to give out; None for those that are here.
        slots: most jobs at once; None for one a GPU, at least one.
        until_idle: end when no job can be claimed.
        until_eof: end when standard input does.
        patience: the worker's times.

    Raises:
        InputError: the database cannot be used, or more GPUs are wanted than there are.
    """
    names = gpus_here(gpus)
    stop = threading.Event()
    with contextlib.closing(open_database()) as database:
        worker = Worker(database, LocalExecutor(), names, slots or max(1, len(names)), _say, patience)
        with _stopping(stop, worker.hurry):
            if until_eof:
                threading.Thread(target=_stop_at_eof, args=(stop,), daemon=True).start()
            of_gpus = f"GPUs {', '.join(names)}" if names else "no GPU"
            print(f"worker {worker.name}: {worker.slots} at once, {of_gpus}", flush=True)
            worker.run(stop, until_idle)


def gpus_here(wanted: int | None) -> Sequence[str]:
    """Names of the GPUs to give out, as in CUDA_VISIBLE_DEVICES: those that it has, else all that nvidia-smi lists.

    Raises:
        InputError: `wanted` is more than there are and the driver is here to say so.
    """
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = [name for name in listed.split(",") if name]
    elif shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        names = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    else:
        # Without a driver the number is taken on trust: slots for tests, or for another kind of accelerator.
        return [str(number) for number in range(wanted or 0)]
    if wanted is not None and wanted > len(names):
        raise InputError(f"{wanted} GPUs are wanted, and there are {len(names)}")
    return names if wanted is None else names[:wanted]


@contextlib.contextmanager
def _stopping(stop: threading.Event, hurry: threading.Event) -> Iterator[None]:
    """The first signal stops, the second hurries."""

    def told(*_: Any) -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    before = {number: signal.signal(number, told) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop_at_eof(stop: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        work(until_eof="--until-eof" in sys.argv[1:])
    except (InputError, JobError) as fault:
        print(f"loglore: {fault}", file=sys.stderr)
        sys.exit(2 if isinstance(fault, InputError) else 1)
