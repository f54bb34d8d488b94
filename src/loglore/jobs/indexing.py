"""The files of a run folder as events and dollars of its job: read from where the last look ended, never twice.

`events.jsonl` only grows. `metrics.jsonl` is cut back when a job goes on from a checkpoint, and then has the same steps
again: a row that is no later than the last one seen is left out. `paid.jsonl` has a row for each answer of an endpoint
that cost something. A run folder that was begun anew is read anew.
"""

import contextlib
import datetime
import json
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loglore.endpoint.runner import PAID
from loglore.store.events import Happening

BLOCK = 1 << 20
WARNINGS = ("checkpoint damaged",)
Marks = Mapping[str, Any]


@dataclass(frozen=True)
class Look:
    """What is new, how far was read, whether there is more to read, and dollars that were paid to endpoints."""

    happenings: list[Happening]
    marks: dict[str, Any]
    more: bool
    paid: float = 0.0


def look(folder: Path, marks: Marks) -> Look:
    """Read on in a run folder.

    Args:
        folder: the run folder; it may not exist yet.
        marks: those of the last look; empty at first.
    """
    events, metrics = folder / "events.jsonl", folder / "metrics.jsonl"
    begun = _first_line(events)
    if begun != marks.get("begun"):
        marks = {"begun": begun}
    rows, offset, more = _read(events, int(marks.get("events", 0)))
    found = [_event(row) for row in rows]
    told = dict(marks.get("metrics", {"offset": 0, "file": None, "step": -1, "seen": []}))
    if metrics.exists():
        state = metrics.stat()
        if state.st_ino != told["file"] or state.st_size < told["offset"]:
            told |= {"offset": 0, "file": state.st_ino}
        rows, told["offset"], longer = _read(metrics, told["offset"])
        more = more or longer
        found += [_metrics(row) for row in rows if _is_new(row, told)]
    bills, spent, longer = _read(folder / PAID, int(marks.get("paid", 0)))
    paid = sum(float(row["dollars"]) for row in bills)
    return Look(found, {"begun": begun, "events": offset, "metrics": told, "paid": spent}, more or longer, paid)


def _is_new(row: dict[str, Any], told: dict[str, Any]) -> bool:
    """Whether a row is later than those seen, or another row of the last step; remembers it."""
    step, names = row["step"], ",".join(sorted(row))
    if step < told["step"] or (step == told["step"] and names in told["seen"]):
        return False
    told["seen"] = [*told["seen"], names] if step == told["step"] else [names]
    told["step"] = step
    return True


def _first_line(path: Path) -> int | None:
    """A checksum of the first line, which has the time in it; None before there is one."""
    if not path.exists():
        return None
    with path.open("rb") as stream:
        line = stream.readline()
    return zlib.crc32(line) if line.endswith(b"\n") else None


def _read(path: Path, offset: int) -> tuple[list[dict[str, Any]], int, bool]:
    """Whole lines from `offset` on, at most a block of them; the new offset; whether there is more."""
    if not path.exists():
        return [], offset, False
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(BLOCK)
        more = len(data) == BLOCK
    end = data.rfind(b"\n") + 1
    return list(_rows(data[:end])), offset + end, more and end > 0


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    """The rows of whole lines; one that a failing disk spoiled must not stop a worker, and is left out."""
    for line in data.splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)


def _event(row: dict[str, Any]) -> Happening:
    name = str(row.get("event", "event"))
    facts = {key: value for key, value in row.items() if key not in ("time", "event")}
    told = ", ".join(f"{key} {value}" for key, value in facts.items() if not isinstance(value, (dict, list)))
    when = datetime.datetime.fromisoformat(row["time"]).timestamp()
    level: Any = "warn" if name in WARNINGS else "info"
    return Happening(when, f"{name}: {told}" if told else name, level, data={"event": name, **facts})


def _metrics(row: dict[str, Any]) -> Happening:
    values = [f"{key} {row[key]:.4g}" for key in ("loss", "eval_loss", "learning_rate") if key in row]
    message = f"step {row['step']}" + (": " + ", ".join(values) if values else "")
    return Happening(time.time(), message, type="metrics", data=row)
