"""Finding a cluster: Ray's job server at an address, and what nodes it has."""

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loglore.cluster import order
from loglore.errors import InputError, JobError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

ADDRESS = "http://127.0.0.1:8265"  # where `ray start --head` puts it
GIB = 1 << 30
AGENT_S = 60.0  # until some node of a cluster that answers takes jobs
LOOK_S = 0.5


@dataclass(frozen=True)
class Node:
    """One machine of the cluster: what Ray may give out there. memory in bytes; accelerator: name of its GPUs."""

    id: str
    name: str
    cpus: float
    gpus: int
    memory: int
    accelerator: str | None
    head: bool


def address_of(given: str | None) -> str:
    """The job server's URL: as given, else from `RAY_API_SERVER_ADDRESS` as for `ray job`, else this machine's.

    Raises:
        InputError: it is no http(s) URL.
    """
    found = given or os.environ.get("RAY_API_SERVER_ADDRESS") or ADDRESS
    if not found.startswith(("http://", "https://")):
        raise InputError(f"--address {found}: expected the URL of Ray's job server, such as {ADDRESS}")
    return found.rstrip("/")


def connect(address: str) -> "JobSubmissionClient":
    """A client of the cluster's job server.

    Raises:
        InputError: Ray is not installed here, or has another version there.
        JobError: nothing answers at the address.
    """
    with answering(address):
        from ray.job_submission import JobSubmissionClient

        client = JobSubmissionClient(address)
        theirs = version_of(address)
    ours = order.versions()["Ray"]
    if theirs != ours:
        raise InputError(
            f"Ray {theirs} on the cluster at {address}, {ours} here: install the same version on both sides"
        )
    return client


def version_of(address: str) -> str:
    """Ray's version on the cluster."""
    import requests

    reply = requests.get(f"{address}/api/version", timeout=10)
    reply.raise_for_status()
    return str(reply.json()["ray_version"])


@contextlib.contextmanager
def answering(address: str) -> Iterator[None]:
    """Errors of a conversation with the cluster in one line.

    Raises:
        JobError: nothing answers, or not as Ray does. InputError: Ray is not installed here, or has no token of the
            cluster's.
    """
    try:
        import requests
        from ray.exceptions import AuthenticationError
        from ray.util.state.exception import RayStateApiException
    except ImportError as fault:
        raise InputError(f"{fault.name} is not installed here: pip install 'loglore[ray]'") from None
    try:
        yield
    except AuthenticationError as fault:
        said = _first_line(fault)
        raise InputError(
            f"{address}: {said}; set RAY_AUTH_MODE=token and give the cluster's token as to `ray`"
        ) from None
    except (ConnectionError, RuntimeError, KeyError, requests.RequestException, RayStateApiException) as fault:
        raise JobError(f"no Ray cluster answers at {address}: {_first_line(fault)}") from None


def submit(client: "JobSubmissionClient", **job: Any) -> str:
    """Hand a job (arguments of `submit_job`) to Ray; waits a little for a cluster that has just come up.

    Raises:
        JobError: nothing answers, or no node takes jobs.
    """
    deadline = time.monotonic() + AGENT_S
    while True:
        with answering(client.get_address()):
            try:
                return str(client.submit_job(**job))
            except RuntimeError as fault:
                if "No available agent" not in str(fault) or time.monotonic() > deadline:
                    raise
        time.sleep(LOOK_S)


def nodes_of(address: str) -> list[Node]:
    """The nodes that are alive, the head first.

    Raises:
        JobError: nothing answers at the address.
    """
    with answering(address):
        from ray.util.state import list_nodes

        found = [_node(each) for each in list_nodes(address=address, limit=10_000) if each.state == "ALIVE"]
    return sorted(found, key=lambda node: (not node.head, node.name, node.id))


def _node(state: Any) -> Node:
    has = state.resources_total
    kinds = [name.removeprefix("accelerator_type:") for name in has if name.startswith("accelerator_type:")]
    return Node(
        id=state.node_id,
        name=state.node_name or state.node_ip,
        cpus=float(has.get("CPU", 0)),
        gpus=int(has.get("GPU", 0)),
        memory=int(has.get("memory", 0)),
        accelerator=kinds[0] if kinds else None,
        head=bool(state.is_head_node),
    )


def _first_line(fault: Exception) -> str:
    lines = str(fault).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(fault).__name__
