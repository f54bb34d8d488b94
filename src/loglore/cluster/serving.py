"""Replicas of a session on a cluster: each engine is a Ray job, placed by Ray; the gateway here keeps them.

    gateway ── Supervised ── `running` ── Ray Jobs ──> replica (a process on some node) ── engine
        └───────────── requests, with the key of the engine ───────────────────────────────^

To the gateway it is an engine as one here: it has a URL, and it ends. One that dies (or its node) is started again
by its session, on whatever node Ray finds then. It ends when its session does, and when no pulse comes any more. What
a killed gateway has left is removed at the next start.
"""

import contextlib
import json
import os
import secrets
import shlex
import shutil
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore import settings
from loglore.cluster import connection, order, replica
from loglore.cluster.connection import Node
from loglore.errors import InputError, JobError
from loglore.jobs.executor import BAD_INPUT
from loglore.runs import files
from loglore.serve.engine import Session, new_log

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

BEAT_S = 1.0
START_TIMEOUT_S = 300.0
FOLDER = ".loglore-replica-"  # and a random end: what is handed to a replica, on the storage
GONE_S = 5.0  # an engine that answers nothing for so long is taken for dead: Ray notices a lost node later
SILENT_S = 30.0  # so is one of whose cluster nothing is heard
END_S = 20.0


@dataclass(frozen=True)
class Place:
    """address: of Ray's job server; storage: a folder that this machine and all nodes see."""

    address: str
    storage: Path

    @classmethod
    def of(cls, address: str | None, storage: Path | None) -> "Place":
        """A place by what was given; without a folder LOGLORE_HOME, which is made where it is not there.

        Raises:
            InputError: no such folder, or an address that is no URL.
        """
        home = settings.load().home
        if storage is None:
            home.mkdir(parents=True, exist_ok=True)
        elif not storage.is_dir():
            raise InputError(f"--storage {storage}: no such folder")
        return cls(connection.address_of(address), (storage or home).absolute())


@contextlib.contextmanager
def running(
    place: Place,
    gguf: Path,
    *,
    model_id: str,
    context: int | None,
    parallel: int,
    adapters: Mapping[str, Path],
    replicas: int,
) -> Iterator[Session]:
    """Start an engine on the cluster, yield its session when it answers, end it at the end.

    Args:
        place: where.
        gguf: the model file, where all nodes see it; so for adapters.
        model_id: name offered to clients.
        context: tokens of one conversation; None as `serve.engine.running`.
        parallel: conversations at the same time.
        adapters: LoRA adapters as GGUF files by model id.
        replicas: how many such engines there will be: they share the nodes' CPUs.

    Raises:
        InputError: versions that differ, storage or model that a node does not see, no CPU for it.
        JobError: no cluster answers, or the engine did not start.
    """
    client = connection.connect(place.address)
    cpus = cpus_of(connection.nodes_of(place.address), replicas)
    key = secrets.token_urlsafe(32)
    threading.Thread(target=remove_abandoned, args=(place.storage,), name="abandoned", daemon=True).start()
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=place.storage))
    wish = {
        "gguf": str(gguf.absolute()), "model_id": model_id, "context": context, "parallel": parallel, "key": key,
        "adapters": {name: str(path.absolute()) for name, path in adapters.items()}, "threads": cpus,
    }  # fmt: skip
    _write_privately(folder / replica.WISH, wish)
    log = new_log()
    there = _There(client, place.address, _submit(client, folder, cpus), folder)
    try:
        ready = there.ready()
        yield Session(
            ready["url"], model_id, int(ready["context"]), int(ready["pid"]), log, there, tuple(adapters),
            gguf=gguf, key=key, node=str(ready["node"]),
        )  # fmt: skip
    finally:
        there.end()
        with contextlib.suppress(OSError):
            shutil.copyfile(folder / replica.LOG, log)
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(storage: Path, lease_s: float = 2 * replica.LEASE_S) -> None:
    """Remove folders of replicas whose gateways are gone; returns after `lease_s`.

    No clock decides, for a gateway may be on another machine: what counts is that no pulse comes while we look.
    """
    before = {folder: _pulse(folder) for folder in storage.glob(f"{FOLDER}*")}
    time.sleep(lease_s)
    for folder, pulse in before.items():
        if _pulse(folder) == pulse:
            shutil.rmtree(folder, ignore_errors=True)


