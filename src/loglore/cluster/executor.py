"""The queue's executor on a Ray cluster: a process here that has the cluster do the job, and ends with the job there.

The process here is the same as without a cluster (`jobs.process`): it holds the worker's pulse, publishes, and says how
it ended. While it lives, the job there lives.
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from loglore.cluster.submission import LEASE_S, end_earlier
from loglore.errors import InputError, JobError
from loglore.jobs import family
from loglore.jobs.executor import Assignment
from loglore.jobs.local import LocalAttempt

KILL_S = 10.0  # Ray kills what has not ended 3 s after it was told to; the worker's other jobs wait meanwhile


class RayAttempt(LocalAttempt):
    """A job's process here, and its job on the cluster."""

    def __init__(self, assignment: Assignment, cluster: dict[str, Any]) -> None:
        super().__init__(assignment, cluster)
        self._address, self._run = cluster["address"], assignment.home / "run"

    def kill(self) -> None:
        """End both at once; without an answer from the cluster, the job there ends for want of pulses."""
        super().kill()
        with contextlib.suppress(InputError, JobError):
            end_earlier(self._address, self._run, KILL_S)


@dataclass(frozen=True)
class RayExecutor:
    """Starts jobs on the cluster at `address`; lease_s: for which a job there goes on without a sign of life."""

    address: str
    lease_s: float = LEASE_S

    def start(self, assignment: Assignment) -> RayAttempt:
        """See `jobs.executor.Executor`; what runs on the cluster of an earlier attempt, the process here ends first."""
        family.end_family(family.mark(assignment.job_id))
        return RayAttempt(assignment, {"address": self.address, "lease_s": self.lease_s})
