"""What changes in a log over time: onsets, bursts, gaps, differences between two windows, components that go together.

All of it is computed from one small frame, how many lines of each template, level and component fall into each of at
most `MOST_BUCKETS` buckets; a log of a gigabyte has that stored beside its table. Buckets are spans of time where the
lines have times, else spans of lines, so what a log without times shows is said in line numbers.

Thresholds are robust ones (median and median absolute deviation), which a burst itself hardly moves; each function
states its own. They are meant to point, not to prove: a caller shows the counts beside them.
"""

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

MOST_BUCKETS = 400
SECOND = 1_000_000
WIDTHS = tuple(
    SECOND * seconds
    for seconds in (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800)
)
# Of the lines, at least this share must have a time for time to be the axis.
TIMED_SHARE = 0.2
# A burst is this many times the scaled median absolute deviation above the median, and this many times the median.
DEVIATIONS, TIMES_MEDIAN, LEAST_BURST = 6.0, 3.0, 10
SCALE = 1.4826
LATE_SHARE = 0.25
LEAST_TOGETHER, LEAST_ACTIVE = 0.6, 5
Moment = datetime.datetime | int


@dataclass(frozen=True)
class Axis:
    """Buckets of a log: `width` and `start` in µs since 1970 when `timed`, else in lines of the whole log."""

    timed: bool
    start: int
    width: int
    buckets: int

    def at(self, bucket: int) -> Moment:
        """Where a bucket begins: a time, or the number of lines before it."""
        value = self.start + bucket * self.width
        return pl.Series([value]).cast(pl.Datetime("us"))[0] if self.timed else value

    def of(self, moment: Moment) -> int:
        """The bucket of a time or line."""
        if isinstance(moment, datetime.datetime):
            moment = int(pl.Series([moment]).cast(pl.Datetime("us")).cast(pl.Int64)[0])
        return (moment - self.start) // self.width


@dataclass(frozen=True)
class Counts:
    """`frame`: `template`, `level`, `component`, `bucket`, `count`; a row for every combination that occurs."""

    axis: Axis
    frame: pl.DataFrame

    def series(self, only: pl.Expr | None = None) -> list[int]:
        """Lines in each bucket."""
        rows = self.frame if only is None else self.frame.filter(only)
        values = [0] * self.axis.buckets
        for bucket, count in rows.group_by("bucket").agg(pl.col("count").sum()).iter_rows():
            values[bucket] = count
        return values


