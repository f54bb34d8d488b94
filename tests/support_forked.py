"""Processes to be killed that start at once: forked from one that has imported what training imports, and no more."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
# Nothing is computed there: a fork of a process whose backward pass has run could not run one.
FORKS.set_forkserver_preload(["loglore.train.trainer", "loglore.train.saving", "loglore.train.preference"])


def forked(target: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Start `target(*arguments)`, a function of a module on the path, in a process of its own."""
    process = FORKS.Process(target=target, args=arguments)
    # A new process runs this one's `__main__` first, and Streamlit's AppTest leaves a page's script as that.
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main
    return process


def run_recipe(recipe: Path, out: Path, home: Path) -> None:
    """What `loglore run RECIPE --out OUT` does, with the data folder `home`; to be forked."""
    from loglore.jobs import recipes, runner

    os.environ["LOGLORE_HOME"] = str(home)
    runner.run(recipes.load(recipe), out, lambda text: None)
