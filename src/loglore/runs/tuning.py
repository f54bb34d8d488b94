"""What a process that runs jobs sets for itself before the libraries below are imported."""

import contextlib
import ctypes
import gc
import os
import sys
import time
import warnings
from pathlib import Path

M_ARENA_MAX = -8  # of malloc.h
GARBAGE = (50_000, 20, 100)  # of `gc.set_threshold`; Python's own are (700, 10, 10) up to 3.11
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # what says how OpenMP's threads wait
LOAD = Path("/proc/loadavg")  # its fourth field: entities that can be run now / all of them (proc_loadavg(5))


def tune(patience_s: float = 0.0) -> None:
    """Threads that sleep or spin, memory from one arena, fewer looks for garbage, quiet libraries.

    Args:
        patience_s: for so long a busy machine is looked at again: what starts this process may be busy with just that.
    """
    _choose_thread_waiting(patience_s)
    _share_one_arena()
    # The default looks at all objects again and again while transformers and torch are imported: a fifth of that time.
    gc.set_threshold(*GARBAGE)
    # PEFT calls what transformers renamed; nothing a user could change.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
    # Bars of the libraries below: ours show rate and ETA. tqdm reads this when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")


def threads_wait() -> dict[str, str]:
    """The variables by which `tune` has said how threads wait, for processes that others start."""
    return {name: os.environ[name] for name in WAITING if name in os.environ}


def _choose_thread_waiting(patience_s: float) -> None:
    """How OpenMP threads wait for each other; it is read when torch is imported.

    On cores that others use, too, they must sleep: spinning made training two to five times slower. On idle cores a
    short spin makes it about an eighth faster (docs/LOG.md). Said in the environment, it is left as it is.
    """
    if threads_wait():
        return
    deadline, free = time.monotonic() + patience_s, 0.5 * (os.cpu_count() or 1)
    idle = _running_now() < free
    while not idle and time.monotonic() < deadline:
        time.sleep(0.05)
        idle = _running_now() < free
    if idle:
        os.environ["GOMP_SPINCOUNT"] = "10000"
    else:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def _running_now() -> float:
    """Threads of other processes that run or wait for a core, the median of five looks within 8 ms.

    The load average would remember the installation that has just ended.
    """
    if not LOAD.exists():
        return os.getloadavg()[0]
    looks = []
    for number in range(5):
        if number:
            time.sleep(0.002)
        looks.append(int(LOAD.read_text().split()[3].partition("/")[0]) - 1)
    return sorted(looks)[2]


def _share_one_arena() -> None:
    """Let all threads take memory from one arena of glibc's allocator.

    The backward pass runs in a thread of its own, and what it frees in its arena the forward pass could not use again.
    """
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # a libc other than glibc
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
