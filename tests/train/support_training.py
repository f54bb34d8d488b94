"""Training as a process that is killed runs it: a module of its own, for processes that import it by name."""

import json
import os
import signal
from pathlib import Path

from loglore.runs.folder import RunFolder
from loglore.train import checkpoints
from loglore.train.job import TrainSpec, run


def train(folder: Path, asked: str, dies_at: int = 0) -> None:
    """Train as the JSON of a spec says, with a checkpoint after every step; killed in that of step `dies_at`."""
    os.environ["LOGLORE_CHECKPOINT_SECONDS"] = "0"
    publish = checkpoints.publish

    def dying(written: Path, step: int, keep: int) -> Path:
        if step == dies_at:
            # As if the last of its files were still being written.
            last = max(file for file in written.rglob("*") if file.stat().st_size > 1)
            os.truncate(last, last.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return publish(written, step, keep)

    checkpoints.publish = dying
    run(TrainSpec.parse(json.loads(asked), "test"), RunFolder(folder, {}))
