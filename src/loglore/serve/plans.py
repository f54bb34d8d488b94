"""From what a user asks to be served to a session's plan: model, adapters, engine, context."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loglore.errors import InputError
from loglore.hub import models
from loglore.serve import external
from loglore.serve.engine import Session
from loglore.serve.external import EngineKind
from loglore.serve.sessions import adapter_gguf, as_gguf, model_id
from loglore.serve.sessions import session as llama_session
from loglore.serve.supervised import Limits, Plan

if TYPE_CHECKING:
    from loglore.cluster.serving import Place


def plan(
    model: str,
    *,
    name: str | None = None,
    adapters: Mapping[str, Path] | None = None,
    engine: EngineKind | None = None,
    context: int | None = None,
    parallel: int = 1,
    queue: int = 64,
    limits: Limits | None = None,
    keep_history: bool = True,
    replicas: int = 1,
    place: "Place | None" = None,
) -> Plan:
    """A plan for a session of MODEL; conversions are done here, before anything is started.

    Args:
        model: path, hub name or `name@version`.
        name: model id for clients; by default the model's name.
        adapters: LoRA adapters (PEFT folders, or GGUF files for llama.cpp) by the model id that turns each on.
        engine: kind of engine; None chooses by file and hardware.
        context: tokens of one conversation; None is what the model was trained for, 8,192 at most.
        parallel: conversations answered at the same time.
        queue: requests that may wait.
        limits: when the session ends by itself; None never.
        keep_history: whether completions are kept.
        replicas: engines, each with `parallel` seats; a follow-up goes to the one that has its log.
        place: a cluster for them; None for this machine.

    Raises:
        InputError: no such model, adapter or engine, or none that a cluster's nodes run. JobError: it cannot be
            converted.
    """
    adapters = dict(adapters or {})
    if parallel < 1 or queue < 0:
        raise InputError(f"parallel {parallel}, queue {queue}: expected 1 or more, 0 or more")
    if place is not None and engine not in (None, "llama.cpp"):
        raise InputError(f"engine {engine}: on a cluster's nodes only llama.cpp is started; leave --engine out")
    kind = external.choose(models.resolve(model), engine if place is None else "llama.cpp")
    base = name or model_id(model)
    ids = (base, *adapters)

    def start() -> contextlib.AbstractContextManager[Session]:
        if place is not None:
            from loglore.cluster import serving

            loras = {each: adapter_gguf(path, model) for each, path in adapters.items()}
            wish: dict[str, Any] = {"model_id": base, "context": context, "parallel": parallel, "adapters": loras}
            return serving.running(place, as_gguf(model), **wish, replicas=replicas)
        if kind != "llama.cpp":
            folder = models.resolve(model)
            return external.running(kind, folder, base, context=context, parallel=parallel, adapters=adapters)
        return llama_session(model, name=base, context=context, parallel=parallel, adapters=adapters)

    if kind == "llama.cpp":
        as_gguf(model)
        for path in adapters.values():
            adapter_gguf(path, model)
    return Plan(ids, kind, start, parallel, queue, limits or Limits(), keep_history, replicas)
