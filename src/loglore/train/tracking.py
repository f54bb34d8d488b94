"""A run's numbers in MLflow, TensorBoard or Weights & Biases as well, when the spec asks for it (`report_to`).

The run folder stays the truth. A tracker that fails (no network, a full disk, an expired key) is dropped with an event;
training goes on.
"""

import importlib
import os
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from loglore.runs.folder import RunFolder
from loglore.train.trackers import Tracker


class Tracking(TrainerCallback):  # type: ignore[misc]
    """Hands a Trainer's events to transformers' callback for one tracker, and survives it."""

    def __init__(self, name: Tracker, context: RunFolder) -> None:
        self.name, self.context = name, context
        self.inner: Any = None
        self.failed = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Start the tracker; its files go to the run folder unless the environment names another place."""
        self._guarded(self._start)
        self._pass("on_train_begin", args, state, control, others)

    def on_log(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Hand on a step's numbers."""
        self._pass("on_log", args, state, control, others)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """End the tracker."""
        self._pass("on_train_end", args, state, control, others)
        if self.name == "wandb":
            # transformers leaves the run open: a second training of this process would write into it.
            self._guarded(_end_wandb)

    def _start(self) -> None:
        from transformers import integrations

        if self.name == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(str(self.context.path / "tensorboard"))
            self.inner = integrations.TensorBoardCallback(writer)
        elif self.name == "mlflow":
            # MLflow 3 refuses to write its older form, a folder of files.
            os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{(self.context.path / 'mlflow.db').absolute()}")
            self.inner = integrations.MLflowCallback()
        else:
            os.environ.setdefault("WANDB_DIR", str(self.context.path))
            self.inner = integrations.WandbCallback()

    def _pass(self, event: str, args: Any, state: Any, control: Any, others: dict[str, Any]) -> None:
        if self.inner is not None:
            self._guarded(lambda: getattr(self.inner, event)(args, state, control, **others))

    def _guarded(self, work: Callable[[], Any]) -> None:
        if self.failed:
            return
        try:
            work()
        except Exception as fault:  # whatever a tracker raises, training does not end by it
            self.failed, self.inner = True, None
            self.context.event("tracking failed", tracker=self.name, fault=f"{type(fault).__name__}: {fault}")


def _end_wandb() -> None:
    importlib.import_module("wandb").finish()
