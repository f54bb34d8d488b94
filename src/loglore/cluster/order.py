"""What is handed to the cluster: files in `RUN/cluster/`, which both sides read and write.

order.json     what is to be done, by whom it is waited for, and until when without a sign of life
keys.json      endpoint keys, readable by the user alone; the driver removes it
pulse          a number that changes while somebody waits
stop           there when the job is to save and end
output.log     what the job prints
outcome.json   how it ended: status (`jobs.executor`), message, result
"""

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loglore import __version__, settings
from loglore.errors import InputError
from loglore.runs import files

FOLDER = "cluster"
ORDER, KEYS, PULSE, STOP, OUTPUT, OUTCOME, LOCK = (
    "order.json", "keys.json", "pulse", "stop", "output.log", "outcome.json", ".lock",
)  # fmt: skip
KEY = "LOGLORE_ENDPOINT_KEY"
# What of the environment here means the same there.
PASSED_ON = (
    "HF_HUB_OFFLINE", "LOGLORE_CHECKPOINT_SECONDS", "LOGLORE_GPU_HOUR_DOLLARS", "LOGLORE_THREADS",
    "TOKENIZERS_PARALLELISM",
)  # fmt: skip
# One log for all workers, read as text: no colours. Workers that find no place: look again what nodes there are.
OF_RAY = {"RAY_COLOR_PREFIX": "0", "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30"}


@dataclass(frozen=True)
class Order:
    """A job for the cluster.

    Attributes:
        kind: of the job.
        spec: its values, paths absolute.
        workers: processes of a training run; 0 where the driver does the job itself.
        gpus: GPUs of each worker, or of another kind's process.
        cpus: CPUs of the same.
        lease_s: without a pulse for two thirds of it the job saves and ends, for all of it at once.
        home: LOGLORE_HOME of who submits; used where it exists.
        attempt: its name; who works for another one ends.
        inputs: where each path of the spec is found in a bucket; empty where all nodes see the paths.
    """

    kind: str
    spec: Mapping[str, Any]
    workers: int
    gpus: int
    cpus: int
    lease_s: float
    home: str
    attempt: str
    inputs: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it into `RUN/cluster`, with nothing of an earlier attempt beside it but the log."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in (STOP, OUTCOME, PULSE):
            (folder / old).unlink(missing_ok=True)
        named = set(_key_names(self.spec))
        keys = {name: value for name, value in os.environ.items() if name.startswith(KEY) or name in named}
        if keys:
            private = os.open(folder / KEYS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(private, "w", encoding="utf-8") as stream:
                json.dump(keys, stream)
        files.write_json(folder / ORDER, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "Order":
        """Read what `write` wrote.

        Raises:
            InputError: it is not there: this node sees another storage.
        """
        if not (folder / ORDER).is_file():
            raise InputError(
                f"storage is not shared: {folder / ORDER} is not on node {platform.node()}; put the run folder on a "
                "path that this machine and all nodes see"
            )
        return cls(**files.read_json(folder / ORDER))


def _key_names(value: Any) -> Iterator[str]:
    """Variables that a spec's endpoints take their keys from (`key_env`)."""
    if isinstance(value, Mapping):
        if isinstance(value.get("key_env"), str):
            yield value["key_env"]
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from _key_names(part)


def environment() -> dict[str, str]:
    """Variables for the job's processes on the cluster."""
    return OF_RAY | {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def take_over(folder: Path, order: Order) -> None:
    """Endpoint keys and LOGLORE_HOME of who submitted, in this process's environment."""
    if (folder / KEYS).exists():
        os.environ |= files.read_json(folder / KEYS)
        (folder / KEYS).unlink()
    seen = Path(order.home).is_dir()
    os.environ["LOGLORE_HOME"] = order.home if seen else str(folder / "home")


def home() -> str:
    """LOGLORE_HOME of this process, absolute."""
    return str(settings.load().home.absolute())


def versions() -> dict[str, str]:
    """What must be the same on both sides: Python (its minor version), Ray, LogLore."""
    ray = importlib.metadata.version("ray")
    return {"Python": f"{sys.version_info.major}.{sys.version_info.minor}", "Ray": ray, "LogLore": __version__}


def compare(theirs: Mapping[str, str], ours: Mapping[str, str], where: str) -> None:
    """Refuse versions that differ.

    Raises:
        InputError: names the first program that differs; `where` names the other side.
    """
    for name, version in ours.items():
        if theirs.get(name) != version:
            found = theirs.get(name) or "none"
            raise InputError(f"{name} {found} on {where}, {version} here: install the same version on both sides")


def missing(paths: Sequence[Path]) -> list[str]:
    """Those of the paths that this machine does not see."""
    return [str(path) for path in paths if not path.exists()]
