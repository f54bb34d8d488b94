"""Checkpoints that survive `kill -9`: written beside their place, synced, then renamed to `step-N`.

The rename is the completion mark: a folder named `step-N` is whole, anything else is a torn write and is removed.
A run goes on from the newest one. `resume_from_checkpoint` of the hyperparameters names a starting point from outside;
this recovery is the run's own and always on.
"""

import re
import shutil
from pathlib import Path

from loglore.runs.files import sync_folder

NAME = re.compile(r"step-(\d+)")


def complete(folder: Path) -> list[Path]:
    """Whole checkpoints in `folder`, oldest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def step_of(checkpoint: Path) -> int:
    """The optimizer step at which a checkpoint was written."""
    match = NAME.fullmatch(checkpoint.name)
    if not match:
        raise ValueError(f"{checkpoint}: expected a folder named step-N")
    return int(match[1])


def remove_torn(folder: Path) -> None:
    """Remove what a killed writer left half-written."""
    if folder.is_dir():
        for path in folder.iterdir():
            if not NAME.fullmatch(path.name):
                shutil.rmtree(path)


def publish(written: Path, step: int, keep: int) -> Path:
    """Make the folder `written` the checkpoint of `step`, durably, and remove all but the newest `keep`."""
    sync_folder(written)
    place = written.parent / f"step-{step}"
    if place.exists():
        shutil.rmtree(place)
    written.replace(place)
    sync_folder(written.parent)
    for old in complete(written.parent)[:-keep]:
        # Renamed first: a removal that is killed halfway must not look like a checkpoint.
        doomed = old.with_name(f"removing-{old.name}")
        old.replace(doomed)
        shutil.rmtree(doomed)
    return place
