"""The log table on disk: logs of any size as Parquet shards with lazy Polars frames, templates and a word index.

`index` reads in blocks and keeps a few of them in memory, whatever the size of the log; `docs/LOG.md` has speed and
peak. The same lines give the same table as `reader.read_table` and `templates.mine`, wherever the borders of blocks
fall. What a followed log does to it: new lines are parsed with the layouts known so far and those in the new lines; a
template keeps its id when it generalises (of several that become one, the lowest; of one that comes apart, the part
with its first line); a file that shrank or was replaced is read from its start as a new generation, and the lines of
the old one stay as source `name#1`.

A folder holds `manifest.json` (written last and replaced whole, so a killed `index` leaves nothing or the state
before), `shard-*.parquet`, `kinds.parquet` (masked messages and their template), `tally.parquet` (counts, first and
last lines) and `words.db` (see `fulltext`).
"""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from loglore.atomic import replacing
from loglore.logs import changes, headers, indexing, manifest, naming, reader, shards
from loglore.logs.changes import Counts
from loglore.logs.indexing import COUNTS, OnProgress
from loglore.logs.manifest import Manifest
from loglore.logs.shards import DATELESS, Shard
from loglore.logs.stream import BLOCK_BYTES
from loglore.logs.templates import Mined, Template
from loglore.logs.timestamps import DATED_FROM, UNKNOWN_YEAR

Place = tuple[str, int]
_KEYS = {"template": pl.String, "key": pl.String}
COLUMNS = [*(name for name in reader.SCHEMA if name != "message"), "template"]


def silent(done: float, total: float) -> None:
    """Progress that nobody wants to see."""


