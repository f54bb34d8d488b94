"""Progress of long work with rate and ETA: a live bar on a terminal, one plain line every ten seconds elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

PLAIN_INTERVAL_S = 10.0


class Tick(Protocol):
    """Call with the amount done since the last call, and optionally a short note to show beside the bar."""

    def __call__(self, amount: float = 1, note: str = "") -> None:
        """Count `amount` units as done and show `note`."""


@contextlib.contextmanager
def track(label: str, total: float, unit: str, done: float = 0) -> Iterator[Tick]:
    """Show progress of `total` units on stderr; `done` of them were finished earlier (a resumed job)."""
    if sys.stderr.isatty():
        with _bar(label, total, unit, done) as tick:
            yield tick
    else:
        yield _plain(label, total, unit, done)


@contextlib.contextmanager
def _bar(label: str, total: float, unit: str, done: float) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, completed=int(done), note="", rate="")
        finished = 0.0

        def tick(amount: float = 1, note: str = "") -> None:
            nonlocal finished
            finished += amount
            rate = f"{finished / max(time.monotonic() - start, 1e-9):,.1f} {unit}/s"
            progress.update(task, advance=amount, note=note, rate=rate)

        yield tick


def _plain(label: str, total: float, unit: str, done: float) -> Tick:
    start = shown = time.monotonic()
    finished = 0.0

    def tick(amount: float = 1, note: str = "") -> None:
        nonlocal finished, shown
        finished += amount
        now = time.monotonic()
        over = done + finished >= total
        if (now - shown < PLAIN_INTERVAL_S and not over) or (over and now - start < PLAIN_INTERVAL_S):
            return
        shown = now
        rate = finished / max(now - start, 1e-9)
        left = max(total - done - finished, 0) / rate if rate else 0
        text = f"{label}: {done + finished:,.0f}/{total:,.0f} {unit}, {rate:,.1f} {unit}/s, {left:.0f} s left {note}"
        print(text.rstrip(), file=sys.stderr, flush=True)

    return tick


@contextlib.contextmanager
def indexing_bar() -> Iterator[Callable[[float, float], None]]:
    """Progress of reading a log, in megabytes; the bar opens at the first report, which has the total."""
    with contextlib.ExitStack() as stack:
        tick: Tick | None = None
        before = 0.0

        def report(done: float, total: float) -> None:
            nonlocal tick, before
            if tick is None:
                tick = stack.enter_context(track("Index the log", total / 1e6, "MB"))
            tick((done - before) / 1e6)
            before = done

        yield report
