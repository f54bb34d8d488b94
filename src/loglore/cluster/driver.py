"""The process of one job on the cluster: `python -m loglore.cluster.driver RUN VERSIONS`, started by Ray Jobs.

It refuses what cannot work (versions, storage, inputs) before anything starts, then does the job in this process, or
has Ray Train's workers do it. `order.PULSE` says that somebody waits; the file `order.STOP`, or SIGTERM, asks it to
save and end. Until storage is known to be shared it speaks through Ray's log and its exit status, then by its files.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from loglore.cluster import order, places, pulse
from loglore.cluster.order import Order
from loglore.cluster.places import Shared
from loglore.errors import InputError
from loglore.jobs import process
from loglore.jobs.executor import BAD_INPUT, DONE, STOPPED
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.tuning import tune

LOOK_EVERY_S = 0.5
STARTING_S = 1.0
LOCKED_S = 60.0  # an attempt that lost its waiting side ends within its lease


def main(run: str, expected: str) -> int:
    """Do the job of a run (a path, or a URL of `places`); returns the exit status."""
    try:
        theirs = dict(part.split("=", 1) for part in expected.split(","))
        order.compare(theirs, order.versions(), "the submitting side")
        place = places.at(run)
        place.fetch(*(f"{order.FOLDER}/{name}" for name in (order.ORDER, order.KEYS, order.OUTPUT)))
        folder = place.folder / order.FOLDER
        asked = Order.read(folder)
    except InputError as fault:
        print(f"loglore: {fault}", file=sys.stderr, flush=True)
        return BAD_INPUT
    _print_into(folder / order.OUTPUT)
    order.take_over(folder, asked)
    place.remove(f"{order.FOLDER}/{order.KEYS}")
    threading.Thread(target=pulse.watch, args=(place, asked, _save_and_end), name="pulse", daemon=True).start()
    # Ray's daemons are still busy with the start of this process.
    tune(patience_s=STARTING_S)
    process.listen()
    with places.handing_on(lambda: place.send(f"{order.FOLDER}/{order.OUTPUT}", f"{order.FOLDER}/{order.OUTCOME}")):
        status = _ended(place, asked)
    if status == DONE:
        place.leave()
    return status


def _ended(place: Shared, asked: Order) -> int:
    """Do the job, and leave how it ended in its outcome."""
    folder = place.folder / order.FOLDER
    try:
        with _locked(folder / order.LOCK):
            result = _perform(place, asked)
    except KeyboardInterrupt:
        return _end(folder, STOPPED, "stopped")
    except Exception as fault:  # the job's code and everything below it: who waits must learn of it
        stopped = process.ASKED.is_set() and not isinstance(fault, InputError)
        return _end(folder, *((STOPPED, str(fault)) if stopped else process.judged(fault, place.folder)))
    return _end(folder, DONE, "", result)


def _perform(place: Shared, asked: Order) -> dict[str, Any]:
    """The job itself: by this process, by Ray Train's workers, or by all nodes."""
    from loglore.cluster import everywhere
    from loglore.jobs import runner

    # Workers of a training take over themselves what only they need.
    place.fetch_run("" if asked.workers else ".")
    spec: Any = place.placed(everywhere.spec_class(asked.kind).parse(asked.spec, asked.kind), asked)
    context = RunFolder(place.folder, files.read_json(place.folder / "spec.json"))
    if asked.workers:
        from loglore.cluster.training import train

        result = runner.result_of(asked.kind, spec, context, lambda _, __, where: train(spec, where, asked, place))
        place.send_run()
        return result
    work = everywhere.work_of(asked.kind, spec) if place.everywhere else None
    perform = runner.here if work is None else lambda _, one, where: _by_all_nodes(work, one, where)
    with places.handing_on(place.send_run):
        return runner.result_of(asked.kind, spec, context, perform)


def _by_all_nodes(work: Callable[..., dict[str, Any]], spec: Any, context: RunFolder) -> dict[str, Any]:
    import ray

    from loglore.cluster import nodes

    ray.init(logging_level="warning")
    process.listen()  # Ray has put its own handlers in place of the driver's
    try:
        inputs = [path for paths in spec.inputs().values() for path in paths]
        context.event("nodes asked", nodes=nodes.check(str(context.path / order.FOLDER), inputs, False))
        return work(spec, context)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """The run folder for this attempt alone; waits for an earlier one that is ending."""
    from loglore.jobs import runner

    deadline = time.monotonic() + LOCKED_S
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(runner.locked(file))
                break
            except runner.BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_EVERY_S)
        yield


def _print_into(path: Path) -> None:
    """Standard output and error into a file that the submitting side reads on."""
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


def _save_and_end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _end(folder: Path, status: int, message: str, result: dict[str, Any] | None = None) -> int:
    if message:
        print(message, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        files.write_json(folder / order.OUTCOME, {"status": status, "message": message, "result": result})
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
