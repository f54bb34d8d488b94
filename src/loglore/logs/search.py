"""Search in a log table: which lines answer a query, in line order, with counts and what was cut off.

The word index names blocks of lines that may answer (`fulltext`); their rows are then read and tested, so the result is
exact. A rare word costs milliseconds; a word that is everywhere costs a pass over the text, about a second a gigabyte.
"""

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import polars as pl

from loglore.errors import InputError
from loglore.logs import fulltext, levels, query
from loglore.logs.indexing import WORDS
from loglore.logs.shards import Shard
from loglore.logs.table import LogTable
from loglore.logs.templates import Mined
from loglore.logs.view import facts

LIMIT = 50
MOST_TEMPLATES = 10
# From this many separate parts of a shard on, the whole shard is read at once: a part takes a tenth of that time.
MOST_RUNS = 8
Part = tuple[pl.LazyFrame, int]
# Parts read at the same time.
AT_ONCE = 8


@dataclass(frozen=True)
class Filters:
    """What lines must be, beside answering a query.

    start, end: time, both inclusive (lines without a time are then left out). level: at least this severe.
    templates: one of these ids. sources: names that contain one of these. fields: (name, value): a column or a key of a
    structured line.
    """

    start: datetime.datetime | None = None
    end: datetime.datetime | None = None
    level: str | None = None
    templates: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()

    def condition(self, schema: Sequence[str]) -> pl.Expr | None:
        """The filters as one expression on rows of the log table; None when there are none."""
        parts = []
        if self.start is not None:
            parts.append(pl.col("time") >= self.start)
        if self.end is not None:
            parts.append(pl.col("time") <= self.end)
        if self.level is not None:
            parts.append(pl.col("level").is_in(levels.at_least(self.level)))
        if self.templates:
            parts.append(pl.col("template").is_in(self.templates))
        parts += [_field(name, value, schema) for name, value in self.fields]
        return pl.all_horizontal(parts) if parts else None


EVERYTHING = Filters()
FIELD_COLUMNS = ("component", "host", "pid", "layout")


def _field(name: str, value: str, schema: Sequence[str]) -> pl.Expr:
    if name in FIELD_COLUMNS:
        return (pl.col(name) == value).fill_null(value=False)
    if "fields" not in schema:
        raise InputError(f"field {name!r}: this log has no such field; there are {', '.join(FIELD_COLUMNS)}")
    found = pl.col("fields").str.json_path_match(f'$["{name}"]')
    return (found == value).fill_null(value=False)


@dataclass(frozen=True)
class Found:
    """What a search found.

    rows: the first matches, in line order, as rows of the log table. total: all matches. templates: (id, matches) of
    the templates with most of them. blocks: how many blocks of lines were read, of how many.
    """

    rows: pl.DataFrame
    total: int
    templates: list[tuple[str, int]] = field(default_factory=list)
    blocks: tuple[int, int] = (0, 0)

    def account(self) -> str:
        """What is shown of what was found, in words."""
        if not self.total:
            return "no matches"
        shown = "all" if self.rows.height == self.total else f"{self.rows.height:,} of"
        return f"{shown} {self.total:,} match{'' if self.total == 1 else 'es'}"


