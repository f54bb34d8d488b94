"""Which trackers a spec may name, and whether they are installed; `tracking` talks to them."""

import importlib.util
from collections.abc import Sequence
from typing import Literal

from loglore.errors import InputError

Tracker = Literal["mlflow", "tensorboard", "wandb"]


def check(names: Sequence[Tracker]) -> None:
    """Whether everything asked for is installed.

    Raises:
        InputError: names the package.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InputError(f"`report_to`: {name} is not installed; run: pip install {name}")
