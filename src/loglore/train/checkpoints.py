"""Checkpoints that survive `kill -9` and damage: written beside their place, synced, then renamed to `step-N`.

The rename is the completion mark: a folder named `step-N` was whole when it was written, anything else is a torn write
and is removed. Size and checksum of every file stand in its `files.json`; a folder that no longer matches them (a bad
disk, a file lost in a copy) is set aside as `damaged-step-N`, and the run goes on from the one before. So two are kept.
`resume_from_checkpoint` of the hyperparameters names a starting point from outside; this recovery is the run's own and
always on.
"""

import re
import shutil
import zlib
from pathlib import Path

from loglore.runs import files

NAME = re.compile(r"step-(\d+)")
DAMAGED = "damaged-"
MARKS = "files.json"
KEPT = 2  # the newest, and the one before in case the newest is damaged
BLOCK = 1 << 22


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


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None: a file that is missing, or whose content is not what was written."""
    marks = checkpoint / MARKS
    if not marks.is_file():
        return f"{MARKS} is missing"
    try:
        expected: dict[str, list[int]] = files.read_json(marks)
    except ValueError as fault:
        return str(fault)
    for name, mark in expected.items():
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if _mark(checkpoint / name) != mark:
            return f"{name} does not match its checksum"
    return None


def newest_sound(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is not damaged, or None; damaged ones are renamed, and a line says what was wrong."""
    found: list[str] = []
    for checkpoint in reversed(complete(folder)):
        fault = damage(checkpoint)
        if fault is None:
            return checkpoint, found
        found.append(f"{checkpoint.name}: {fault}")
        aside = checkpoint.with_name(DAMAGED + checkpoint.name)
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.replace(aside)
    return None, found


def remove_torn(folder: Path) -> None:
    """Remove what a killed writer left half-written."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()
            elif not NAME.fullmatch(path.name) and not path.name.startswith(DAMAGED):
                shutil.rmtree(path)


def publish(written: Path, step: int, keep: int) -> Path:
    """Make the folder `written` the checkpoint of `step`, durably, and remove all but the newest `keep`.

    Nothing whole is removed before the new one is in its place, not even an earlier one of the same step.
    """
    marks = {file.relative_to(written).as_posix(): _mark(file) for file in _files(written)}
    files.write_json(written / MARKS, marks)
    files.sync_folder(written)
    place = written.parent / f"step-{step}"
    doomed = [place.replace(_aside(place))] if place.exists() else []
    written.replace(place)
    files.sync_folder(written.parent)
    # Renamed first: a removal that is killed halfway must not look like a checkpoint.
    doomed += [old.replace(_aside(old)) for old in complete(written.parent)[:-keep]]
    for old in doomed:
        shutil.rmtree(old)
    return place


def _aside(checkpoint: Path) -> Path:
    """The name of a checkpoint that is about to be removed."""
    place = checkpoint.with_name(f"removing-{checkpoint.name}")
    shutil.rmtree(place, ignore_errors=True)
    return place


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARKS)


def _mark(path: Path) -> list[int]:
    """Size in bytes and CRC-32 of a file."""
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            value = zlib.crc32(block, value)
    return [path.stat().st_size, value]
