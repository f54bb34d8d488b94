"""Workers as processes of their own, and waiting for what they do."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from loglore.jobs import family
from loglore.store import jobs
from loglore.store.database import Database
from loglore.store.jobs import Job

CODE = """
import sys
from loglore.jobs.work import work
from loglore.jobs.worker import Patience
from loglore.store import database
database.BUSY_TIMEOUT_S = 1.0
patience = Patience(look_s=0.05, beat_s=0.2, retry_s=float(sys.argv[5]), lost_s=float(sys.argv[1]))
work(gpus=int(sys.argv[2]), slots=int(sys.argv[3]), until_idle=bool(int(sys.argv[4])), patience=patience)
"""
TIMEOUT_S = 120.0


class WorkerProcess:
    """A worker; `said` is what it printed to standard error so far."""

    def __init__(self, log: Path, lost_s: float, gpus: int, slots: int, until_idle: bool, retry_s: float) -> None:
        self.log = log
        arguments = [str(lost_s), str(gpus), str(slots), str(int(until_idle)), str(retry_s)]
        with log.open("ab") as stream:
            self.process = subprocess.Popen([sys.executable, "-c", CODE, *arguments], stdout=stream, stderr=stream)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.send(number)
        return self.process.wait(TIMEOUT_S)


@contextlib.contextmanager
def worker(
    folder: Path,
    lost_s: float = 60,
    gpus: int = 0,
    slots: int = 1,
    until_idle: bool = False,
    retry_s: float = 0.1,
) -> Iterator[WorkerProcess]:
    """A running worker; it and all that it started are killed at the end."""
    started = WorkerProcess(folder / f"worker-{time.monotonic_ns()}.log", lost_s, gpus, slots, until_idle, retry_s)
    try:
        yield started
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(started.process.pid).children(recursive=True):
                child.kill()
        started.process.kill()
        started.process.wait()


def work_off(folder: Path, **options: int) -> None:
    """Let a worker run until nothing can be started."""
    with worker(folder, until_idle=True, **options) as started:
        assert started.process.wait(TIMEOUT_S) == 0, started.said


def until(found: Callable[[], object], what: str = "") -> None:
    """Wait for something that a process will do."""
    deadline = time.monotonic() + TIMEOUT_S
    while not found():
        assert time.monotonic() < deadline, what or "it did not happen"
        time.sleep(0.1)


def until_state(database: Database, job: Job, *states: str) -> Job:
    until(lambda: jobs.find(database, job.id).state in states, f"job is {jobs.find(database, job.id)}")
    return jobs.find(database, job.id)


def processes_of(job: Job) -> list[psutil.Process]:
    """The job's process and all that it started."""
    return family.members(family.mark(job.id))


def pid_of(job: Job) -> int:
    (process,) = processes_of(job)
    return process.pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
