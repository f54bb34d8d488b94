"""The sign of life of whoever waits for a job, watched by every process that the job has on the cluster.

A process that outlives its cluster's head, or is cut off from it, learns from the order that the same run has begun
again elsewhere, and ends instead of writing into it.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from loglore.cluster import order
from loglore.cluster.order import Order
from loglore.cluster.places import Shared
from loglore.errors import InputError, JobError
from loglore.jobs import process


def watch(place: Shared, asked: Order, save_and_end: Callable[[], None]) -> None:
    """Watch for ever; run it in a thread.

    Ask the job to end when somebody wishes it, or nobody waits any more, and end this process when that does not help
    or the run is another attempt's. What counts is time that was watched.

    Args:
        place: of the run.
        asked: the attempt's order.
        save_and_end: called once.
    """
    folder, silent, last, told = place.folder / order.FOLDER, 0.0, "", False
    while True:
        time.sleep(place.every_s)
        with contextlib.suppress(OSError):
            with contextlib.suppress(InputError, JobError):  # a bucket that does not answer is silent
                place.fetch(*(f"{order.FOLDER}/{name}" for name in (order.ORDER, order.PULSE, order.STOP)))
            if (folder / order.ORDER).exists() and Order.read(folder).attempt != asked.attempt:
                _end("another attempt at this run has begun")
            found = _read(folder / order.PULSE)
            silent = silent + place.every_s if found == last else 0.0
            last = found
        if silent >= asked.lease_s:
            _end("no sign of life from the submitting side")
        if not told and ((folder / order.STOP).exists() or silent >= asked.lease_s * 2 / 3):
            told = True
            save_and_end()


def _read(path: Path) -> str:
    """Empty before the first."""
    return path.read_text() if path.exists() else ""


def _end(reason: str) -> None:
    print(f"{reason}: the job ends here", file=sys.stderr, flush=True)
    os._exit(process.ORPHANED)
