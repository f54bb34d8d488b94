"""Reasons to stop: SIGTERM (save and end), and runs that cannot end well (NaN, divergence, nothing trained)."""

import contextlib
import math
import signal
import threading
from collections.abc import Iterator
from typing import Any

from loglore.errors import JobError

WINDOW = 10  # steps that are averaged
DIVERGED = 2.0  # times the best average so far
NO_GRADIENT = 10  # steps in a row

_ASKED = threading.Event()


class StoppedError(JobError):
    """The run was told to stop and left a checkpoint; the same command goes on from there."""


def asked() -> bool:
    """Whether this process has received SIGTERM, or was asked to stop, since `listening` began."""
    return _ASKED.is_set()


def ask() -> None:
    """Ask the run of this process to save and end, as SIGTERM does; no signal reaches one that works in a thread."""
    _ASKED.set()


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Take SIGTERM as a wish to save and end; outside the main thread (a notebook's worker) it is left as it is."""
    _ASKED.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: _ASKED.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Watch:
    """Looks at every step's loss and gradient norm; `see` raises when going on would waste time.

    - loss or gradient that is not a number (under fp16 a gradient may overflow: the scaler skips that step)
    - divergence: the mean loss of the last 10 steps is twice the lowest such mean, and above the first one
    - nothing trained: no gradient at all in 10 steps in a row, or in all steps of a shorter run
    """

    def __init__(self, fp16: bool = False) -> None:
        self.fp16 = fp16
        self.losses: list[float] = []
        self.best = self.first = math.inf
        self.still = 0
        self.steps = 0

    def see(self, step: int, values: dict[str, Any]) -> None:
        """Take one step's `loss` and `grad_norm`.

        Raises:
            JobError: names the step and what to change.
        """
        loss, norm = values["loss"], values["grad_norm"]
        if not math.isfinite(loss) or not (math.isfinite(norm) or self.fp16):
            what = "loss" if not math.isfinite(loss) else "gradient norm"
            raise JobError(
                f"{what} became {loss if what == 'loss' else norm} at step {step}: lower `learning_rate`, set "
                "`max_grad_norm`, or look at the rows of that step; the last checkpoint is from before"
            )
        self.steps += 1
        self.still = self.still + 1 if norm == 0 else 0
        if self.still >= NO_GRADIENT:
            self._nothing_trained()
        self.losses = [*self.losses[-WINDOW + 1 :], loss]
        if len(self.losses) == WINDOW:
            self._divergence(step, sum(self.losses) / WINDOW)

    def end(self) -> None:
        """Look back at a whole run.

        Raises:
            JobError: no step had a gradient.
        """
        if self.steps and self.still == self.steps:
            self._nothing_trained()

    def _divergence(self, step: int, mean: float) -> None:
        self.first = min(self.first, mean) if self.first is math.inf else self.first
        self.best = min(self.best, mean)
        if mean > DIVERGED * self.best and mean > self.first:
            raise JobError(
                f"training diverges: mean loss {mean:.3g} over the {WINDOW} steps up to {step}, {self.best:.3g} at "
                "best before; lower `learning_rate` or lengthen the warm-up"
            )

    def _nothing_trained(self) -> None:
        raise JobError(
            f"nothing was trained: the gradient was 0 in {self.still} steps in a row; is every label masked, or every "
            "weight frozen?"
        )
