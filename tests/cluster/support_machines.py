"""Nodes as on machines of their own: `ray start` with a network and a disk of its own (Linux namespaces), one bridge.

Nothing is shared but what they reach over the network: a bucket, say, that is served at `HERE`.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from support_cluster import OBJECT_STORE, PATIENT
from support_workers import until

from loglore.cluster import connection
from loglore.errors import JobError

BRIDGE, NAME, HERE, HEAD = "ltbridge", "lt", "10.78.0.1", "10.78.0.11"
URL = f"http://{HEAD}:8265"


def refused() -> str:
    """Why there can be none here; empty where there can."""
    try:
        run("ip", "netns", "list")
        run("unshare", "--mount", "--net", "mount", "-t", "tmpfs", "none", "/mnt")
    except (FileNotFoundError, subprocess.CalledProcessError) as fault:
        return f"no namespaces here: {fault}"
    return ""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def machines(hidden: Path) -> Iterator["Machines"]:
    """A bridge to start nodes at; each finds an empty disk at `hidden`. What an earlier run left is removed first."""
    found = Machines(hidden)
    found.end()
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{HERE}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    try:
        yield found
    finally:
        found.end()


class Machines:
    """Nodes numbered from 1, the head."""

    def __init__(self, hidden: Path) -> None:
        self.hidden = hidden

    def start(self, count: int) -> None:
        """Start them and wait until the head knows all; they have the environment of now."""
        self._start(1, "--head", "--port", "6379", "--dashboard-host", HEAD)
        until(self._answers)
        for number in range(2, count + 1):
            self._start(number, "--address", f"{HEAD}:6379")
        until(lambda: len(connection.nodes_of(URL)) == count)

    def _answers(self) -> bool:
        with contextlib.suppress(JobError):
            return bool(connection.nodes_of(URL))
        return False

    def _start(self, number: int, *arguments: str) -> None:
        name, address = f"{NAME}{number}", f"10.78.0.1{number}"
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"{name}v", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"{name}v", "master", BRIDGE, "up")
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", name, "link", "set", "eth0", "up")
        ray = [
            str(Path(sys.executable).with_name("ray")), "start", "--block", "--node-ip-address", address,
            "--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", str(OBJECT_STORE), "--disable-usage-stats",
            *arguments,
        ]  # fmt: skip
        disks = " && ".join(f"mount -t tmpfs none {place}" for place in (self.hidden, "/tmp/ray"))
        Path("/tmp/ray").mkdir(exist_ok=True)
        inside = f"{disks} && mkdir {self.hidden}/tmp && exec {' '.join(ray)}"
        subprocess.Popen(
            ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", inside],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | PATIENT | {"TMPDIR": f"{self.hidden}/tmp", "RAY_TMPDIR": "/tmp"},
        )

    def kill(self, number: int) -> None:
        """End everything on a machine at once."""
        for pid in run("ip", "netns", "pids", f"{NAME}{number}").split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)

    def end(self) -> None:
        """End and remove all."""
        for line in run("ip", "netns", "list").splitlines():
            name = line.split()[0]
            if name.startswith(NAME) and name.removeprefix(NAME).isdigit():
                self.kill(int(name.removeprefix(NAME)))
                subprocess.run(["ip", "link", "del", f"{name}v"], capture_output=True, check=False)
                run("ip", "netns", "del", name)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)
