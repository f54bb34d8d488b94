"""What runs a job: a small protocol, so that the worker need not know whether it is a process here or elsewhere.

A worker starts an `Attempt`, sends it a `pulse` with every heartbeat that the database took, and polls it. An attempt
that gets no pulse for its lease ends by itself: its claim may be another worker's by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

# How an attempt ended. Other numbers are those of processes: a signal is negative.
DONE, FAILED, BAD_INPUT, STOPPED, BUSY, DISK_FULL = range(6)


@dataclass(frozen=True)
class Assignment:
    """One attempt at a job.

    Attributes:
        job_id: whose.
        token: of the claim.
        kind: of the job.
        values: of its spec, references filled in.
        publish: name in the hub, None for none.
        parents: versions of the hub that the job reads.
        by: id of the key that queued it.
        home: folder of the job; its run folder is `run` in it.
        gpus: which GPUs it may see.
        lease_s: without a pulse for two thirds of it the job saves and ends, for all of it at once.
    """

    job_id: str
    token: str
    kind: str
    values: dict[str, Any]
    publish: str | None
    parents: Sequence[str]
    by: str | None
    home: Path
    gpus: Sequence[str]
    lease_s: float


class Attempt(Protocol):
    """A job that is being run."""

    def pulse(self) -> None:
        """Its claim still stands."""

    def poll(self) -> int | None:
        """How it ended: `DONE`, `FAILED`, …; None while it runs."""

    def stop(self) -> None:
        """Ask it to save what it has and end; may be repeated."""

    def kill(self) -> None:
        """End it, and all that it started, at once; nothing of it runs any more when this returns."""


class Executor(Protocol):
    """Starts attempts."""

    def start(self, assignment: Assignment) -> Attempt:
        """Start one. What an earlier one of the same job left running on this machine is ended first."""
