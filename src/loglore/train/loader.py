"""How long training waits for its next rows: time spent in the dataset and the collator, which run between two steps.

Rows are packed and tokenized before the first step, so reading one is a slice of a mapped file. The claim is that this
takes under 1 % of a step; every report says what it took.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Waited:
    """Seconds that the loop waited for rows in this process, and how many rows it got."""

    seconds: float = 0.0
    rows: int = 0

    def report(self, metrics: Sequence[Mapping[str, Any]], done: int) -> dict[str, float | None]:
        """`seconds`, `rows`, and `share` of the time of the steps after step `done`; None without such a step."""
        steps = sum(row["seconds"] for row in metrics if "loss" in row and row["step"] > done)
        return {"seconds": self.seconds, "rows": self.rows, "share": self.seconds / steps if steps else None}


class TimedRows:
    """A map-style dataset whose reading is timed."""

    def __init__(self, rows: Any, waited: Waited) -> None:
        self.rows, self.waited = rows, waited

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Any:
        start = time.perf_counter()
        row = self.rows[number]
        self.waited.seconds += time.perf_counter() - start
        self.waited.rows += 1
        return row


def watch(loop: Any) -> Waited:
    """Time the rows that a `PackedTrainer` reads from now on."""
    waited = Waited()
    loop.train_dataset = TimedRows(loop.train_dataset, waited)
    loop.data_collator = _timed(loop.data_collator, waited)
    return waited


def _timed(collate: Callable[[Any], Any], waited: Waited) -> Callable[[Any], Any]:
    def timed(rows: Any) -> Any:
        start = time.perf_counter()
        batch = collate(rows)
        waited.seconds += time.perf_counter() - start
        return batch

    return timed