def _pulse(folder: Path) -> str:
    """Empty before the first."""
    with contextlib.suppress(FileNotFoundError):
        return (folder / replica.PULSE).read_text()
    return ""


def cpus_of(nodes: list[Node], replicas: int) -> int:
    """CPUs of each of so many replicas: a node is shared out evenly among those that have to live on it.

    Raises:
        InputError: no node has one.
    """
    counts = sorted((int(node.cpus) for node in nodes if node.cpus >= 1), reverse=True)
    if not counts:
        raise InputError("an engine takes a CPU, and no node of the cluster has one to give")
    used = counts[: min(replicas, len(counts))]
    return max(used[-1] // -(-replicas // len(used)), 1)


def _write_privately(path: Path, value: Any) -> None:
    private = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(private, "w", encoding="utf-8") as stream:
        json.dump(value, stream)


def _submit(client: "JobSubmissionClient", folder: Path, cpus: int) -> str:
    expected = ",".join(f"{name}={version}" for name, version in order.versions().items())
    return connection.submit(
        client,
        entrypoint=f"python -m loglore.cluster.replica {shlex.quote(str(folder))} {expected}",
        submission_id=f"loglore-replica-{secrets.token_hex(6)}",
        runtime_env={"env_vars": order.environment()},
        entrypoint_num_cpus=cpus,
    )


class _There:
    """A replica's Ray job, as the process of an engine: it is looked after by a thread until it ends."""

    def __init__(self, client: "JobSubmissionClient", address: str, job: str, folder: Path) -> None:
        self._client, self._address, self._job, self._folder = client, address, job, folder
        self._ended, self._unwanted = threading.Event(), threading.Event()
        self._url = ""
        self._watcher = threading.Thread(target=self._watch, name=job, daemon=True)
        self._watcher.start()

    def poll(self) -> int | None:
        """1 when it has ended."""
        return 1 if self._ended.is_set() else None

    def wait(self) -> int:
        """Block until it has ended."""
        self._ended.wait()
        return 1

    def ready(self) -> dict[str, Any]:
        """Block until the engine answers; what the replica says of it.

        Raises:
            InputError, JobError: it ended instead; says why.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._ended.wait(0.1):
            if (self._folder / replica.READY).exists():
                found: dict[str, Any] = files.read_json(self._folder / replica.READY)
                self._url = found["url"]
                return found
            if time.monotonic() > deadline:
                raise JobError(
                    f"no node of the cluster at {self._address} started the engine within {START_TIMEOUT_S:.0f} s; "
                    "are there CPUs left?"
                )
        raise self._failure()

    def end(self) -> None:
        """End the job, and wait a little until it has."""
        self._unwanted.set()
        self._watcher.join()
        with contextlib.suppress(InputError, JobError), connection.answering(self._address):
            self._client.stop_job(self._job)
            deadline = time.monotonic() + END_S
            while not self._client.get_job_status(self._job).is_terminal() and time.monotonic() < deadline:
                time.sleep(0.1)

    def _watch(self) -> None:
        heard, answered, beats = time.monotonic(), time.monotonic(), 0
        while not self._unwanted.wait(BEAT_S):
            beats += 1
            with contextlib.suppress(OSError):
                files.write_text(self._folder / replica.PULSE, str(beats))
            now = time.monotonic()
            with contextlib.suppress(JobError), connection.answering(self._address):
                if self._client.get_job_status(self._job).is_terminal():
                    break
                heard = now
            if not self._url or _answers(self._url):
                answered = now
            if now - answered > GONE_S or now - heard > SILENT_S:
                break
        self._ended.set()

    def _failure(self) -> InputError | JobError:
        with connection.answering(self._address):
            found = self._client.get_job_info(self._job)
            lines = self._client.get_job_logs(self._job).strip().splitlines()
        last = (lines[-1] if lines else str(found.message or found.status)).removeprefix("loglore: ")
        return (
            InputError(last) if found.driver_exit_code == BAD_INPUT else JobError(f"replica {self._job}: {last[:300]}")
        )


def _answers(url: str) -> bool:
    # Not through the proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url.removesuffix("/v1") + "/health", timeout=GONE_S).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