def axis(lines: int, timed: int, first: datetime.datetime | None, last: datetime.datetime | None) -> Axis:
    """The buckets of a log of so many lines, so many of them with a time between `first` and `last`."""
    if first is not None and last is not None and timed >= TIMED_SHARE * lines and last > first:
        low, high = pl.Series([first, last]).cast(pl.Datetime("us")).cast(pl.Int64)
        width = next((width for width in WIDTHS if (high - low) // width < MOST_BUCKETS), None)
        width = width or (high - low) // MOST_BUCKETS + 1
        start = low - low % width
        if (high - start) // width >= MOST_BUCKETS:
            start = low
        return Axis(timed=True, start=start, width=width, buckets=(high - start) // width + 1)
    width = max(1, -(-lines // MOST_BUCKETS))
    return Axis(timed=False, start=0, width=width, buckets=max(1, -(-lines // width)))


def count(rows: pl.LazyFrame, buckets: Axis, before: int = 0) -> pl.DataFrame:
    """Count rows of a log table by bucket; `before` lines of the log precede them."""
    if buckets.timed:
        position = pl.col("time").cast(pl.Int64)
        rows = rows.filter(pl.col("time").is_not_null())
    else:
        position = pl.int_range(pl.len(), dtype=pl.Int64) + before
    bucket = ((position - buckets.start) // buckets.width).cast(pl.Int32)
    kept = rows.select("template", "level", "component", bucket.alias("bucket"))
    return (
        kept.group_by("template", "level", "component", "bucket").agg(pl.len().cast(pl.Int64).alias("count")).collect()
    )


def total(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Counts of parts of a log as one, in a fixed order."""
    keys = ["template", "level", "component", "bucket"]
    return pl.concat(parts).group_by(keys).agg(pl.col("count").sum()).sort("bucket", "template", "level", "component")


@dataclass(frozen=True)
class Onset:
    """A template whose first line comes late: in bucket `bucket`, with `count` lines from there on."""

    template: str
    bucket: int
    count: int


def onsets(counts: Counts, least: int = 2) -> list[Onset]:
    """Templates that begin after the first quarter of the log and then have at least `least` lines; earliest first."""
    first = counts.frame.filter(pl.col("template").is_not_null()).group_by("template")
    found = first.agg(pl.col("bucket").min(), pl.col("count").sum())
    late = found.filter((pl.col("bucket") >= LATE_SHARE * counts.axis.buckets) & (pl.col("count") >= least))
    rows = late.sort("bucket", pl.col("template").str.tail(-1).cast(pl.Int64)).iter_rows()
    return [Onset(template, bucket, lines) for template, bucket, lines in rows if bucket > 0]


@dataclass(frozen=True)
class Burst:
    """Buckets `first` to `last`, each far above the usual: `count` lines where `usual` (the median) would be `usual`.

    template: of the lines, None for all lines together.
    """

    template: str | None
    first: int
    last: int
    count: int
    usual: float


def bursts(counts: Counts, templates: Sequence[str] = ()) -> list[Burst]:
    """Bursts of the whole log and of each of some templates, strongest first.

    A bucket is in a burst when its count is above median + 6 × 1.4826 × MAD, above three times the median, and at least
    10; neighbouring ones are one burst. Median and MAD are over all buckets, empty ones included.
    """
    found = [*_bursts(counts.series(), None)]
    for template in templates:
        found += _bursts(counts.series(pl.col("template") == template), template)
    return sorted(found, key=lambda one: (-one.count / (one.usual + 1), one.first, one.template or ""))


def _bursts(values: list[int], template: str | None) -> list[Burst]:
    if len(values) < 3:
        return []
    usual, spread = _middle(values)
    threshold = max(usual + DEVIATIONS * SCALE * spread, TIMES_MEDIAN * usual, LEAST_BURST - 1)
    found: list[Burst] = []
    for bucket, value in enumerate(values):
        if value <= threshold:
            continue
        if found and found[-1].last == bucket - 1:
            found[-1] = Burst(template, found[-1].first, bucket, found[-1].count + value, usual)
        else:
            found.append(Burst(template, bucket, bucket, value, usual))
    return found


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Median, and median absolute deviation."""
    series = pl.Series(values, dtype=pl.Float64)
    middle = float(series.median())  # type: ignore[arg-type]
    return middle, float((series - middle).abs().median())  # type: ignore[arg-type]


@dataclass(frozen=True)
class Gap:
    """Buckets `first` to `last` without one line."""

    first: int
    last: int


def gaps(counts: Counts) -> list[Gap]:
    """Stretches without lines, longest first.

    A stretch counts when it has at least 3 buckets and is longer than median + 6 × 1.4826 × MAD of all distances
    between neighbouring buckets that have lines. Only a log with times can have one.
    """
    values = counts.series()
    filled = [bucket for bucket, value in enumerate(values) if value]
    if not counts.axis.timed or len(filled) < 3:
        return []
    distances = [later - sooner for sooner, later in pairwise(filled)]
    usual, spread = _middle(distances)
    least = max(3, usual + DEVIATIONS * SCALE * spread)
    found = [Gap(at + 1, at + step - 1) for at, step in zip(filled, distances, strict=False) if step - 1 >= least]
    return sorted(found, key=lambda gap: (gap.first - gap.last, gap.first))


@dataclass(frozen=True)
class Difference:
    """A template's lines in two windows; `score` is the log-likelihood ratio G² of the two shares."""

    template: str
    before: int
    after: int
    score: float


# G² of a difference that chance gives once in a thousand (χ² with one degree of freedom).
LEAST_SCORE = 10.83


def differences(before: dict[str, int], after: dict[str, int]) -> list[Difference]:
    """Templates whose share of the lines differs between two windows, most telling first.

    Measure: G² (Dunning, "Accurate Methods for the Statistics of Surprise and Coincidence", 1993) of the template's
    lines against all others in both windows; at least 10.83.
    """
    totals = sum(before.values()), sum(after.values())
    found = []
    for template in sorted({*before, *after}, key=lambda name: int(name[1:])):
        one, two = before.get(template, 0), after.get(template, 0)
        score = _surprise(one, two, *totals)
        if score >= LEAST_SCORE:
            found.append(Difference(template, one, two, score))
    # Two kinds of lines alone have the same score: then the one whose number changed more.
    return sorted(found, key=lambda each: (-round(each.score, 6), -abs(each.after - each.before)))


def _surprise(one: int, two: int, all_one: int, all_two: int) -> float:
    cells = ((one, all_one), (two, all_two), (all_one - one, all_one), (all_two - two, all_two))
    share = (one + two) / max(all_one + all_two, 1)
    expected = (share * all_one, share * all_two, (1 - share) * all_one, (1 - share) * all_two)
    return 2 * sum(seen * math.log(seen / wanted) for (seen, _), wanted in zip(cells, expected, strict=True) if seen)


def halves(counts: Counts) -> tuple[dict[str, int], dict[str, int]]:
    """Lines of each template in the first and in the second half of the buckets."""
    middle = counts.axis.buckets / 2
    return _sums(counts.frame.filter(pl.col("bucket") < middle)), _sums(counts.frame.filter(pl.col("bucket") >= middle))


def _sums(rows: pl.DataFrame) -> dict[str, int]:
    known = rows.filter(pl.col("template").is_not_null())
    return dict(known.group_by("template").agg(pl.col("count").sum()).iter_rows())


def window(rows: pl.LazyFrame, start: datetime.datetime, end: datetime.datetime) -> dict[str, int]:
    """Lines of each template from `start` to `end` (not included), counted exactly."""
    inside = rows.filter((pl.col("time") >= start) & (pl.col("time") < end) & pl.col("template").is_not_null())
    return dict(inside.group_by("template").agg(pl.len().cast(pl.Int64)).collect().iter_rows())


@dataclass(frozen=True)
class Together:
    """Two components whose lines rise and fall together; `correlation` in [-1, 1]."""

    first: str
    second: str
    correlation: float


def together(counts: Counts, most: int = 40) -> list[Together]:
    """Components that go together, closest first.

    Measure: Pearson correlation over the buckets of log(1 + lines), for the `most` most frequent components that have
    lines in at least 5 buckets and not in all; at least 0.6.
    """
    rows = counts.frame.filter(pl.col("component").is_not_null())
    names = rows.group_by("component").agg(pl.col("count").sum(), active=pl.col("bucket").n_unique())
    varied = names.filter((pl.col("active") >= LEAST_ACTIVE) & (pl.col("active") < counts.axis.buckets))
    chosen = varied.sort(["count", "component"], descending=[True, False]).head(most)["component"].to_list()
    series = {name: pl.Series(counts.series(pl.col("component") == name)).log1p() for name in chosen}
    found = []
    for at, one in enumerate(chosen):
        for two in chosen[at + 1 :]:
            value: Any = pl.select(pl.corr(series[one], series[two])).item()
            if value is not None and value >= LEAST_TOGETHER:
                found.append(Together(min(one, two), max(one, two), round(value, 2)))
    return sorted(found, key=lambda pair: (-pair.correlation, pair.first, pair.second))
