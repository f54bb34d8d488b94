"""The kinds of jobs: for each name the spec it takes and the plain function that does it.

Functions are imported when they run: reading a recipe needs no torch.
"""

import importlib
from collections.abc import Callable
from typing import Any

from loglore.errors import InputError
from loglore.runs.folder import RunFolder
from loglore.runs.spec import Spec, unknown_key

# Of the shape of all specs: a job that a newer version queued is refused, not misread.
SPEC_VERSION = 1
JobFunction = Callable[[Any, RunFolder], dict[str, Any]]

# kind: (module, spec class). Every module has the function `run(spec, context)`.
KINDS = {
    "import": ("loglore.models.job", "ImportSpec"),
    "nlplog": ("loglore.synth.nlplog", "NlplogSpec"),
    "synth": ("loglore.synth.chat", "ChatSpec"),
    "prepare": ("loglore.train.prepare", "PrepareSpec"),
    "train": ("loglore.train.job", "TrainSpec"),
    "test": ("loglore.evaluate.test", "TestSpec"),
    "compare": ("loglore.evaluate.compare", "CompareSpec"),
    "export": ("loglore.export.job", "ExportSpec"),
    "ask": ("loglore.jobs.asking", "AskSpec"),
}


def spec_class(kind: str, where: str) -> type[Spec]:
    """The spec class of a kind; `where` starts the error message for an unknown one."""
    if kind not in KINDS:
        raise InputError(f"{where}: {unknown_key(kind, list(KINDS)).replace('key', 'kind', 1)}")
    module, name = KINDS[kind]
    found: type[Spec] = getattr(importlib.import_module(module), name)
    return found


def function(kind: str) -> JobFunction:
    """The function of a known kind."""
    found: JobFunction = importlib.import_module(KINDS[kind][0]).run
    return found
