"""One llama.cpp server process for one model, from start to stop.

A process of its own, because llama.cpp's server cannot be stopped from inside and takes the process with it when it
aborts. It costs about a second to start (Python, then the model is mapped into memory).

The context length is per conversation. llama.cpp divides the context it is given by the number of parallel
conversations, so it is given `context × parallel` (and rounds each share up to a multiple of 256).
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from loglore.errors import InputError, JobError
from loglore.export.tool import last_error
from loglore.models.header import context_length, read_header
from loglore.settings import load

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Without a wish, no more than this: keys and values of a 128k context would not fit most machines.
DEFAULT_CONTEXT = 8192
START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 5.0


class Process(Protocol):
    """What runs an engine: a process here, or what stands for one elsewhere."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""

    def wait(self) -> int:
        """Block until it has ended; returns its exit status."""


@dataclass(frozen=True)
class Session:
    """A running endpoint.

    Attributes:
        url: base URL for OpenAI clients, ends in `/v1`.
        model_id: the name to ask for.
        context: tokens of one conversation, prompt and answer together.
        pid: process id of the engine.
        log: file with the engine's output.
        adapters: further model ids, in the engine's order; each is the base with a LoRA adapter on.
        kind: `llama.cpp`, `vllm` or `transformers`.
        upstream: what the engine itself calls the base, where that is not `model_id`.
        gguf: the file it was started with, where it was one.
        key: that it asks for, where it can be reached from other machines.
        node: of a cluster, where it runs on one.
    """

    url: str
    model_id: str
    context: int
    pid: int
    log: Path
    _process: Process = field(repr=False)
    adapters: tuple[str, ...] = ()
    kind: str = "llama.cpp"
    upstream: str | None = None
    gguf: Path | None = None
    key: str | None = field(default=None, repr=False)
    node: str | None = None

    def wish(self, model_id: str) -> dict[str, Any]:
        """What a request must carry to be answered as `model_id`, beside what the client sent.

        Every request to an engine with adapters says which are on, the base's too: llama.cpp takes silence for "as it
        was started" and would then go on from keys and values that another adapter computed.
        """
        if self.kind != "llama.cpp":
            return {"model": self.upstream if self.upstream and model_id == self.model_id else model_id}
        chosen = [{"id": number, "scale": float(name == model_id)} for number, name in enumerate(self.adapters)]
        return {"model": model_id, "lora": chosen} if chosen else {"model": model_id}

    def end(self) -> int:
        """Block until the engine has ended, for whatever reason; returns its exit status."""
        return self._process.wait()

    def is_running(self) -> bool:
        """Whether the engine is still alive."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Block until the engine ends, which it only does by failing.

        Raises:
            JobError: always, with the end of the engine's log.
        """
        status = self._process.wait()
        raise JobError(f"the engine stopped (status {status}): {last_error(self.log)}; see {self.log}")


@contextlib.contextmanager
def running(
    gguf: Path,
    *,
    model_id: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    context: int | None = None,
    parallel: int = 1,
    log: Path | None = None,
    adapters: Mapping[str, Path] | None = None,
    key: str | None = None,
) -> Iterator[Session]:
    """Start an engine for `gguf`, yield its session when it answers, stop it at the end.

    The engine dies with this process, however that ends.

    Args:
        gguf: the model file; its chat template is used.
        model_id: name offered to clients; the file's name by default.
        host: address to bind; off loopback only with a key.
        port: port to bind; 0 takes a free one.
        context: tokens of one conversation; None takes what the model was trained for, up to `DEFAULT_CONTEXT`.
        parallel: conversations at the same time; more wait.
        log: file that takes the engine's output, kept; None makes one under the data folder.
        adapters: LoRA adapters as GGUF files by the model id that turns each on.
        key: that callers must send as a bearer token; None asks for none.

    Raises:
        InputError: no such GGUF, it is damaged, a context beyond its training, or the port is taken.
        JobError: the engine failed to start.
    """
    context = _checked_context(gguf, context)
    _check_address(host, port, key)
    adapters = adapters or {}
    for adapter in adapters.values():
        read_header(adapter)
    log = log or new_log()
    wish: dict[str, Any] = {
        "gguf": str(gguf.resolve()),
        "model_id": model_id or gguf.stem,
        "host": host,
        "port": port,
        "context": context,
        "parallel": parallel,
        "adapters": [str(adapter.resolve()) for adapter in adapters.values()],
        "threads": load().threads,
        "key": key,
        "parent": os.getpid(),
        # The kernel's "die with parent" follows the starting thread, so it is only safe to ask for from the main one.
        "kernel_watch": threading.current_thread() is threading.main_thread(),
    }
    process = _spawned(log)
    try:
        address = _started(process, wish, log)
        offered = _wait_until_healthy(address, process, log, key)
        name = wish["model_id"]
        yield Session(f"{address}/v1", name, offered, process.pid, log, process, tuple(adapters), gguf=gguf, key=key)
    finally:
        stop(process)


