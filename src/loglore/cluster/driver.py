"""The process of one job on the cluster: `python -m loglore.cluster.driver RUN/cluster VERSIONS`, started by Ray Jobs.

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

from loglore.cluster import order
from loglore.cluster.order import Order
from loglore.errors import InputError
from loglore.jobs import process
from loglore.jobs.executor import BAD_INPUT, DONE, STOPPED
from loglore.runs import files
from loglore.runs.folder import RunFolder
from loglore.runs.tuning import tune

LOOK_EVERY_S = 0.5
LOCKED_S = 60.0  # an attempt that lost its waiting side ends within its lease


def main(folder: Path, expected: str) -> int:
    """Do the job; returns the exit status."""
    try:
        theirs = dict(part.split("=", 1) for part in expected.split(","))
        order.compare(theirs, order.versions(), "the submitting side")
        asked = Order.read(folder)
    except InputError as fault:
        print(f"loglore: {fault}", file=sys.stderr, flush=True)
        return BAD_INPUT
    _print_into(folder / order.OUTPUT)
    order.take_over(folder, asked)
    threading.Thread(target=_watch, args=(folder, asked.lease_s), name="pulse", daemon=True).start()
    tune()
    process.listen()
    try:
        with _locked(folder / order.LOCK):
            result = _perform(folder, asked)
    except KeyboardInterrupt:
        return _end(folder, STOPPED, "stopped")
    except Exception as fault:  # the job's code and everything below it: who waits must learn of it
        stopped = process.ASKED.is_set() and not isinstance(fault, InputError)
        return _end(folder, *((STOPPED, str(fault)) if stopped else process.judged(fault, folder.parent)))
    return _end(folder, DONE, "", result)


def _perform(folder: Path, asked: Order) -> dict[str, Any]:
    from loglore.cluster import everywhere
    from loglore.jobs import runner

    run = folder.parent
    spec = everywhere.spec_class(asked.kind).parse(asked.spec, asked.kind)
    inputs = [path for paths in spec.inputs().values() for path in paths]
    for path in order.missing(inputs):
        raise InputError(f"{path} is not on node {os.uname().nodename}: put it where all nodes see it")
    context = RunFolder(run, files.read_json(run / "spec.json"))
    if asked.workers:
        from loglore.cluster.training import train

        def by_workers(_: str, one: Any, where: RunFolder) -> dict[str, Any]:
            return train(one, where, asked)

        return runner.result_of(asked.kind, spec, context, by_workers)
    work = everywhere.work_of(asked.kind, spec)
    perform = runner.here if work is None else lambda _, one, where: _by_all_nodes(work, one, where)
    return runner.result_of(asked.kind, spec, context, perform)


def _by_all_nodes(work: Callable[..., dict[str, Any]], spec: Any, context: RunFolder) -> dict[str, Any]:
    import ray

    from loglore.cluster import nodes

    ray.init(logging_level="warning")
    process.listen()  # Ray has put its own handlers in place of the driver's
    try:
        inputs = [path for paths in spec.inputs().values() for path in paths]
        context.event("nodes asked", nodes=nodes.check(context.path / order.FOLDER, inputs, False))
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


def _watch(folder: Path, lease_s: float) -> None:
    """Ask the job to end when somebody wishes it, or nobody waits any more; what counts is time that was watched."""
    silent, last, told = 0.0, "", False
    while True:
        time.sleep(LOOK_EVERY_S)
        with contextlib.suppress(OSError):
            pulse = (folder / order.PULSE).read_text()
            silent = silent + LOOK_EVERY_S if pulse == last else 0.0
            last = pulse
        if silent >= lease_s:
            print("no sign of life from the submitting side: the job ends here", file=sys.stderr, flush=True)
            os._exit(process.ORPHANED)
        if not told and ((folder / order.STOP).exists() or silent >= lease_s * 2 / 3):
            told = True
            os.kill(os.getpid(), signal.SIGTERM)


def _end(folder: Path, status: int, message: str, result: dict[str, Any] | None = None) -> int:
    if message:
        print(message, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        files.write_json(folder / order.OUTCOME, {"status": status, "message": message, "result": result})
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
