"""The process of a worker: `loglore worker`, or `python -m loglore.jobs.work` for whoever starts it as a part.

Ctrl-C or SIGTERM: running jobs save a checkpoint and are queued again; they go on when a worker starts. A second Ctrl-C
does not wait for the checkpoint.
"""

import argparse
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
from loglore.jobs.executor import Executor
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
    executor: str = "local",
    address: str | None = None,
) -> None:
    """Claim and run jobs until Ctrl-C or SIGTERM.

    Args:
        gpus: how many GPUs to give out; None for those that are here.
        slots: most jobs at once; None for one a GPU, at least one.
        until_idle: end when no job can be claimed.
        until_eof: end when standard input does.
        patience: the worker's times.
        executor: `local`, or `ray` for a Ray cluster, whose GPUs are given out then.
        address: of the cluster; None for `RAY_API_SERVER_ADDRESS`, else this machine's.

    Raises:
        InputError: the database cannot be used, or more GPUs are wanted than there are.
        JobError: no cluster answers.
    """
    runs, names, where = _executor(executor, address, gpus, patience)
    stop = threading.Event()
    with contextlib.closing(open_database()) as database:
        worker = Worker(database, runs, names, slots or max(1, len(names)), _say, patience)
        with _stopping(stop, worker.hurry):
            if until_eof:
                threading.Thread(target=_stop_at_eof, args=(stop,), daemon=True).start()
            of_gpus = f"GPUs {', '.join(names)}" if names else "no GPU"
            print(f"worker {worker.name}: {worker.slots} at once, {of_gpus}{where}", flush=True)
            worker.run(stop, until_idle)


def _executor(
    name: str, address: str | None, gpus: int | None, patience: Patience
) -> tuple[Executor, Sequence[str], str]:
    """What runs jobs, the GPUs that it gives out, and where that is, for the greeting."""
    if name == "local":
        return LocalExecutor(), gpus_here(gpus), ""
    from loglore.cluster import connection
    from loglore.cluster.executor import RayExecutor

    url = connection.address_of(address)
    connection.connect(url)
    nodes = connection.nodes_of(url)
    there = sum(node.gpus for node in nodes)
    if gpus is not None and gpus > there:
        raise InputError(f"{gpus} GPUs are wanted, and the cluster at {url} has {there}")
    names = [str(number) for number in range(there if gpus is None else gpus)]
    return RayExecutor(url, patience.lease_s), names, f", {len(nodes)} nodes of Ray at {url}"


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
        parser = argparse.ArgumentParser(prog="python -m loglore.jobs.work")
        parser.add_argument("--until-eof", action="store_true")
        parser.add_argument("--executor", choices=("local", "ray"), default="local")
        parser.add_argument("--address")
        work(**vars(parser.parse_args()))
    except (InputError, JobError) as fault:
        print(f"loglore: {fault}", file=sys.stderr)
        sys.exit(2 if isinstance(fault, InputError) else 1)
