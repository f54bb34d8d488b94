"""Helper processes: run one to its end with a log file, and see to it that none outlives the process that started it.

Conversion and llama.cpp run in processes of their own because both can end the process that calls them (llama.cpp
aborts on an assertion) and neither can be stopped from inside. The price is about a second of start-up each.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from loglore.errors import JobError

PR_SET_PDEATHSIG = 1
CHUNK_BYTES = 1 << 16


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when the thread that started it ends; exit at once if `parent` is gone already.

    The signal follows the starting *thread*: only call it in a process started from a main thread. Elsewhere than on
    Linux this does nothing.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def run_module(module: str, arguments: Sequence[str], log: Path, on_line: Callable[[str], None]) -> None:
    """Run `python -m module arguments…`, copying its output to `log` and handing each line of it to `on_line`.

    A carriage return ends a line too, so that progress bars come through.

    Raises:
        JobError: it ended with another status than 0; the message names the log and quotes its last error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, *arguments]
    with log.open("wb") as copy, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        try:
            rest = b""
            while data := os.read(process.stdout.fileno(), CHUNK_BYTES):
                copy.write(data)
                copy.flush()
                *lines, rest = re.split(rb"[\r\n]", rest + data)
                for line in lines:
                    on_line(line.decode("utf-8", "replace"))
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise JobError(f"{module} failed (status {process.returncode}): {last_error(log)}; see {log}")


def last_error(log: Path) -> str:
    """The last line of a log that names an error, else its last line that is not blank, else "no output"."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"error|fail|couldn't|corrupt|not recognized", line, re.IGNORECASE)]
    return (errors or lines or ["no output"])[-1]
