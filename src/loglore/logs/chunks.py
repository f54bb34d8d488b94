"""Chunks: consecutive lines that make one training context, of seeded sizes, with multi-line events kept whole.

Chunks of a source follow each other without gap or overlap and cover it. Sizes depend on the seed and the file's name
alone, not on its folder or on the other files, so adding a log leaves the chunks of the others as they were.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

import polars as pl

from loglore.errors import InputError
from loglore.logs.table import LogTable


@dataclass(frozen=True)
class Chunk:
    """Lines `first` to `last` (1-based, inclusive) of `source`; `id` is `name.log:first-last`."""

    id: str
    source: str
    first: int
    last: int
    lines: tuple[str, ...]

    def table(self, table: pl.DataFrame) -> pl.DataFrame:
        """The rows of this chunk in a log table (read or mined)."""
        return slice_of(table, self)

    @property
    def text(self) -> str:
        """The lines, joined by newlines."""
        return "\n".join(self.lines)


def cut(
    table: pl.DataFrame, smallest: int, largest: int, seed: int, limit_per_source: int | None = None
) -> list[Chunk]:
    """Cut every source of a log table into chunks.

    Args:
        table: a log table.
        smallest: lines a chunk has at least; only a source's last chunk may be shorter, when no cut avoids it.
        largest: lines a chunk has at most; an event longer than what fits is cut.
        seed: the same seed gives the same chunks.
        limit_per_source: keep this many chunks of each source, drawn with the seed, in line order.

    Raises:
        InputError: sizes that are not 1 ≤ smallest ≤ largest.
    """
    _checked(smallest, largest)
    chunks = []
    parts = table.partition_by("source", maintain_order=True)
    names = Counter(PurePath(part["source"][0]).name for part in parts)
    for part in parts:
        source = part["source"][0]
        name = PurePath(source).name
        draw = random.Random(f"{seed}:{name}")
        starts = (part["event"] == part["line"]).to_list()
        bounds = _bounds(starts, smallest, largest, draw)
        if limit_per_source is not None and len(bounds) > limit_per_source:
            bounds = sorted(draw.sample(bounds, limit_per_source))
        lines = part["text"].to_list()
        label = name if names[name] == 1 else source
        chunks += [
            Chunk(f"{label}:{first + 1}-{end}", source, first + 1, end, tuple(lines[first:end]))
            for first, end in bounds
        ]
    return chunks


def _checked(smallest: int, largest: int) -> None:
    if not 1 <= smallest <= largest:
        raise InputError(f"chunk sizes: expected 1 ≤ smallest ≤ largest, found {smallest} and {largest}")


def slice_of(table: pl.DataFrame, chunk: Chunk) -> pl.DataFrame:
    """The rows of a log table that a chunk covers."""
    return table.filter((pl.col("source") == chunk.source) & pl.col("line").is_between(chunk.first, chunk.last))


def _bounds(starts: list[bool], smallest: int, largest: int, draw: random.Random) -> list[tuple[int, int]]:
    """Half-open row ranges that cover all rows; `starts[i]` says that an event starts at row i."""
    bounds = []
    first, total = 0, len(starts)
    while first < total:
        end = _end(starts, first, smallest, largest, draw)
        bounds.append((first, end))
        first = end
    return bounds


def _end(starts: list[bool], first: int, smallest: int, largest: int, draw: random.Random) -> int:
    total = len(starts)
    wanted = first + draw.randint(smallest, largest)
    allowed = range(first + smallest, min(first + largest, total) + 1)
    # What is left over must be nothing or again a chunk, where a cut allows it.
    fair = [end for end in allowed if end == total or total - end >= smallest]
    if not fair:
        return min(first + largest, total)
    whole = [end for end in fair if end == total or starts[end]]
    return min(whole or fair, key=lambda end: (abs(end - wanted), end))


def stream(
    log: LogTable, smallest: int, largest: int, seed: int, limit_per_source: int | None = None
) -> Iterator[Chunk]:
    """Cut a table on disk into the chunks that `cut` would give, holding only one flag a line in memory.

    Args:
        log: the table.
        smallest: as in `cut`, and so are the others.
        largest: lines.
        seed: number.
        limit_per_source: number.
    """
    _checked(smallest, largest)
    names = Counter(PurePath(source).name for source in log.sources)
    for source, total in log.lines_of.items():
        if not total:
            continue
        name = PurePath(source).name
        draw = random.Random(f"{seed}:{name}")
        own = log.frame().filter(pl.col("source") == source)
        starts = own.select(pl.col("event") == pl.col("line")).collect()["event"].to_list()
        bounds = _bounds(starts, smallest, largest, draw)
        if limit_per_source is not None and len(bounds) > limit_per_source:
            bounds = sorted(draw.sample(bounds, limit_per_source))
        label = name if names[name] == 1 else source
        yield from _read(log, source, bounds, label)


def _read(log: LogTable, source: str, bounds: list[tuple[int, int]], label: str) -> Iterator[Chunk]:
    """The chunks of one source, reading shard after shard."""
    texts: list[str] = []
    at = 0
    parts = (shard for shard in log.manifest.shards if log.sources[shard.source] == source)
    for first, end in bounds:
        while at + len(texts) < end:
            texts += log.frame(chosen=[next(parts)]).select("text").collect()["text"].to_list()
        del texts[: first - at]
        at = first
        yield Chunk(f"{label}:{first + 1}-{end}", source, first + 1, end, tuple(texts[: end - first]))