def search(log: LogTable, text: str, filters: Filters = EVERYTHING, limit: int = LIMIT) -> Found:
    """Find lines.

    Args:
        log: where.
        text: a query (see `query`); "" takes every line that the filters let through.
        filters: what lines must be beside.
        limit: rows to return at most; all are counted.

    Raises:
        InputError: a query that says nothing, an unknown field, source or template.
    """
    _check(log, filters)
    asked = query.parse(text) if text.strip() else None
    condition = None if asked is None else query.condition(asked, pl.col("text"))
    rows: list[pl.DataFrame] = []
    counts: dict[str, int] = {}
    have = total = read = 0
    columns = log.frame(chosen=[]).collect_schema().names()
    parts = candidates(log, None if asked is None else query.match(asked), filters)
    for batch in _batched(parts, AT_ONCE):
        conditions = [each for each in (filters.condition(columns), condition) if each is not None]
        wanted = [part.filter(pl.all_horizontal(conditions)) if conditions else part for part, _ in batch]
        read += sum(blocks for _, blocks in batch)
        for found in pl.collect_all(wanted):
            total += found.height
            for template, count in found["template"].drop_nulls().value_counts().iter_rows():
                counts[template] = counts.get(template, 0) + count
            if have < limit:
                rows.append(found.head(limit - have))
                have += rows[-1].height
    top = sorted(counts.items(), key=lambda one: (-one[1], int(one[0][1:])))[:MOST_TEMPLATES]
    every = sum(-(-shard.lines // fulltext.BLOCK_LINES) for shard in log.manifest.shards)
    return Found(pl.concat(rows) if rows else log.rows([]), total, top, (read, every))


def candidates(
    log: LogTable,
    match: str | None,
    filters: Filters = EVERYTHING,
) -> Iterator[Part]:
    """Rows among which all answers are, in line order, and how many blocks they are.

    Args:
        log: where.
        match: an FTS5 expression; None takes all blocks.
        filters: shards that lie outside its times or sources are left out.
    """
    marked: dict[int, list[int]] | None = None
    if match is not None:
        marked = {}
        for number, block in fulltext.blocks_with(log.folder / WORDS, match):
            marked.setdefault(number, []).append(block)
    for shard in log.manifest.shards:
        if not _may_hold(log, shard, filters):
            continue
        every = -(-shard.lines // fulltext.BLOCK_LINES)
        blocks = list(range(every)) if marked is None else marked.get(shard.number, [])
        runs = list(_runs(blocks))
        if len(runs) > MOST_RUNS:
            yield log.frame(chosen=[shard]), every
            continue
        for first, last in runs:
            count = (last - first + 1) * fulltext.BLOCK_LINES
            yield log.slice(shard, first * fulltext.BLOCK_LINES, count), last - first + 1


def _batched(parts: Iterator[Part], size: int) -> Iterator[list[Part]]:
    while batch := list(islice(parts, size)):
        yield batch


def _runs(blocks: list[int]) -> Iterator[tuple[int, int]]:
    """Neighbouring blocks as (first, last)."""
    first = 0
    for at in range(1, len(blocks) + 1):
        if at == len(blocks) or blocks[at] != blocks[at - 1] + 1:
            yield blocks[first], blocks[at - 1]
            first = at


def _may_hold(log: LogTable, shard: Shard, filters: Filters) -> bool:
    if filters.sources and not any(name in log.sources[shard.source] for name in filters.sources):
        return False
    if filters.start is None and filters.end is None:
        return True
    spans = log.spans(shard)
    return any(
        (filters.start is None or last >= filters.start) and (filters.end is None or first <= filters.end)
        for first, last in spans
    )


def _check(log: LogTable, filters: Filters) -> None:
    for identifier in filters.templates:
        if identifier not in log.by_id:
            raise InputError(f"template {identifier!r}: the log has T1 to T{len(log.templates)}")
    for name in filters.sources:
        if not any(name in source for source in log.sources):
            raise InputError(f"source {name!r}: the log's files are {', '.join(log.sources[:20])}")
    if filters.level is not None and filters.level not in levels.LEVELS:
        raise InputError(f"level {filters.level!r}: expected one of {', '.join(levels.LEVELS)}")


def moment(text: str, log: LogTable | Mined) -> datetime.datetime:
    """A time as a person writes it: ISO 8601 (a zone counts), a day, or a clock time: the last such in the log.

    Raises:
        InputError: none of these.
    """
    sources = [one for one in facts(log if isinstance(log, LogTable) else log.table) if one.last is not None]
    first: Any = min((one.first for one in sources), default=None)
    last: Any = max((one.last for one in sources), default=None)
    try:
        if len(text) <= 8 and ":" in text:
            day = (last or datetime.datetime(1970, 1, 1)).date()
            found = datetime.datetime.combine(day, datetime.time.fromisoformat(text.zfill(5)))
            before = found - datetime.timedelta(days=1)
            return before if last and found > last and before >= first.replace(second=0, microsecond=0) else found
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"time {text!r}: expected 2026-11-22, 2026-11-22T10:00:00 (UTC or with +01:00) or 10:00"
        ) from None
    return found.astimezone(datetime.UTC).replace(tzinfo=None) if found.tzinfo else found


def pairs(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`name=value` texts as pairs.

    Raises:
        InputError: one without `=`.
    """
    for text in texts:
        if "=" not in text:
            raise InputError(f"field {text!r}: expected name=value")
    return tuple((name, value) for name, _, value in (text.partition("=") for text in texts))


Window = tuple[datetime.datetime, datetime.datetime]


def windows(before: str | None, after: str | None, log: LogTable | Mined) -> tuple[Window, Window] | None:
    """Two spans of time, each as `FROM..TO`; None when neither is given.

    Raises:
        InputError: only one of both, or one that is no span.
    """
    if before is None and after is None:
        return None
    if before is None or after is None:
        raise InputError("windows: give both, before and after")
    return _window(before, log), _window(after, log)


def _window(text: str, log: LogTable | Mined) -> Window:
    start, dots, end = text.partition("..")
    if not dots:
        raise InputError(f"window {text!r}: expected FROM..TO, such as 10:00..10:30")
    span = moment(start, log), moment(end, log)
    if span[0] >= span[1]:
        raise InputError(f"window {text!r}: it ends before it begins")
    return span
