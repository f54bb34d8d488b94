"""Environment and defaults: every `LOGLORE_*` variable that the package reads, typed, in one place."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Values read once from the environment.

    home: folder of the local model hub and of other data that outlives a run (`LOGLORE_HOME`).
    threads: CPU threads for training and generation; 0 lets the libraries choose (`LOGLORE_THREADS`).
    endpoint_key: bearer token for the endpoint of a chat or a question; None sends none (`LOGLORE_ENDPOINT_KEY`).
    """

    home: Path
    threads: int
    endpoint_key: str | None


def load() -> Settings:
    """Read the settings from the environment.

    `LOGLORE_HOME` defaults to `$XDG_DATA_HOME/loglore`, as in the XDG base directory specification.
    """
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    home = os.environ.get("LOGLORE_HOME") or str(Path(data) / "loglore")
    threads = os.environ.get("LOGLORE_THREADS", "0")
    if not threads.isdigit():
        from loglore.errors import InputError

        raise InputError(f"LOGLORE_THREADS={threads!r}: expected a number of threads, 0 for the libraries' choice")
    key = os.environ.get("LOGLORE_ENDPOINT_KEY") or None
    return Settings(home=Path(home).expanduser(), threads=int(threads), endpoint_key=key)
