"""Processes to be killed that start at once: forked from one that has imported what training imports, and no more."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
# Nothing is computed there: a fork of a process whose backward pass has run could not run one.
FORKS.set_forkserver_preload(["loglore.train.trainer", "loglore.train.saving", "loglore.train.preference"])


def forked(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start `target(*arguments)`, a function of a module on the path, in a process of its own."""
    process = FORKS.Process(target=target, args=arguments)
    process.start()
    return process
