"""A Ray cluster on this machine, its nodes separate raylets, small in memory."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from support_workers import until

from loglore.cluster import connection

OBJECT_STORE = 100 << 20  # bytes of a node
# A node that is gone is noticed soon, one that is slow (a busy machine, a paused one) is not taken for gone. And
# `ray start` would have a cluster ask for the token that an earlier `ray.init()` of this user may have left.
PATIENT = {
    "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "60000", "RAY_AUTH_MODE": "disabled",
}  # fmt: skip


class SmallCluster:
    """`url`: of its job server; `address`: for processes that join it. Each node has one CPU.

    hidden: a folder that the second node sees empty, as a machine without the shared storage; None where a node may not
    have mounts of its own here.
    """

    def __init__(self, cluster: Any, url: str) -> None:
        self.url, self.address = url, str(cluster.address)
        self.hidden: Path | None = None
        self._cluster = cluster

    def add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=OBJECT_STORE)

    @contextlib.contextmanager
    def apart(self, hidden: Path) -> Iterator[None]:
        """A node more, by `ray start` in a mount namespace where a folder is empty; a usual one where none may be."""
        allowed = subprocess.run(
            ["unshare", "--mount", "mount", "-t", "tmpfs", "none", str(hidden)], capture_output=True, check=False
        )
        if allowed.returncode:
            self.add()
            yield
            return
        ray = Path(sys.executable).with_name("ray")
        start = [
            str(ray), "start", "--address", self.address, "--num-cpus", "1", "--num-gpus", "0", "--block",
            "--object-store-memory", str(OBJECT_STORE), "--disable-usage-stats",
            "--dashboard-agent-listen-port", str(free_port()),
        ]  # fmt: skip
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {hidden} && exec {' '.join(start)}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until(lambda: len(connection.nodes_of(self.url)) == 2)
            self.hidden = hidden
            yield
        finally:
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            process.wait(60)
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()

    def kill(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)


@contextlib.contextmanager
def small_cluster(hidden: Path | None = None, nodes: int = 2) -> Iterator[SmallCluster]:
    """So many nodes, or two, the second without a folder; all their processes are ended with them."""
    from ray.cluster_utils import Cluster

    port = free_port()
    before = dict(os.environ)
    # Ray Jobs start `python`: the one that runs this test.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0"} | PATIENT
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # no credentials are found at once
    # The agent's port would be 52365, which another cluster of this machine may have.
    head = {
        "num_cpus": 1, "num_gpus": 0, "object_store_memory": OBJECT_STORE, "include_dashboard": True,
        "dashboard_host": "127.0.0.1", "dashboard_port": port, "dashboard_agent_listen_port": free_port(),
    }  # fmt: skip
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        found = SmallCluster(cluster, f"http://127.0.0.1:{port}")
        for _ in range(nodes - 1 if hidden is None else 0):
            found.add()
        with found.apart(hidden) if hidden else contextlib.nullcontext():
            yield found
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def drivers(run_folder: Path) -> list[psutil.Process]:
    """Processes of the cluster that work in a run folder."""
    mine = ["-m", "loglore.cluster.driver", str(run_folder)]
    return [each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [])[1:4] == mine]


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
