"""Looking at a log table on disk: lines by what they are, around a place, and two parts of a log set side by side.

Everything is read shard by shard with the columns that it needs, so memory is flat; a pass over a gigabyte of log takes
a second or two, a place some milliseconds.
"""

import datetime
from dataclasses import dataclass, field

import polars as pl

from loglore.logs import changes, query, search
from loglore.logs.changes import Counts, Difference
from loglore.logs.table import LogTable

Window = tuple[datetime.datetime, datetime.datetime]
SHOWN = ("source", "line", "time", "level", "template", "text")
# Of the templates, so many of the most frequent ones are watched for jumps.
WATCHED = 60


@dataclass(frozen=True)
class Wanted:
    """Which lines: all that is given must hold.

    template: id. since, until: time, `until` not included (lines without a time are then left out). levels: one of
    these. source: name of a file. text: a query (see `query`).
    """

    template: str | None = None
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None
    levels: tuple[str, ...] = ()
    source: str | None = None
    text: str = ""

    @property
    def conditions(self) -> list[pl.Expr]:
        """The conditions on rows of the log table."""
        found = []
        if self.template is not None:
            found.append(pl.col("template") == self.template)
        if self.since is not None:
            found.append(pl.col("time") >= self.since)
        if self.until is not None:
            found.append(pl.col("time") < self.until)
        if self.levels:
            found.append(pl.col("level").is_in(self.levels))
        if self.source is not None:
            found.append(pl.col("source") == self.source)
        if self.text.strip():
            found.append(query.condition(query.parse(self.text), pl.col("text")))
        return found


def lines(log: LogTable, wanted: Wanted, limit: int, *, last: bool = False) -> tuple[pl.DataFrame, int]:
    """The first (or last) `limit` lines that are wanted, in table order, and how many there are.

    Raises:
        InputError: a text that is no query.
    """
    match = query.match(query.parse(wanted.text)) if wanted.text.strip() else None
    sources = () if wanted.source is None else (wanted.source,)
    filters = search.Filters(start=wanted.since, end=wanted.until, sources=sources)
    kept, total = log.rows([]).select(SHOWN), 0
    for part, _ in search.candidates(log, match, filters):
        found = part.select(SHOWN).filter(*wanted.conditions) if wanted.conditions else part.select(SHOWN)
        if kept.height >= limit and not last:
            total += int(found.select(pl.len()).collect().item())
            continue
        rows = found.collect()
        total += rows.height
        kept = pl.concat([kept, rows])
        kept = kept.tail(limit) if last else kept.head(limit)
    return kept, total


def around(log: LogTable, source: str | None, line: int, context: int) -> pl.DataFrame:
    """A line of a file (of every file when none is named) with `context` lines before and after it."""
    names = [source] if source is not None else log.sources
    near = range(max(1, line - context), line + context + 1)
    return log.rows([(name, number) for name in names for number in near]).select(SHOWN)


@dataclass(frozen=True)
class Part:
    """A part of a log: how many lines, how many of each level and of each template."""

    lines: int = 0
    levels: dict[str, int] = field(default_factory=dict)
    templates: dict[str, int] = field(default_factory=dict)

    def differences(self, later: "Part") -> list[Difference]:
        """Templates whose share of the lines differs beyond chance in `later` (see `changes.differences`)."""
        return changes.differences(self.templates, later.templates)


def halves(log: LogTable) -> tuple[Part, Part]:
    """The two halves by lines; of an odd number the second one is longer."""
    middle, before = log.height // 2, 0
    first, second = [], []
    for shard in log.manifest.shards:
        rows = log.frame(chosen=[shard]).select("level", "template")
        cut = min(max(middle - before, 0), shard.lines)
        first += [rows.head(cut)] if cut else []
        second += [rows.slice(cut)] if cut < shard.lines else []
        before += shard.lines
    return _part(first), _part(second)


def window(log: LogTable, start: datetime.datetime | None, end: datetime.datetime | None) -> Part:
    """The lines from `start` to `end` (not included), each None for no bound; lines without a time are in none."""
    filters = search.Filters(start=start, end=end)
    wanted = Wanted(since=start, until=end).conditions or [pl.col("time").is_not_null()]
    parts = (part.select("time", "level", "template") for part, _ in search.candidates(log, None, filters))
    return _part([part.filter(*wanted).select("level", "template") for part in parts])