class LogTable:
    """A log table on disk.

    Attributes:
        folder: where it lies.
        notes: what happened when it was indexed or updated that a person should know, a line each.
    """

    def __init__(self, folder: Path, known: Manifest, notes: Sequence[str] = ()) -> None:
        self.folder = folder
        self.manifest = known
        self.notes = [*notes, *manifest.notes(known)]
        if self._dated:
            dateless = dict.fromkeys(shard.source for shard in known.shards if shard.dateless)
            self.notes += [f"{known.sources[one].name}: its times have no date and are left out" for one in dateless]

    @property
    def height(self) -> int:
        """Number of lines."""
        return sum(shard.lines for shard in self.manifest.shards)

    @property
    def bytes(self) -> int:
        """Size of the text, in bytes of the (decompressed) files."""
        ends: dict[int, int] = {}
        for shard in self.manifest.shards:
            ends[shard.source] = max(ends.get(shard.source, 0), shard.end)
        return sum(ends.values())

    @property
    def sources(self) -> list[str]:
        """Names of the sources, in order."""
        return [source.name for source in self.manifest.sources]

    @cached_property
    def lines_of(self) -> dict[str, int]:
        """Number of lines of each source."""
        counts = [0] * len(self.manifest.sources)
        for shard in self.manifest.shards:
            counts[shard.source] += shard.lines
        return dict(zip(self.sources, counts, strict=True))

    @cached_property
    def year(self) -> int:
        """The year of the last times that lack one: the latest that other lines show (see `timestamps`)."""
        highest = [high for shard in self.manifest.shards for turn, _, high in shard.spans if turn is None]
        if not highest or all(turn is None for shard in self.manifest.shards for turn, _, _ in shard.spans):
            return UNKNOWN_YEAR
        return int(pl.Series([max(highest)]).cast(pl.Datetime("us")).dt.year()[0])

    @cached_property
    def _dated(self) -> bool:
        """Whether a line of the table has a time with a date, so that times without one are left out."""
        return any(turn != DATELESS for shard in self.manifest.shards for turn, _, _ in shard.spans)

    @cached_property
    def kinds(self) -> pl.DataFrame:
        """The kinds of messages: `kind`, `masked`, `template` (its number, null when no line is of the kind)."""
        return pl.read_parquet(self.folder / "kinds.parquet", memory_map=False)

    @cached_property
    def tally(self) -> pl.DataFrame:
        """Counts, first and last lines of each kind and source (see `shards.tally`)."""
        parts = [pl.read_parquet(self.folder / "tally.parquet", memory_map=False)]
        for shard in self.manifest.shards:
            if shard.open:
                parts.append(shards.tally(self._rows(shard).collect(), shard.source))
        return shards.merge(parts)

    @cached_property
    def templates(self) -> list[Template]:
        """The templates by id."""
        return naming.templates(self.kinds, self._timed(self.tally), self.sources)

    def drain_templates(self) -> list[Template]:
        """The templates that Drain3 finds in the same distinct masked messages (`templates.mine` with `drain`).

        Their ids are Drain's own and not those of `templates`, which the lines have.
        """
        return naming.templates(naming.by_drain(self.kinds), self._timed(self.tally), self.sources)

    @cached_property
    def by_id(self) -> dict[str, Template]:
        """Templates by id."""
        return {template.id: template for template in self.templates}

    def facts(self) -> pl.DataFrame:
        """A row a source: `source`, `lines`, `first` and `last` time (null without), `levels` (a dict), `fault`."""
        rows = []
        for number, source in enumerate(self.manifest.sources):
            own = [shard for shard in self.manifest.shards if shard.source == number]
            levels: dict[str, int] = {}
            for shard in own:
                for level, count in shard.levels.items():
                    levels[level] = levels.get(level, 0) + count
            spans = [edge for shard in own for edges in self.spans(shard) for edge in edges]
            rows.append(
                {
                    "source": source.name,
                    "lines": sum(shard.lines for shard in own),
                    "first": min(spans, default=None),
                    "last": max(spans, default=None),
                    "levels": levels,
                    "fault": source.fault,
                }
            )
        kinds: dict[str, Any] = {
            "source": pl.String,
            "lines": pl.Int64,
            "first": pl.Datetime("us"),
            "last": pl.Datetime("us"),
            "levels": pl.Object,
            "fault": pl.String,
        }
        return pl.DataFrame(rows, schema=kinds)

    def counts(self) -> Counts:
        """Lines by template and bucket (see `changes`); worked out once, then kept in `counts.parquet`."""
        path = self.folder / COUNTS
        spans = [span for shard in self.manifest.shards for span in self.spans(shard)]
        first = min((low for low, _ in spans), default=None)
        last = max((high for _, high in spans), default=None)
        timed = sum(shard.timed - self._dated * shard.dateless for shard in self.manifest.shards)
        axis = changes.axis(self.height, timed, first, last)
        try:
            return Counts(axis, pl.read_parquet(path, memory_map=False))
        except FileNotFoundError:
            pass
        parts, before = [], 0
        for shard in self.manifest.shards:
            parts.append(changes.count(self.frame(chosen=[shard]), axis, before))
            before += shard.lines
        counts = Counts(axis, changes.total(parts))
        with replacing(path) as partial:
            counts.frame.write_parquet(partial)
        return counts

    def spans(self, shard: Shard) -> list[tuple[datetime.datetime, datetime.datetime]]:
        """Earliest and latest time in a shard, for each turn of the year."""
        return [
            (self._placed(shard.source, turn, low), self._placed(shard.source, turn, high))
            for turn, low, high in shard.spans
            if not (self._dated and turn == DATELESS)
        ]

    def frame(self, *, chosen: Sequence[Shard] | None = None) -> pl.LazyFrame:
        """The log table as a lazy frame, in line order.

        Columns: `source`, `line`, `time`, `level`, `component`, `text`, `event`, `template` (id, null on blank lines),
        `host`, `pid`, `layout`, and the others that the reader has but for `message` (see `messages`).
        """
        parts = self.manifest.shards if chosen is None else chosen
        return pl.concat([self._shard(shard) for shard in parts]) if parts else self._nothing()

    def rows(self, places: Sequence[Place]) -> pl.DataFrame:
        """The rows of some places, in table order; places that are not there are left out."""
        wanted: dict[int, list[int]] = {}
        numbers = {name: number for number, name in enumerate(self.sources)}
        by_source: dict[int, list[int]] = {}
        for name, line in set(places):
            if name in numbers:
                by_source.setdefault(numbers[name], []).append(line)
        for at, shard in enumerate(self.manifest.shards):
            inside = [
                line for line in by_source.get(shard.source, ()) if shard.first <= line < shard.first + shard.lines
            ]
            if inside:
                wanted[at] = sorted(inside)
        parts = [part for at, lines in wanted.items() for part in self._slices(self.manifest.shards[at], lines)]
        return pl.concat(parts) if parts else self._nothing().collect()

    def slice(self, shard: Shard, first: int, count: int) -> pl.LazyFrame:
        """Rows of a shard from its row `first` (0-based) on; only the row groups that hold them are read."""
        return self._finished(self._rows(shard, first, count), shard)

    def messages(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Add `message`, the text without its header, to rows of this table."""
        parts = []
        for part in frame.partition_by("source", maintain_order=True):
            source = self.manifest.sources[self.sources.index(part["source"][0])]
            parts.append(part.with_columns(headers.parse(part["text"], source.layouts)["message"]))
        return pl.concat(parts) if parts else frame.with_columns(message=pl.lit(None, dtype=pl.String))

    def mined(self) -> Mined:
        """The whole table in memory, as `templates.mine` gives it; for logs that are small enough."""
        keys = pl.DataFrame({"template": list(self.by_id), "key": [one.key for one in self.templates]}, _KEYS)
        rows = self.messages(self.frame().collect()).join(keys, on="template", how="left", maintain_order="left")
        return Mined(rows.select(*reader.SCHEMA, "template", "key"), self.templates)

    def update(self, on_progress: OnProgress = silent, *, block_bytes: int = BLOCK_BYTES) -> "LogTable":
        """Follow the files: read what was added since, and say what else happened to them.

        Returns:
            The table with the new lines (this one still shows the old ones, until its folder is updated again).
        """
        notes = indexing.follow(self.folder, on_progress, block_bytes)
        return LogTable(self.folder, manifest.read(self.folder), notes)

    def _slices(self, shard: Shard, lines: list[int]) -> Iterator[pl.DataFrame]:
        """Rows of a shard, with one read for lines that lie near each other."""
        groups: list[list[int]] = [[lines[0]]]
        for line in lines[1:]:
            if line - groups[-1][-1] > shards.ROW_GROUP // 4:
                groups.append([])
            groups[-1].append(line)
        for group in groups:
            near = self.slice(shard, group[0] - shard.first, group[-1] - group[0] + 1)
            yield near.filter(pl.col("line").is_in(group)).collect()

    def _shard(self, shard: Shard) -> pl.LazyFrame:
        return self._finished(self._rows(shard), shard)

    def _rows(self, shard: Shard, first: int = 0, count: int | None = None) -> pl.LazyFrame:
        rows = pl.scan_parquet(
            self.folder / shard.name, row_index_name="line", row_index_offset=shard.first, glob=False, cache=False
        )
        rows = rows.slice(first, count) if first or count is not None else rows
        return rows.with_columns(pl.col("line").cast(pl.Int64))

    def _finished(self, rows: pl.LazyFrame, shard: Shard) -> pl.LazyFrame:
        """Rows of a shard as rows of the log table: source, year and template ids put in."""
        source = self.manifest.sources[shard.source]
        time = pl.col("time")
        turns = [turn for turn, _, _ in shard.spans if turn is not None and turn != DATELESS]
        if turns:
            time = pl.when(pl.col("turn") >= 0).then(self._place(shard.source, turns)).otherwise(time)
        if shard.dateless and self._dated:
            time = pl.when(pl.col("turn").ne_missing(DATELESS)).then(time)
        template = pl.lit(self._ids).gather(pl.col("kind"))
        rows = rows.with_columns(source=pl.lit(source.name), time=time, template=template)
        return rows.select(COLUMNS)

    def _place(self, source: int, turns: list[int]) -> pl.Expr:
        base = self.year - UNKNOWN_YEAR - self.manifest.sources[source].state.turn
        if len(set(turns)) == 1:
            return pl.col("time").dt.offset_by(f"{base + turns[0]}y")
        return pl.col("time").dt.offset_by((base + pl.col("turn").cast(pl.Int64)).cast(pl.String) + "y")

    def _placed(self, source: int, turn: int | None, micros: int) -> Any:
        time = pl.Series("time", [micros], dtype=pl.Int64).cast(pl.Datetime("us"))
        if turn is None or turn == DATELESS:
            return time[0]
        return time.to_frame().select(self._place(source, [turn]))["time"][0]

    def _timed(self, tally: pl.DataFrame) -> pl.DataFrame:
        """A tally with `first_time` and `last_time` of each row, years put in."""
        times = pl.lit(None, dtype=pl.Datetime("us"))
        parts = [tally.clear().with_columns(first_time=times, last_time=times)]
        for part in tally.partition_by("source", maintain_order=True):
            source = int(part["source"][0])
            low, high = (self._edge(part, source, edge) for edge in ("low", "high"))
            dated = part.with_columns(pl.col("low", "high").cast(pl.Datetime("us")))
            if self._dated and any(shard.dateless for shard in self.manifest.shards):
                dated = dated.with_columns(pl.when(pl.col(edge) >= DATED_FROM).then(edge) for edge in ("low", "high"))
            parts.append(
                part.with_columns(
                    first_time=dated.select(pl.min_horizontal("low", low))["low"],
                    last_time=dated.select(pl.max_horizontal("high", high))["high"],
                )
            )
        return pl.concat(parts)

    def _edge(self, part: pl.DataFrame, source: int, edge: str) -> pl.Series:
        turned = pl.col(f"{edge}_turned")
        micros = turned.mod(shards.YEAR_SPAN) + shards.YEAR_START
        frame = part.select(time=micros.cast(pl.Datetime("us")), turn=turned.floordiv(shards.YEAR_SPAN))
        turns = frame["turn"].drop_nulls().unique().to_list()
        return frame.select(self._place(source, turns))["time"] if turns else frame["time"]

    @cached_property
    def _ids(self) -> pl.Series:
        return self.kinds.select(pl.format("T{}", "template"))["template"]

    def _nothing(self) -> pl.LazyFrame:
        return pl.LazyFrame(schema={**reader.SCHEMA, "template": pl.String}).select(COLUMNS)


def index(
    paths: Sequence[Path],
    folder: Path | None = None,
    on_progress: OnProgress = silent,
    *,
    block_bytes: int = BLOCK_BYTES,
    names: Mapping[Path, str] | None = None,
) -> LogTable:
    """Read logs of any size into a table on disk, or bring the one that is there up to date.

    Args:
        paths: as `reader.expand`; `-` is standard input.
        folder: where the table goes; None takes one below `settings.home`/logs (see `cache`).
        on_progress: called with what is done, and what there is in all, in bytes of the files, about.
        block_bytes: text that each thread holds at a time, about.
        names: what a new table calls the sources; their paths where none is given.

    Raises:
        InputError: a path that is not there, or not one line in all the files: empty, binary or unreadable ones are
            left out with a note, but not the only one.
    """
    made, notes = indexing.index(paths, folder, on_progress, block_bytes, names)
    table = LogTable(made, manifest.read(made), notes)
    table.counts()
    return table


def open_table(folder: Path) -> LogTable:
    """The table in a folder, as it was when it was last indexed or updated.

    Raises:
        InputError: there is none, or another version of this package wrote it.
    """
    return LogTable(folder, manifest.read(folder))
