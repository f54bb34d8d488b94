"""Every node asked, before anything starts: has it the same programs, does it see the storage and the inputs?"""

import contextlib
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.cluster import order
from loglore.data.sources import S3, s3, s3_errors
from loglore.errors import InputError, JobError

ANSWER_S = 120.0  # a node that is busy answers late
CONNECT_S = 3.0  # to a node that is there
PROBE = ".loglore-probe"
ALL_SEE = "this machine and all nodes see"


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


def check(where: str, inputs: Sequence[Path], gpus: bool) -> list[str]:
    """Ask every node that workers may be placed on; returns their names.

    Args:
        where: the run, on the storage that all should see: a folder, or a URL in a bucket.
        inputs: files and folders that the job reads.
        gpus: whether workers take GPUs.

    Raises:
        InputError: one of them has other versions, another storage, or not all inputs; names it.
        JobError: one of them does not answer.
    """
    answers = ask(where, inputs, "GPU" if gpus else "CPU")
    for answer in answers:
        if answer.fault:
            raise InputError(answer.fault)
    return [answer.name for answer in answers]


def ask(where: str, inputs: Sequence[Path], resource: str | None) -> list[Answer]:
    """Ask every node of this process's cluster that takes connections and has some of a resource (None: any).

    Ray is joined already.

    Raises:
        JobError: one of them does not answer.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nonce = secrets.token_hex(8)
    probe = f"{where}/{PROBE}-{nonce}"
    with _there(probe) as (system, key):
        system.pipe_file(key, nonce.encode())
    question = ray.remote(num_cpus=0, max_retries=0)(_question())
    usable = [node for node in answering()[0] if resource is None or node["Resources"].get(resource)]
    asked = [
        question.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            probe, [str(path) for path in inputs]
        )
        for node in usable
    ]
    try:
        said: list[dict[str, Any]] = ray.get(asked, timeout=ANSWER_S)
    except RayError as fault:
        raise JobError(f"nodes of the cluster do not answer: {str(fault).strip().splitlines()[0]}") from None
    finally:
        with _there(probe) as (system, key):
            system.rm_file(key)
    names = [f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})" for node in usable]
    return [
        Answer(
            node["NodeID"],
            name,
            answer["versions"],
            _fault(where, name, answer, nonce, f"{probe}-{answer['id']}"),
            tuple(answer["gpu_memory"]),
        )
        for node, name, answer in zip(usable, names, said, strict=True)
    ]


def answering() -> tuple[list[dict[str, Any]], list[str]]:
    """Nodes of this process's cluster that take connections, as `ray.nodes` has them; ids of alive ones that do not.

    Ray counts a lost node as alive for some 30 seconds, and waits for workers there.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    with ThreadPoolExecutor(max(len(alive), 1)) as pool:
        taken = list(pool.map(_takes_connections, alive))
    there = [node for node, takes in zip(alive, taken, strict=True) if takes]
    return there, [node["NodeID"] for node in alive if node not in there]


def _takes_connections(node: dict[str, Any]) -> bool:
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), CONNECT_S).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _there(url: str) -> Iterator[tuple[Any, str]]:
    """The file system of a path or URL, and its name there."""
    if url.startswith(S3):
        with s3_errors(url):
            yield s3(), url.removeprefix(S3)
    else:
        from fsspec.implementations.local import LocalFileSystem

        yield LocalFileSystem(), url


def _fault(where: str, name: str, answer: dict[str, Any], nonce: str, written: str) -> str:
    came = _came(written, answer["read"] == nonce)
    try:
        order.compare(answer["versions"], order.versions(), f"node {name}")
    except InputError as fault:
        return str(fault)
    if not came:
        what = f"storage is not shared: node {name} does not see {where}"
        return f"{what}: {answer['why']}" if where.startswith(S3) else f"{what}; use a path that {ALL_SEE}"
    if where.startswith(S3) and answer["scratch"] != tempfile.gettempdir():
        return f"TMPDIR is {answer['scratch']} on node {name}, {tempfile.gettempdir()} on the head: make it the same"
    return f"{answer['missing'][0]} is not on node {name}: put it where all nodes see it" if answer["missing"] else ""


def _came(url: str, read: bool) -> bool:
    """Whether what a node wrote can be read here; a network file system may take a moment."""
    deadline = time.monotonic() + 5
    with _there(url) as (system, key):
        while read and not system.exists(key) and time.monotonic() < deadline:
            time.sleep(0.1)
        found = bool(system.exists(key))
        if found:
            system.rm_file(key)
    return found and read


def _question() -> Callable[[str, list[str]], dict[str, Any]]:
    """What is run on each node: sent as code, for a node without LogLore could not look it up."""

    def look(probe: str, inputs: list[str]) -> dict[str, Any]:
        import importlib
        import shutil
        import subprocess
        import sys
        import tempfile
        from pathlib import Path

        import ray

        found = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}", "Ray": ray.__version__}
        try:
            found["LogLore"] = importlib.import_module("loglore").__version__
        except ImportError:
            found["LogLore"] = "none"
        read, why, node = "", "", ray.get_runtime_context().get_node_id()
        try:
            import fsspec

            system, name = fsspec.core.url_to_fs(probe)
            read = system.cat_file(name).decode()
            system.pipe_file(f"{name}-{node}", node.encode())
        except Exception as fault:  # whatever its libraries say: who asked must learn of it
            read, why = "", " ".join(str(fault).split())
        memory: list[int] = []
        if shutil.which("nvidia-smi"):
            asked = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
            said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
            memory = [int(line) << 20 for line in said.split()]
        missing = [path for path in inputs if not Path(path).exists()]
        return {
            "id": node, "versions": found, "read": read, "why": why, "scratch": tempfile.gettempdir(),
            "missing": missing, "gpu_memory": memory,
        }  # fmt: skip

    return look
