"""GPU engines: vLLM, and transformers' own server with continuous batching, started by command.

vLLM's pins exclude ours, so it lives in an environment of its own: `LOGLORE_VLLM` names its `vllm` command, or it is
found on the path. Neither has been run on a GPU where this was built: the transformers engine was run on a CPU, vLLM's
command line was only checked by tests.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from loglore.errors import InputError, JobError
from loglore.export.tool import last_error
from loglore.runs import files
from loglore.serve.engine import DEFAULT_CONTEXT, Session, new_log, stop
from loglore.settings import load

EngineKind = Literal["llama.cpp", "vllm", "transformers"]
START_TIMEOUT_S = 900.0
POLL_S = 0.1


def choose(path: Path, wanted: EngineKind | None = None, has_gpu: bool | None = None) -> EngineKind:
    """The engine for a model: what the user wants, else by the file and the hardware.

    A GGUF file is llama.cpp's. A folder is vLLM's where there is a GPU and vLLM, transformers' where there is a GPU
    without vLLM, and else converted for llama.cpp.

    Args:
        path: GGUF file or Hugging Face folder.
        wanted: the user's choice.
        has_gpu: whether there is an NVIDIA GPU; None looks.

    Raises:
        InputError: the wish cannot be met.
    """
    is_gguf = path.is_file() or any(path.glob("*.gguf"))
    if wanted is not None:
        if is_gguf and wanted != "llama.cpp":
            raise InputError(f"engine {wanted}: {path} is a GGUF file, which only llama.cpp serves here")
        if wanted == "vllm":
            vllm_command()
        return wanted
    if is_gguf or not (Path("/dev/nvidiactl").exists() if has_gpu is None else has_gpu):
        return "llama.cpp"
    return "vllm" if _found_vllm() else "transformers"


def vllm_command() -> str:
    """The `vllm` executable.

    Raises:
        InputError: there is none.
    """
    if found := _found_vllm():
        return found
    raise InputError("engine vllm: no `vllm` command; install it in an environment of its own and set LOGLORE_VLLM")


def arguments(
    kind: EngineKind, folder: Path, model_id: str, port: int, context: int, parallel: int, adapters: Mapping[str, Path]
) -> list[str]:
    """The command that serves `folder` on loopback at `port`.

    Raises:
        InputError: adapters for an engine that cannot switch them.
    """
    if kind == "vllm":
        command = [vllm_command(), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--served-model-name", model_id, "--max-model-len", str(context)]
        command += ["--max-num-seqs", str(parallel), "--enable-prefix-caching"]
        if adapters:
            ranks = [int(files.read_json(path / "adapter_config.json")["r"]) for path in adapters.values()]
            command += ["--enable-lora", "--max-lora-rank", str(_vllm_rank(max(ranks)))]
            command += ["--lora-modules", *(f"{name}={path}" for name, path in adapters.items())]
        return command
    if adapters:
        raise InputError("engine transformers: it cannot switch adapters per request; use llama.cpp or vllm, or merge")
    script = Path(sys.executable).with_name("transformers")
    command = [str(script), "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--continuous-batching", "--log-level", "warning"]


@contextlib.contextmanager
def running(
    kind: EngineKind,
    folder: Path,
    model_id: str,
    *,
    context: int | None = None,
    parallel: int = 16,
    adapters: Mapping[str, Path] | None = None,
    extra: Sequence[str] = (),
) -> Iterator[Session]:
    """Start a foreign engine for a Hugging Face folder, yield its session when it answers, stop it at the end.

    Args:
        kind: `vllm` or `transformers`.
        folder: the model.
        model_id: name offered to clients.
        context: tokens of one conversation; None as `engine.running`.
        parallel: conversations at the same time.
        adapters: PEFT folders by model id (vLLM only).
        extra: more arguments for the command.

    Raises:
        InputError: no such folder, a context beyond training, or adapters it cannot switch.
        JobError: it did not start.
    """
    if kind == "transformers" and context is not None:
        raise InputError("engine transformers: its server takes no --context; it serves what the model was trained for")
    context = _context(folder, context)
    adapters = adapters or {}
    port = _free_port()
    command = [*arguments(kind, folder, model_id, port, context, parallel, adapters), *extra]
    log = new_log()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "loglore.serve.keeper", str(os.getpid()), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
        )
    upstream = model_id if kind == "vllm" else str(folder)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(f"{address}/health", process, log)
        yield Session(f"{address}/v1", model_id, context, process.pid, log, process, tuple(adapters), kind, upstream)
    finally:
        stop(process)


def _context(folder: Path, context: int | None) -> int:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: no config.json; expected a Hugging Face model folder")
    trained = int(files.read_json(folder / "config.json")["max_position_embeddings"])
    if context is not None and not 1 <= context <= trained:
        raise InputError(f"context {context}: {folder.name} was trained for 1 to {trained} tokens")
    return context or min(trained, DEFAULT_CONTEXT)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    # Not through the proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise JobError(f"the engine could not start: {last_error(log)}; see {log}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            opener.open(url, timeout=5).close()
            return
        time.sleep(POLL_S)
    raise JobError(f"the engine did not answer within {START_TIMEOUT_S:.0f} s; see {log}")


def _found_vllm() -> str | None:
    return shutil.which(load().vllm)


def _vllm_rank(rank: int) -> int:
    """The smallest rank vLLM can be told that holds `rank`."""
    return next((each for each in (8, 16, 32, 64, 128, 256, 320, 512) if each >= rank), rank)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
