"""What all nodes do together by Ray Data: checking and packing (verbs, not jobs of a recipe), and large syntheses."""

from collections.abc import Callable
from typing import Any

from loglore.cluster import checking, packing, writing
from loglore.jobs import kinds
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec

Work = Callable[[Any, RunFolder], dict[str, Any]]

VERBS: dict[str, tuple[type[Spec], Work]] = {
    "check": (checking.CheckSpec, checking.run),
    "pack": (packing.PackSpec, packing.run),
}


def spec_class(kind: str) -> type[Spec]:
    """The spec of a verb, or of a kind of job."""
    return VERBS[kind][0] if kind in VERBS else kinds.spec_class(kind, kind)


def work_of(kind: str, spec: Any) -> Work | None:
    """What does it on all nodes; None where one process does it (or, for training, Ray Train's workers)."""
    if kind in VERBS:
        return VERBS[kind][1]
    large: dict[str, Work] = {"synth": writing.synth, "nlplog": writing.of_events}
    return large[kind] if kind in large and writing.is_large(kind, spec) else None
