"""Jobs as processes of this machine: `python -m loglore.jobs.process HOME`, its output in `HOME/log.txt`.

A training job on several GPUs starts its `torchrun` itself. The pulse is a byte on the process's standard input: it
ends when the pulses do, and when the pipe closes because this process is gone.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from loglore.jobs import family
from loglore.jobs.executor import Assignment
from loglore.runs import files

LOG = "log.txt"
ORDER = "job.json"


class LocalAttempt:
    """A job's process; with `cluster` (`cluster.submission.OnRay`'s arguments) it has a Ray cluster do the job."""

    def __init__(self, assignment: Assignment, cluster: Mapping[str, Any] | None = None) -> None:
        self._closed = False
        self._mark = family.mark(assignment.job_id, assignment.token)
        home = assignment.home
        home.mkdir(parents=True, exist_ok=True)
        (home / "outcome.json").unlink(missing_ok=True)
        asked = {**asdict(assignment), "home": str(home), "token": None, "cluster": cluster}
        files.write_json(home / ORDER, asked)
        environment = {
            **os.environ,
            family.MARK: self._mark,
            # A cluster's GPUs are none of this machine's.
            "CUDA_VISIBLE_DEVICES": "" if cluster is not None else ",".join(assignment.gpus),
        }
        with (home / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loglore.jobs.process", str(home)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal goes to the worker alone, which then stops its jobs in order.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)

    def pulse(self) -> None:
        """See `executor.Attempt`; nothing when it has ended, which a worker without its database may not know yet."""
        assert self._process.stdin is not None
        if self._closed:
            return
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._process.stdin.fileno(), b".")

    def poll(self) -> int | None:
        """See `executor.Attempt`."""
        code = self._process.poll()
        if code is not None and not self._closed:
            self._close()
        return code

    def stop(self) -> None:
        """See `executor.Attempt`."""
        self._process.send_signal(signal.SIGTERM)  # nothing when it has ended

    def kill(self) -> None:
        """See `executor.Attempt`."""
        self._process.kill()
        self._process.wait()
        if not self._closed:
            self._close()

    def _close(self) -> None:
        """Nothing that the process has started outlives it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        family.end_family(self._mark)
        self._closed = True


class LocalExecutor:
    """Starts jobs as processes."""

    def start(self, assignment: Assignment) -> LocalAttempt:
        """See `executor.Executor`."""
        family.end_family(family.mark(assignment.job_id))
        return LocalAttempt(assignment)
