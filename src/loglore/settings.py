"""Environment and defaults: every `LOGLORE_*` variable that the package reads, typed, in one place."""

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from loglore.errors import InputError

GPU_HOUR_DOLLARS = 2.31  # as the tutorial's studio asked
BUDGET = "LOGLORE_BUDGET_USD_PER_MONTH"


@dataclass(frozen=True)
class Settings:
    """Values read once from the environment.

    home: folder of the local model hub and of other data that outlives a run (`LOGLORE_HOME`).
    threads: CPU threads for training and generation; 0 lets the libraries choose (`LOGLORE_THREADS`).
    endpoint_key: bearer token for the endpoint of a chat or a question; None sends none (`LOGLORE_ENDPOINT_KEY`).
    gpu_hour_dollars: price of a GPU-hour for jobs that name none (`LOGLORE_GPU_HOUR_DOLLARS`).
    budget: dollars that all jobs together may cost in a month (`LOGLORE_BUDGET_USD_PER_MONTH`); None without limit.
    database: SQLAlchemy URL of the database (`LOGLORE_DATABASE`); SQLite below `home` by default.
    storage: where the hub's files are (`LOGLORE_STORAGE`): a folder, or `s3://bucket/prefix`; below `home` by default.
    private_endpoints: whether stored connections may lead to loopback and private addresses
        (`LOGLORE_PRIVATE_ENDPOINTS`, 0 or 1); 0 by default, as callers of an API could reach inner machines that way.
    secret_key: what secrets in the database are sealed with (`LOGLORE_SECRET_KEY`); None: a file of `home` has it.
    checkpoint_s: seconds of training between two checkpoints that a killed run goes on from
        (`LOGLORE_CHECKPOINT_SECONDS`).
    cluster_storage: where the nodes of a Ray cluster hand runs to each other when they share no path
        (`LOGLORE_CLUSTER_STORAGE`, `s3://bucket/prefix`); None where run folders are on a path that all see.
    vllm: the `vllm` command of the environment that vLLM lives in (`LOGLORE_VLLM`); by default looked for on the path.
    """

    home: Path
    threads: int
    endpoint_key: str | None
    database: str
    gpu_hour_dollars: float
    budget: float | None
    storage: str
    private_endpoints: bool
    secret_key: str | None = field(repr=False)
    vllm: str
    checkpoint_s: float
    cluster_storage: str | None


def load() -> Settings:
    """Read the settings from the environment.

    `LOGLORE_HOME` defaults to `$XDG_DATA_HOME/loglore`, as in the XDG base directory specification.
    """
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    home = os.environ.get("LOGLORE_HOME") or str(Path(data) / "loglore")
    threads = os.environ.get("LOGLORE_THREADS", "0")
    if not threads.isdigit():
        raise InputError(f"LOGLORE_THREADS={threads!r}: expected a number of threads, 0 for the libraries' choice")
    private = os.environ.get("LOGLORE_PRIVATE_ENDPOINTS", "0")
    if private not in ("0", "1"):
        raise InputError(f"LOGLORE_PRIVATE_ENDPOINTS={private!r}: expected 0 or 1")
    folder = Path(home).expanduser()
    return Settings(
        home=folder,
        threads=int(threads),
        endpoint_key=os.environ.get("LOGLORE_ENDPOINT_KEY") or None,
        database=os.environ.get("LOGLORE_DATABASE") or f"sqlite:///{(folder / 'loglore.db').absolute()}",
        gpu_hour_dollars=_number("LOGLORE_GPU_HOUR_DOLLARS", str(GPU_HOUR_DOLLARS), "dollars"),
        budget=_number(BUDGET, os.environ[BUDGET], "dollars") if os.environ.get(BUDGET) else None,
        storage=os.environ.get("LOGLORE_STORAGE") or str(folder / "storage"),
        private_endpoints=private == "1",
        secret_key=os.environ.get("LOGLORE_SECRET_KEY") or None,
        vllm=os.environ.get("LOGLORE_VLLM") or "vllm",
        checkpoint_s=_number("LOGLORE_CHECKPOINT_SECONDS", "90", "seconds"),
        cluster_storage=_cluster_storage(),
    )


def _cluster_storage() -> str | None:
    url = os.environ.get("LOGLORE_CLUSTER_STORAGE")
    if url and not url.startswith("s3://"):
        raise InputError(f"LOGLORE_CLUSTER_STORAGE={url}: expected s3://bucket/prefix; a path that all see needs none")
    return url or None


def _number(name: str, default: str, unit: str) -> float:
    text = os.environ.get(name) or default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise InputError(f"{name}={text!r}: expected {unit}, 0 or more")
    return value
