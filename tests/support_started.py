"""A studio that is started by its command, for tests and for bench/: its process, and what it greeted with."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

LAST_LINE = "Ctrl-C"


@dataclass(frozen=True)
class Started:
    """A running studio; `greeting`: the lines that it printed when all of it answered."""

    process: "subprocess.Popen[str]"
    greeting: list[str]

    @property
    def page(self) -> str:
        """The address of the page that it opens on."""
        return self.greeting[0].split()[-1]

    @property
    def api(self) -> str:
        """The base URL of its API, with `/v1`."""
        return self.greeting[1].split()[1]


@contextlib.contextmanager
def started(cwd: Path, *arguments: str, **environment: str) -> Iterator[Started]:
    """Run `loglore` with these arguments in `cwd` until it has greeted; what is left of it at the end is killed.

    Args:
        cwd: folder to run it in.
        arguments: such as `studio --port 0`.
        environment: in place of what stands in this process's environment.
    """
    command = [sys.executable, "-m", "loglore", *arguments]
    with subprocess.Popen(
        command, cwd=cwd, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        greeting = []
        for line in process.stdout:
            greeting.append(line.strip())
            if line.startswith(LAST_LINE):
                break
        try:
            yield Started(process, greeting)
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
