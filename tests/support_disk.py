"""A disk that is really small: a tmpfs in a mount namespace of the command's own."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

# Called with a size such as `1m` and a command, whose last argument will be the disk's folder; returns what it printed.
SmallDisk = Callable[..., str]


def namespaces() -> bool:
    """Whether users may have mount namespaces here."""
    try:
        tried = subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return False
    return tried.returncode == 0


def runner(folder: Path) -> SmallDisk:
    """What runs a command with a small disk mounted below `folder`."""
    if not namespaces():
        pytest.skip("no mount namespaces for users here")
    disk = folder / "small-disk"
    disk.mkdir()

    def run(size: str, *command: str, **environment: str) -> str:
        script = f'mount -t tmpfs -o size={size} tmpfs "{disk}" && exec "$@" "{disk}"'
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", script, "sh", *command],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
