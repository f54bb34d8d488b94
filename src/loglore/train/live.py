"""Training as one watches it in a terminal: progress with ETA, loss as a sparkline, and the numbers of the last step.

    train sft ━━━━━━━━━━╸━━━━━━━━━━ 24,576/49,828 tokens, 2:04 left
    step 12  loss 1.0312 ▇▆▅▅▃▃▂▁  evaluation 1.1020
    learning rate 4.2e-05  gradient norm 0.913  203 tokens/s  MFU 41.0 %  memory 6.21 GB

It shows what `metrics.jsonl` holds, so it is the same for one process and for the parent of several. Where standard
error is no terminal, the plain lines of `runs.progress` take its place.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from loglore.runs.folder import RunFolder
from loglore.runs.progress import Tick
from loglore.train.throughput import sparkline

if TYPE_CHECKING:
    from rich.console import Group

REDRAWN_PER_S = 4
# Of the last step: key of a row of metrics, and how it is shown.
NUMBERS = (
    ("learning_rate", "learning rate {:.2g}"),
    ("grad_norm", "gradient norm {:.3f}"),
    ("tokens_per_second", "{:,.0f} tokens/s"),
    ("mfu", "MFU {:.1%}"),
    ("fill", "fill {:.1%}"),
)


@contextlib.contextmanager
def watched(context: RunFolder, label: str, total: float, done: float) -> Iterator[Tick]:
    """Progress of `total` tokens, of which an earlier start trained `done`; see `RunFolder.progress`."""
    if not sys.stderr.isatty():
        with context.progress(label, total, "tokens", done) as tick:
            yield tick
        return
    from rich.console import Console
    from rich.live import Live

    start, finished = time.monotonic(), 0.0
    context.event("started", what=label, total=total, unit="tokens", done=done)
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=REDRAWN_PER_S, transient=False) as shown:

        def tick(amount: float = 1, note: str = "") -> None:
            nonlocal finished
            finished += amount
            rate = finished / max(time.monotonic() - start, 1e-9)
            left = max(total - done - finished, 0) / rate if rate else None
            shown.update(panel(label, context.metrics(), total, done + finished, left))

        shown.update(panel(label, context.metrics(), total, done, None))
        yield tick
    context.event("finished", what=label, seconds=round(time.monotonic() - start, 3))


def panel(label: str, rows: Sequence[Mapping[str, Any]], total: float, done: float, left: float | None) -> "Group":
    """What is drawn.

    Args:
        label: what is trained.
        rows: of `metrics.jsonl`.
        total: tokens of the whole run.
        done: tokens so far.
        left: seconds to the end; None while unknown.
    """
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    bar = Table.grid(padding=(0, 1))
    ending = "" if left is None else f", {_clock(left)} left"
    bar.add_row(label, ProgressBar(total, done, width=30), f"{done:,.0f}/{total:,.0f} tokens{ending}")
    return Group(bar, *(Text(line) for line in _lines(rows)))


def _lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    steps = [row for row in rows if "loss" in row]
    if not steps:
        return []
    last = steps[-1]
    evaluated = [row["eval_loss"] for row in rows if "eval_loss" in row]
    loss = f"step {last['step']}  loss {last['loss']:.4f} {sparkline([row['loss'] for row in steps])}"
    numbers = [text.format(last[key]) for key, text in NUMBERS if last.get(key) is not None]
    if last.get("memory_bytes"):
        numbers.append(f"memory {last['memory_bytes'] / 1e9:.2f} GB")
    return [loss + (f"  evaluation {evaluated[-1]:.4f}" if evaluated else ""), "  ".join(numbers)]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
