"""Training as a process that is killed runs it: a module of its own, for processes that import it by name."""

import json
import os
from pathlib import Path

from loglore.runs.folder import RunFolder
from loglore.train.job import TrainSpec, run


def train(folder: Path, asked: str) -> None:
    """Train as the JSON of a spec says, with a checkpoint after every step."""
    os.environ["LOGLORE_CHECKPOINT_SECONDS"] = "0"
    run(TrainSpec.parse(json.loads(asked), "test"), RunFolder(folder, {}))
