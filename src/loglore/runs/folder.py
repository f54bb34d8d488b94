"""The run folder handed to every job as its `context`.

While a job runs, these files are the truth about it; anything that indexes them can be rebuilt from them.
"""

import contextlib
import datetime
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loglore.runs import files
from loglore.runs.progress import Tick, track


class RunFolder:
    """One job's folder. Opening an unfinished one continues it: logs keep their whole lines, outputs their place.

    Attributes:
        path: the folder.
        spec: the job's spec as plain JSON.
    """

    def __init__(self, path: Path, spec: Mapping[str, Any]) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.spec = dict(spec)
        for name in ("events.jsonl", "metrics.jsonl", "system.jsonl"):
            files.repair_jsonl_log(path / name)
        files.write_json(path / "spec.json", self.spec)

    def event(self, event: str, **fields: Any) -> None:
        """Append to `events.jsonl` with the time in UTC."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        files.append_jsonl(self.path / "events.jsonl", {"time": now, "event": event, **fields})

    def metric(self, step: int, **values: float) -> None:
        """Append one row of numbers at `step` to `metrics.jsonl`."""
        files.append_jsonl(self.path / "metrics.jsonl", {"step": step, **values})

    def metrics(self) -> list[dict[str, Any]]:
        """All rows of `metrics.jsonl` so far."""
        return files.read_jsonl_log(self.path / "metrics.jsonl")

    def rewind_metrics(self, step: int) -> None:
        """Drop metrics later than `step`: a resumed job writes them again, once."""
        files.write_jsonl(self.path / "metrics.jsonl", [row for row in self.metrics() if row["step"] <= step])

    @contextlib.contextmanager
    def progress(self, label: str, total: float, unit: str, done: float = 0) -> Iterator[Tick]:
        """Show progress with rate and ETA and record start and end as events, with the seconds taken."""
        self.event("started", what=label, total=total, unit=unit, done=done)
        start = time.monotonic()
        with track(label, total, unit, done) as tick:
            yield tick
        self.event("finished", what=label, seconds=round(time.monotonic() - start, 3))

    def bring_together(self, folder: Path) -> None:
        """Called by all processes that have written parts of `folder`: they are together already, where all see it."""

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write `report.json`, which marks the job as done."""
        files.write_json(self.path / "report.json", report)

    def report(self) -> dict[str, Any] | None:
        """The report of a finished job, or None."""
        path = self.path / "report.json"
        return files.read_json(path) if path.exists() else None
