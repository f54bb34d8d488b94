"""From what a user calls a model to a running session.

A Hugging Face folder is converted to GGUF once and kept under the data folder by the fingerprint of its content, so the
second start of the same model takes a second. So is a LoRA adapter.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from loglore.export import gguf, lora
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


def adapter_gguf(adapter: Path, model: str) -> Path:
    """A LoRA adapter of MODEL as GGUF: the file itself, or a PEFT folder converted now or earlier.

    Raises:
        InputError: neither a GGUF file nor a PEFT adapter folder.
        JobError: it cannot be converted.
    """
    if adapter.is_file():
        return adapter
    base = models.resolve(model)
    key = fingerprint.of_path(adapter)[:32] if adapter.is_dir() else "missing"
    kept = load().home / "gguf" / f"{key}-lora.gguf"
    if not kept.exists():
        lora.convert(adapter, base, kept, kept.with_suffix(".log"))
    return kept


def model_id(model: str) -> str:
    """The name that clients ask for: the hub's name as given, or the last part of a path without `.gguf`."""
    path = Path(model)
    return path.resolve().name.removesuffix(".gguf") if path.exists() else model


@contextlib.contextmanager
def session(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    context: int | None = None,
    parallel: int = 1,
    adapters: Mapping[str, Path] | None = None,
    name: str | None = None,
) -> Iterator[Session]:
    """A running session of MODEL, called `name` or as the user calls it.

    Other arguments and errors as `engine.running`; adapters may be PEFT folders, too.
    """
    files = {name: adapter_gguf(path, model) for name, path in (adapters or {}).items()}
    with running(
        as_gguf(model),
        model_id=name or model_id(model),
        host=host,
        port=port,
        context=context,
        parallel=parallel,
        adapters=files,
    ) as started:
        yield started
