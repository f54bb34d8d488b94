"""The process of one job: `python -m loglore.jobs.process HOME`, started by a worker (`local`).

It reads `HOME/job.json`, works in `HOME/run` and says how it ended by its exit status (`executor.DONE` …), and why in
`HOME/outcome.json`. Every byte on standard input says that the job is still the worker's. Without one for long, or when
the worker is gone, the process ends: another worker may have the job by then. SIGTERM asks it to save and end.
"""

import contextlib
import os
import select
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from loglore.errors import InputError, JobError, is_full_disk
from loglore.jobs import family
from loglore.jobs.executor import BAD_INPUT, BUSY, DISK_FULL, DONE, FAILED, STOPPED
from loglore.jobs.local import ORDER
from loglore.runs import files
from loglore.runs.tuning import tune

LOOK_EVERY_S = 1.0
ORPHANED = 70  # nobody reads this status


ASKED = threading.Event()  # somebody wants the job to save and end


def main(home: Path) -> int:
    """Run the job; returns the exit status."""
    listen()
    order = files.read_json(home / ORDER)
    threading.Thread(target=_watch, args=(order["lease_s"],), name="pulse", daemon=True).start()
    tune()
    try:
        _run(home, order)
    except KeyboardInterrupt:
        return _outcome(home, STOPPED, "stopped")
    except Exception as fault:  # the job's code and everything below it: whatever happened, the queue must learn of it
        if ASKED.is_set():
            return _outcome(home, STOPPED, str(fault))
        return _outcome(home, *judged(fault, home))
    return DONE


def listen() -> None:
    """Take SIGTERM as a wish to save and end; a terminal's Ctrl-C is for whoever started this process to pass on."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupt(*_: Any) -> None:
    """SIGTERM as KeyboardInterrupt, once: what cleans up is not interrupted a second time."""
    if not ASKED.is_set():
        ASKED.set()
        raise KeyboardInterrupt


def _run(home: Path, order: dict[str, Any]) -> None:
    from loglore.jobs import runner
    from loglore.jobs.recipes import Job

    job = Job(
        order["job_id"], order["kind"], order["values"], order["publish"], {}, tuple(order["parents"]), order["by"]
    )
    perform = runner.here
    if order["cluster"] is not None:
        from loglore.cluster.submission import OnRay

        perform = OnRay(**order["cluster"], gpus=len(order["gpus"]))
    with runner.locked(home / ".lock"):
        runner.run_queued(job, home / "run", _say, perform)


def judged(fault: Exception, place: Path) -> tuple[int, str]:
    """An error as status and message; one that is a fault of the program is printed with its traceback.

    Args:
        fault: whatever a job raised.
        place: names the disk where the error names none.
    """
    from loglore.jobs.runner import BusyError
    from loglore.train.stopping import StoppedError

    if is_full_disk(fault):
        name = fault.filename if isinstance(fault, OSError) and fault.filename else place
        return DISK_FULL, f"disk full while writing {name}"
    for kind, status in ((StoppedError, STOPPED), (BusyError, BUSY), (InputError, BAD_INPUT), (JobError, FAILED)):
        if isinstance(fault, kind):
            return status, str(fault)
    import traceback

    traceback.print_exception(fault)
    return FAILED, f"{type(fault).__name__}: {' '.join(str(fault).split())}"


def _outcome(home: Path, status: int, message: str) -> int:
    """Say why; on a full disk the status alone must do."""
    _say(message)
    with contextlib.suppress(OSError):
        files.write_json(home / "outcome.json", {"status": status, "message": message})
    return status


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _watch(lease_s: float) -> None:
    """End the process when its pulses do.

    What counts is time that was watched: of a pause in which the whole machine stood still, one look.
    """
    silent, warned = 0.0, False
    while True:
        every = min(LOOK_EVERY_S, lease_s / 10)
        ready, _, _ = select.select([0], [], [], every)
        if not ready:
            silent += every
        elif os.read(0, 4096):
            silent = 0.0
        else:
            _end("the worker is gone")
        if silent >= lease_s:
            _end("no sign of life from the worker")
        elif silent >= lease_s * 2 / 3 and not warned:
            warned = True
            os.kill(os.getpid(), signal.SIGTERM)


def _end(reason: str) -> None:
    _say(f"{reason}: the job ends here and goes on with another worker")
    family.end_children()
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
