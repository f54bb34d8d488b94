"""From what a user calls a model to a running session: `loglore serve MODEL`.

A Hugging Face folder is converted to GGUF once and kept under the data folder by the fingerprint of its content, so the
second start of the same model takes a second.
"""

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from loglore.export import gguf
from loglore.hub import models
from loglore.runs import fingerprint
from loglore.serve.engine import Session, running
from loglore.settings import load

SERVED_TYPE: gguf.GgufType = "q8_0"


def as_gguf(model: str) -> Path:
    """A GGUF file for MODEL (path, hub name or `name@version`): its own, or one converted now or earlier.

    Raises:
        InputError: no such model.
        JobError: it cannot be converted.
    """
    path = models.resolve(model)
    if path.is_file():
        return path
    if found := sorted(path.glob("*.gguf")):
        return found[0]
    key = fingerprint.of_path(path)[:32]
    kept = load().home / "gguf" / f"{key}-{SERVED_TYPE}.gguf"
    if not kept.exists():
        gguf.convert(path, kept, SERVED_TYPE, model_id(model), kept.with_suffix(".log"))
    return kept


def model_id(model: str) -> str:
    """The name that clients ask for: the hub's name as given, or the last part of a path without `.gguf`."""
    path = Path(model)
    return path.resolve().name.removesuffix(".gguf") if path.exists() else model


@contextlib.contextmanager
def session(
    model: str, *, host: str = "127.0.0.1", port: int = 0, context: int | None = None, parallel: int = 1
) -> Iterator[Session]:
    """A running session of MODEL; arguments and errors as `engine.running`."""
    with running(
        as_gguf(model), model_id=model_id(model), host=host, port=port, context=context, parallel=parallel
    ) as started:
        yield started


def serve(model: str, host: str = "127.0.0.1", port: int = 0, context: int | None = None, parallel: int = 1) -> None:
    """Serve MODEL in the foreground until Ctrl-C or SIGTERM; prints the URL and a sample call first.

    Raises:
        InputError: no such model, context beyond its training, port taken.
        JobError: the engine failed, at the start or later.
    """
    with _terminate_as_interrupt():
        try:
            with session(model, host=host, port=port, context=context, parallel=parallel) as started:
                print(_greeting(started), flush=True)
                started.wait()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)


def _greeting(started: Session) -> str:
    message = {"role": "user", "content": "What does EADDRINUSE mean?"}
    body = json.dumps({"model": started.model_id, "messages": [message]})
    return (
        f"{started.model_id} answers at {started.url}  ({started.context:,} tokens a conversation)\n"
        f"  log: {started.log}\n"
        f"  curl {started.url}/chat/completions -H 'Content-Type: application/json' -d '{body}'\n"
        f"  loglore chat --endpoint {started.url} LOG\n"
        "Ctrl-C stops it."
    )


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (systemd, docker stop) ends in the same clean-up as Ctrl-C."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
