"""One engine on a node: `python -m loglore.cluster.replica FOLDER VERSIONS`, started by Ray Jobs for `serving`.

    wish.json     what to serve, and the key to ask for; readable by the user alone, removed when it was read
    ready.json    where the engine answers
    pulse         a number that changes while somebody wants it; without one for `LEASE_S` the engine ends
    engine.log    what the engine says

The folder is removed by who wanted the engine, or by the engine when nobody does any more.

It binds the address by which the cluster's head is reached from here, and asks for the key of its session.
"""

import contextlib
import os
import platform
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from loglore.cluster import order
from loglore.errors import InputError, JobError
from loglore.jobs.executor import BAD_INPUT
from loglore.runs import files
from loglore.serve import engine

WISH, READY, PULSE, LOG = "wish.json", "ready.json", "pulse", "engine.log"
LOOK_S = 0.2
LEASE_S = 30.0
FAILED = 1


def main(folder: Path, expected: str) -> int:
    """Serve until nobody wants it any more, or the engine ends; returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        order.compare(dict(part.split("=", 1) for part in expected.split(",")), order.versions(), "the serving side")
        _serve(folder, _wish(folder))
        shutil.rmtree(folder, ignore_errors=True)
    except InputError as fault:
        print(f"loglore: {fault}", file=sys.stderr, flush=True)
        return BAD_INPUT
    except JobError as fault:
        print(f"loglore: {fault}", file=sys.stderr, flush=True)
        return FAILED
    except KeyboardInterrupt:
        return 0
    return 0


def _wish(folder: Path) -> dict[str, Any]:
    try:
        wish: dict[str, Any] = files.read_json(folder / WISH)
    except FileNotFoundError:
        raise InputError(
            f"storage is not shared: {folder} is not on node {platform.node()}; name a folder that this machine and "
            "all nodes see with --storage"
        ) from None
    (folder / WISH).unlink()
    for path in (wish["gguf"], *wish["adapters"].values()):
        if not Path(path).exists():
            raise InputError(f"{path} is not on node {platform.node()}: put it where all nodes see it")
    return wish


def _serve(folder: Path, wish: dict[str, Any]) -> None:
    os.environ.setdefault("LOGLORE_THREADS", str(wish["threads"]))
    with engine.running(
        Path(wish["gguf"]),
        model_id=wish["model_id"],
        host=own_address(),
        context=wish["context"],
        parallel=wish["parallel"],
        log=folder / LOG,
        adapters={name: Path(path) for name, path in wish["adapters"].items()},
        key=wish["key"],
    ) as started:
        ready = {"url": started.url, "context": started.context, "pid": started.pid, "node": platform.node()}
        files.write_json(folder / READY, ready)
        silent, last = 0.0, ""
        while started.is_running() and silent < LEASE_S:
            time.sleep(LOOK_S)
            pulse = last
            with contextlib.suppress(OSError):
                pulse = (folder / PULSE).read_text()
            silent = silent + LOOK_S if pulse == last else 0.0
            last = pulse
        if not started.is_running():
            raise JobError(f"the engine ended on node {platform.node()}")


def own_address() -> str:
    """The address of this machine in the network of the cluster's head."""
    head = os.environ.get("RAY_ADDRESS", "").rpartition(":")[0].strip("[]")
    if not head or head == "auto":
        return "127.0.0.1"
    family, kind, protocol, _, address = socket.getaddrinfo(head, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as there:
        there.connect(address)  # sends nothing
        return str(there.getsockname()[0])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