def _part(frames: list[pl.LazyFrame]) -> Part:
    count = 0
    levels: dict[str, int] = {}
    templates: dict[str, int] = {}
    for frame in frames:
        counted = frame.group_by("level", "template").len().collect()
        count += int(counted["len"].sum())
        for level, template, number in counted.iter_rows():
            if level is not None:
                levels[level] = levels.get(level, 0) + number
            if template is not None:
                templates[template] = templates.get(template, 0) + number
    return Part(count, levels, templates)


@dataclass(frozen=True)
class Begin:
    """Where a template begins late, or jumps.

    `count` lines from the bucket that starts at `at` (a time, or the number of lines before it) to `until`; `usual` is
    its median in a bucket, None when there was none of it before.
    """

    template: str
    at: changes.Moment
    until: changes.Moment
    count: int
    usual: float | None


def begins(log: LogTable, limit: int) -> list[Begin]:
    """Onsets and jumps of templates, the severe and the strong ones first, each template once."""
    counts = log.counts()
    axis = counts.axis
    by_count = sorted(log.templates, key=lambda one: -one.count)
    found: dict[str, Begin] = {}
    for one in changes.onsets(counts):
        found[one.template] = Begin(one.template, axis.at(one.bucket), axis.at(one.bucket + 1), one.count, None)
    for burst in changes.bursts(counts, [one.id for one in by_count[:WATCHED]]):
        if burst.template is not None:
            start, end = axis.at(burst.first), axis.at(burst.last + 1)
            found.setdefault(burst.template, Begin(burst.template, start, end, burst.count, burst.usual))
    ranks = _severities(counts)
    return sorted(found.values(), key=lambda one: (ranks.get(one.template, 2), -one.count))[:limit]


def _severities(counts: Counts) -> dict[str, int]:
    """0 for templates with lines of level error or fatal, 1 for those with warnings."""
    rank = pl.col("level").replace_strict({"fatal": 0, "error": 0, "warning": 1}, default=2, return_dtype=pl.Int64)
    known = counts.frame.filter(pl.col("template").is_not_null())
    return dict(known.group_by("template").agg(rank.min()).iter_rows())


@dataclass(frozen=True)
class Timeline:
    """Lines over time: `rows` of (start of a bucket, level or `none`, lines); `seconds` is the width of a bucket."""

    seconds: float
    rows: list[tuple[datetime.datetime, str, int]]


def timeline(log: LogTable, most: int, span: Window | None = None) -> Timeline | None:
    """Lines by level in at most `most` equal buckets, of all of the log or of a span of time, for which they are finer.

    None when there is nothing to draw: a log without times, or all of it at one moment.
    """
    return _whole(log.counts(), most) if span is None else _span(log, most, *span)


def _whole(counts: Counts, most: int) -> Timeline | None:
    axis = counts.axis
    if not axis.timed:
        return None
    joined = -(-axis.buckets // most)
    level = pl.col("level").fill_null("none")
    rows = counts.frame.group_by(pl.col("bucket") // joined, level).agg(pl.col("count").sum()).sort("bucket", "level")
    start = axis.at(0)
    assert isinstance(start, datetime.datetime)
    width = datetime.timedelta(microseconds=axis.width * joined)
    return Timeline(
        width.total_seconds(), [(start + width * at, name, number) for at, name, number in rows.iter_rows()]
    )


def _span(log: LogTable, most: int, start: datetime.datetime, end: datetime.datetime) -> Timeline | None:
    width = max(1, -(-(end - start) // datetime.timedelta(microseconds=1) // most))
    bucket = (pl.col("time") - pl.lit(start)).dt.total_microseconds() // width
    counted: dict[tuple[int, str], int] = {}
    wanted = Wanted(since=start, until=end).conditions
    for part, _ in search.candidates(log, None, search.Filters(start=start, end=end)):
        inside = part.select("time", "level").filter(*wanted)
        grouped = inside.group_by(bucket.alias("bucket"), pl.col("level").fill_null("none")).len().collect()
        for at, level, number in grouped.iter_rows():
            counted[at, level] = counted.get((at, level), 0) + number
    step = datetime.timedelta(microseconds=width)
    rows = [(start + step * at, level, number) for (at, level), number in sorted(counted.items())]
    return Timeline(width / 1e6, rows) if rows else None
