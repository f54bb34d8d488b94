"""Processes of a job on this machine, found by a mark in their environment, which their children inherit.

A training run's processes are leaders of groups of their own and survive a parent that was killed; the mark finds them.
"""

import contextlib
import os
import socket
import time
from pathlib import Path

import psutil

MARK = "LOGLORE_JOB"
LOOK_EVERY_S = 0.05


def mark(job_id: str, token: str = "") -> str:
    """The mark of an attempt at a job; without the claim's token the beginning of all its attempts' marks."""
    return f"{job_id}/{token}"


def end_family(beginning: str) -> None:
    """Kill every process whose mark begins so, but this one, and wait until they are gone.

    A dead one that its parent has not asked after counts as gone: a worker that stands still asks after nobody.
    """
    while family := members(beginning):
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(LOOK_EVERY_S)


def members(beginning: str) -> list[psutil.Process]:
    """The processes whose mark begins so, without this one and without those that are dead already."""
    found = []
    for process in psutil.process_iter():
        # Other users' processes cannot be read, and are not ours to end.
        with contextlib.suppress(psutil.Error, OSError):
            marked = process.environ().get(MARK, "").startswith(beginning)
            if marked and process.pid != os.getpid() and _lives(process):
                found.append(process)
    return found


def end_children() -> None:
    """Kill everything that this process has started, directly or not."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def own_name() -> str:
    """A name for this process that no other has: host, space of process numbers, number, time of its start."""
    return f"{_place()}.{os.getpid()}.{_started(os.getpid())}"


def is_gone(name: str) -> bool:
    """Whether the process with this name has ended; False for one on another machine, where nobody can look."""
    place, pid, started = name.rsplit(".", 2)
    if place != _place():
        return False
    try:
        return _started(int(pid)) != started or not _lives(psutil.Process(int(pid)))
    except psutil.NoSuchProcess:
        return True


def _lives(process: psutil.Process) -> bool:
    return process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _place() -> str:
    """The host, and on Linux the container: process numbers mean something only there."""
    space = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}.{space.stat().st_ino if space.exists() else 0}"


def _started(pid: int) -> str:
    """When a process started: in ticks since the machine did, which a change of the clock leaves alone."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return str(int(psutil.Process(pid).create_time()))
    except ProcessLookupError:
        raise psutil.NoSuchProcess(pid) from None
