"""Every node asked, before anything starts: has it the same programs, does it see the storage and the inputs?"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.cluster import order
from loglore.errors import InputError, JobError

ANSWER_S = 120.0  # a node that is busy answers late
PROBE = ".loglore-probe"


@dataclass(frozen=True)
class Answer:
    """What a node says of itself.

    Attributes:
        id, name: of the node.
        versions: as `order.versions`.
        fault: why no worker could work there, in a line that names the node; empty when one could.
        gpu_memory: bytes of each GPU.
    """

    id: str
    name: str
    versions: dict[str, str]
    fault: str
    gpu_memory: tuple[int, ...]


def check(folder: Path, inputs: Sequence[Path], gpus: bool) -> list[str]:
    """Ask every node that workers may be placed on; returns their names.

    Args:
        folder: of the run, on the storage that all should see.
        inputs: files and folders that the job reads.
        gpus: whether workers take GPUs.

    Raises:
        InputError: one of them has other versions, another storage, or not all inputs; names it.
        JobError: one of them does not answer.
    """
    answers = ask(folder, inputs, "GPU" if gpus else "CPU")
    for answer in answers:
        if answer.fault:
            raise InputError(answer.fault)
    return [answer.name for answer in answers]


def ask(folder: Path, inputs: Sequence[Path], resource: str | None) -> list[Answer]:
    """Ask every node of this process's cluster that has some of a resource, or (None) all. Ray is joined already.

    Raises:
        JobError: one of them does not answer.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nonce = secrets.token_hex(8)
    probe = folder / f"{PROBE}-{nonce}"
    probe.write_text(nonce)
    question = ray.remote(num_cpus=0, max_retries=0)(_question())
    alive = [node for node in ray.nodes() if node["Alive"]]
    usable = [node for node in alive if resource is None or node["Resources"].get(resource)]
    asked = [
        question.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            str(probe), [str(path) for path in inputs]
        )
        for node in usable
    ]
    try:
        said: list[dict[str, Any]] = ray.get(asked, timeout=ANSWER_S)
    except RayError as fault:
        raise JobError(f"nodes of the cluster do not answer: {str(fault).strip().splitlines()[0]}") from None
    finally:
        probe.unlink()
    names = [f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in usable]
    return [
        Answer(
            node["NodeID"],
            name,
            answer["versions"],
            _fault(folder, name, answer, nonce, Path(f"{probe}-{answer['id']}")),
            tuple(answer["gpu_memory"]),
        )
        for node, name, answer in zip(usable, names, said, strict=True)
    ]


def _fault(folder: Path, name: str, answer: dict[str, Any], nonce: str, written: Path) -> str:
    if not _came(written, answer["read"] == nonce):
        return (
            f"storage is not shared: node {name} does not see {folder}; use a path that this machine and all nodes see"
        )
    try:
        order.compare(answer["versions"], order.versions(), f"node {name}")
    except InputError as fault:
        return str(fault)
    return f"{answer['missing'][0]} is not on node {name}: put it where all nodes see it" if answer["missing"] else ""


def _came(path: Path, read: bool) -> bool:
    """Whether what a node wrote can be read here; a network file system may take a moment."""
    deadline = time.monotonic() + 5
    while read and not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    found = path.exists()
    path.unlink(missing_ok=True)
    return found and read


def _question() -> Callable[[str, list[str]], dict[str, Any]]:
    """What is run on each node: sent as code, for a node without LogLore could not look it up."""

    def look(probe: str, inputs: list[str]) -> dict[str, Any]:
        import importlib
        import shutil
        import subprocess
        import sys
        from pathlib import Path

        import ray

        found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}", "Ray": ray.__version__}
        try:
            found["LogLore"] = importlib.import_module("loglore").__version__
        except ImportError:
            found["LogLore"] = "none"
        read, node = "", ray.get_runtime_context().get_node_id()
        try:
            read = Path(probe).read_text()
            Path(f"{probe}-{node}").write_text(node)
        except OSError:
            read = ""
        memory: list[int] = []
        if shutil.which("nvidia-smi"):
            asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
            said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            memory = [int(line) << 20 for line in said.split()]
        missing = [path for path in inputs if not Path(path).exists()]
        return {"id": node, "versions": found, "read": read, "missing": missing, "gpu_memory": memory}

    return look
