"""Lines by level over time: counts in buckets of a width that a person would choose, as text or as a picture.

Events are counted (a traceback is one), since continuing lines have no level. Lines without a time are not in it; their
number is. Where a log has no year or no date, its times are shown without one.
"""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from loglore.errors import InputError
from loglore.logs.layouts import TWO_LINES
from loglore.logs.levels import LEVELS
from loglore.logs.table import LogTable
from loglore.logs.timestamps import DATED_FROM, UNKNOWN_YEAR, shown

if TYPE_CHECKING:
    from rich.table import Table

MOST_BUCKETS = 60
# Seconds of a bucket: parts and multiples that clocks show.
WIDTHS = (
    *(0.001 * step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500)),
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200),
    *(86400 * days for days in (1, 2, 7, 14, 28)),
)
DAY = 86400
NO_LEVEL = "none"
ORDER = (*reversed(LEVELS), NO_LEVEL)
COLOURS = {
    "fatal": "#7b1fa2",
    "error": "#c62828",
    "warning": "#ef9a00",
    "info": "#1e88e5",
    "debug": "#78909c",
    "trace": "#b0bec5",
    NO_LEVEL: "#9e9e9e",
}
_BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Histogram:
    """Counts of events by level and time.

    seconds: width of a bucket. starts: start of each bucket (UTC), consecutive, none left out. counts: for each level
    that occurs (`levels.LEVELS`, most severe first, then `none`) its events per bucket. untimed: events without a time.
    """

    seconds: float
    starts: list[datetime]
    counts: dict[str, list[int]]
    untimed: int

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record a bucket: `time` (ISO, UTC), and the count of each level."""
        return [
            {"time": start.isoformat() + "Z", **{level: counts[at] for level, counts in self.counts.items()}}
            for at, start in enumerate(self.starts)
        ]


def count(log: pl.DataFrame | LogTable, most: int = MOST_BUCKETS) -> Histogram:
    """Count the events of a log by level and time.

    Args:
        log: a log table in memory (columns `time`, `level`, `line`, `event`, `text`, `layout`), or one on disk, of
            which one shard at a time is read.
        most: buckets, at most; at least 1.

    Raises:
        InputError: no line has a time, or `most` is less than 1.
    """
    if most < 1:
        raise InputError(f"buckets: expected at least 1, found {most}")
    parts = [_events(part) for part in _parts(log)]
    micros = pl.col("time").dt.epoch("us")
    edges = (pl.len(), micros.count().alias("timed"), micros.min().alias("first"), micros.max().alias("last"))
    found = pl.concat([part.select(edges).collect() for part in parts])
    events, timed = int(found["len"].sum()), int(found["timed"].sum())
    if not timed:
        raise InputError(f"none of the {events:,} events has a time; nothing to draw over time")
    first, last = found.select(pl.col("first").min(), pl.col("last").max()).row(0)
    width = _width(first, last, most)
    start = first // width * width
    size = (last - start) // width + 1
    bucket = ((micros - start) // width).alias("bucket")
    counts = {level: [0] * size for level in ORDER}
    for part in parts:
        grouped = part.filter(pl.col("time").is_not_null()).group_by(bucket, pl.col("level").fill_null(NO_LEVEL)).len()
        for at, level, number in grouped.collect().iter_rows():
            counts[level][at] += number
    epoch = datetime(1970, 1, 1)
    return Histogram(
        seconds=width / 1e6,
        starts=[epoch + timedelta(microseconds=start + at * width) for at in range(size)],
        counts={level: numbers for level, numbers in counts.items() if any(numbers)},
        untimed=events - timed,
    )


def _parts(log: pl.DataFrame | LogTable) -> list[pl.LazyFrame]:
    if isinstance(log, pl.DataFrame):
        return [log.lazy()]
    return [log.frame(chosen=[shard]) for shard in log.manifest.shards]


def _events(rows: pl.LazyFrame) -> pl.LazyFrame:
    """One row an event: its first line; of a record of two lines the second, which says the level."""
    first, second = (pl.col("layout").eq_missing(pl.lit(name)) for name in TWO_LINES)
    heads = (pl.col("event") == pl.col("line")) & pl.col("text").str.contains(r"\S") & ~first
    return rows.filter(heads | (second & pl.col("level").is_not_null())).select("time", "level")


def _width(first: int, last: int, most: int) -> int:
    """Microseconds of the narrowest usual bucket of which `most` hold all times; multiples of four weeks beyond."""
    for seconds in WIDTHS:
        width = round(seconds * 1e6)
        if last // width - first // width < most:
            return width
    month = WIDTHS[-1] * 1_000_000
    times = (last - first) // (month * most) + 1
    while last // (month * times) - first // (month * times) >= most:
        times += 1
    return int(month * times)


def terminal(histogram: Histogram) -> "Table":
    """One row a level: its count and a bar of blocks over time, all levels on one scale."""
    from rich.table import Table

    shown = Table(box=None, padding=(0, 1))
    for name in ("level", "events"):
        shown.add_column(name, justify="right" if name == "events" else "left", no_wrap=True)
    shown.add_column(f"each column {_span(histogram.seconds)}", no_wrap=True)
    most = max(max(numbers) for numbers in histogram.counts.values())
    for level, numbers in histogram.counts.items():
        bar = "".join(_BLOCKS[-(-number * (len(_BLOCKS) - 1) // most)] for number in numbers)
        shown.add_row(level, f"{sum(numbers):,}", f"[{COLOURS[level]}]{bar}[/]")
    first, last = (_clock(histogram.starts[at], histogram.seconds) for at in (0, -1))
    between = max(len(histogram.starts) - len(first) - len(last), 2)
    shown.add_row("", "", first + " " * between + last)
    if histogram.untimed:
        shown.add_row("", f"{histogram.untimed:,}", "without a time, not shown")
    return shown


def draw(histogram: Histogram, path: Path, form: Literal["png", "svg"], title: str = "") -> None:
    """Write stacked bars by level over time as a picture of a form; equal counts give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bottom = [0] * len(histogram.starts)
    step = timedelta(seconds=histogram.seconds)
    width = 0.92 * histogram.seconds / DAY
    middles = [start + step / 2 for start in histogram.starts]
    for level in reversed(histogram.counts):
        numbers = histogram.counts[level]
        label = f"{level} ({sum(numbers):,})"
        axes.bar(date2num(middles), numbers, width, bottom=bottom, color=COLOURS[level], label=label)
        bottom = [one + more for one, more in zip(bottom, numbers, strict=True)]
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    dated = histogram.starts[0] >= DATED_FROM and histogram.starts[0].year != UNKNOWN_YEAR
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=dated))
    axes.set_xlim(*date2num([histogram.starts[0] - step / 2, histogram.starts[-1] + step * 1.5]))
    axes.set_ylabel(f"events per {_span(histogram.seconds)}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if title:
        axes.set_title(title, loc="left", fontsize="medium")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
    _save(figure, path, form)


def _save(figure: Any, path: Path, form: str) -> None:
    """Beside, then in place: a reader never sees half a picture."""
    import matplotlib as mpl

    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    beside = path.with_name(f".{path.name}.part")
    metadata = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    try:
        with mpl.rc_context({"svg.hashsalt": "loglore"}), beside.open("wb") as file:
            figure.savefig(file, format=form, dpi=150, metadata=metadata)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _span(seconds: float) -> str:
    """A width in words: `200 ms`, `5 s`, `15 min`, `3 h`, `2 d`."""
    for size, unit in ((DAY, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def _clock(moment: datetime, seconds: float) -> str:
    clock = "" if seconds >= DAY else "%H:%M" if seconds >= 60 else "%H:%M:%S"
    text = shown(moment, clock).rstrip()
    return text if seconds >= 1 else f"{text}.{moment.microsecond // 1000:03d}"