def _spawned(log: Path) -> "subprocess.Popen[bytes]":
    """The engine's process, waiting for its wish on standard input."""
    command = [sys.executable, "-m", "loglore.serve.llama"]
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=_environment()
        )


def new_log() -> Path:
    """A file for an engine's output under the data folder."""
    log = load().home / "sessions" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    return log


def _environment() -> dict[str, str]:
    """This process's environment but for how OpenMP threads wait.

    llama.cpp's threads meet hundreds of times a token: sleeping in between, as the command line chooses for training on
    a busy machine, halves decoding (docs/LOG.md). A bounded spin is as fast as an endless one.
    """
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    return {**kept, "GOMP_SPINCOUNT": "10000"}


def _checked_context(gguf: Path, context: int | None) -> int:
    trained = context_length(gguf)
    if context is None:
        return min(trained, DEFAULT_CONTEXT)
    if not 1 <= context <= trained:
        raise InputError(f"context {context}: {gguf.name} was trained for 1 to {trained} tokens")
    return context


def _check_address(host: str, port: int, key: str | None) -> None:
    if host not in LOOPBACK and not key:
        raise InputError(f"host {host}: an engine without a key can be bound to {', '.join(LOOPBACK)} only")
    if not 0 <= port <= 65535:
        raise InputError(f"port {port}: expected 0 (a free one) to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trial:
        # As llama.cpp binds: a port in TIME_WAIT is free, one that is listened on is not.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as fault:
            raise InputError(f"{host}:{port} cannot be used: {fault.strerror}; choose another --port, or 0") from None


def _started(process: "subprocess.Popen[bytes]", wish: dict[str, Any], log: Path) -> str:
    """Hand the wish over and wait for the address; the engine binds only after the model is loaded."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(wish).encode() + b"\n")
        process.stdin.flush()
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    if not ready:
        raise JobError(f"the engine did not start within {START_TIMEOUT_S:.0f} s; see {log}")
    line = process.stdout.readline().decode()
    if not line:
        process.wait()
        raise JobError(f"the engine could not start with {wish['gguf']}: {last_error(log)}; see {log}")
    return str(json.loads(line)["address"])


def _wait_until_healthy(address: str, process: "subprocess.Popen[bytes]", log: Path, key: str | None) -> int:
    """Poll `/health`, then return the context that the engine really offers a conversation, in tokens."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise JobError(f"the engine died while starting: {last_error(log)}; see {log}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if _get(address + "/health", key)["status"] == "ok":
                return int(_get(address + "/props", key)["default_generation_settings"]["n_ctx"])
        time.sleep(0.05)
    raise JobError(f"the engine did not answer within {START_TIMEOUT_S:.0f} s; see {log}")


def _get(url: str, key: str | None) -> Any:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as reply:
        return json.load(reply)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Close the engine's input, which it takes as the order to end; kill it if it does not."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
