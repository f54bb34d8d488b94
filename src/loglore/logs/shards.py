"""From blocks of lines to shards: what is done to every line of a log, in the order of the work.

Parsing and masking (three quarters of the work) depend on the block alone and run in several threads; what depends on
the lines before (events, the turn of the year, numbers of message kinds) is cheap and runs in line order.

A shard holds the columns of the log table but for `source` and `line` (the shard's place tells them), `message` (the
header patterns give it back) and `template`: instead there is `kind`, the number of the masked message, so that a
template may generalise later and no shard has to be written again. `turn` counts turns of the year in times that lack
one.
"""

import datetime
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from loglore.logs import events, fulltext, headers, w3c
from loglore.logs.masking import MARKS
from loglore.logs.reader import SCHEMA
from loglore.logs.stream import Block, Stream, plain
from loglore.logs.templates import masked_messages
from loglore.logs.timestamps import DATED_FROM, UNKNOWN_YEAR, dateless, midnights

# Columns of the reader that a shard holds.
STORED = {name: kind for name, kind in SCHEMA.items() if name not in ("source", "line", "message")}
ROW_GROUP = 16 * fulltext.BLOCK_LINES
# Beyond this many distinct masked messages (free text, not a log's) further ones are known by their first words only.
MOST_KINDS = 200_000
FIRST_WORDS = 3
_TURN = datetime.timedelta(days=-180)
MICROSECOND = datetime.timedelta(microseconds=1)
# More than the microseconds of a leap year, and the start of the year that times without one are put in.
YEAR_SPAN = 1 << 45
DATED_MICROS = (DATED_FROM - datetime.datetime(1970, 1, 1)) // MICROSECOND
# The turn of times that have no date.
DATELESS = -1
YEAR_START = (datetime.datetime(UNKNOWN_YEAR, 1, 1) - datetime.datetime(1970, 1, 1)) // MICROSECOND


@dataclass
class Shard:
    """A file of consecutive lines of one source.

    number: names the file; never used again. source: index in the table's sources. first, lines: its line numbers.
    end: bytes of content up to its end. open: whether it holds just the last line, which had no line end yet.
    timed: lines with a time. dateless: those of them whose time has no date. levels: events by level.
    spans: (turn, earliest, latest) in µs, turn None for times that have a year, `DATELESS` without a date.
    """

    number: int
    source: int
    first: int
    lines: int
    end: int
    open: bool
    timed: int = 0
    dateless: int = 0
    levels: dict[str, int] = field(default_factory=dict)
    spans: list[tuple[int | None, int, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The file's name."""
        return f"shard-{self.number:06d}.parquet"


@dataclass
class State:
    """What the lines of a source so far mean for the next ones (see `events.Carry`).

    time, turn: of the last line whose time lacks a year. clock: of the last line whose time has no date, in µs; day:
    midnights before it.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    event: int = 0
    inside: bool = False
    time: int | None = None
    turn: int = 0
    clock: int | None = None
    day: int = 0

    def carry(self) -> events.Carry | None:
        """For `events.join`."""
        return events.Carry(pl.DataFrame(self.rows), self.event, self.inside) if self.rows else None


class Kinds:
    """The distinct masked messages of a log, numbered by first appearance.

    Attributes:
        masked: the messages by number.
        cut: how many messages (distinct ones of a block) were known by their first words only.
    """

    def __init__(self, masked: list[str], most: int = MOST_KINDS) -> None:
        self.masked = masked
        self.cut = 0
        self._most = most
        self._numbers = {text: number for number, text in enumerate(masked)}

    def number(self, text: str) -> int:
        """The number of a masked message; beyond the limit that of its first words, beyond twice the limit of none."""
        if text not in self._numbers and len(self.masked) >= self._most:
            self.cut += 1
            words = text.split(maxsplit=FIRST_WORDS)[:FIRST_WORDS] if len(self.masked) < 2 * self._most else []
            text = " ".join([*words, MARKS["text"]])
        if text not in self._numbers:
            self._numbers[text] = len(self.masked)
            self.masked.append(text)
        return self._numbers[text]


@dataclass
class Parsed:
    """A block after the work that needs no other block. frame: with `kind` as a number in `masked`; words: to index."""

    block: Block
    frame: pl.DataFrame
    masked: list[str]
    words: list[str]


def plan(stream: Stream) -> tuple[list[str], bool]:
    """How a source is to be read, from a sample over all of it: the layouts that occur, and whether it has headers.

    The directives of a W3C log are looked for in every line.
    """
    step, number = 1, 0
    directives: list[str] = []
    kept: list[pl.Series] = []
    for block in stream.blocks():
        kept.append(_each(block, (-number) % step, step))
        directives = w3c.directives([*directives, block.text])
        number += block.count
        if (wanted := headers.sample_step(number)) != step:
            kept = [pl.concat(kept).gather_every(wanted // step)]
            step = wanted
    sample = headers.parse(pl.concat([pl.Series("text", directives, dtype=pl.String), *kept])).slice(len(directives))
    return [*headers.present(sample), *directives], events.is_headed(sample)


def _each(block: Block, first: int, step: int) -> pl.Series:
    """Each `step`-th line of a block, found without making a string of every line."""
    content = block.text.encode()
    ends = np.append(np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n")), len(content))
    starts = np.append(0, ends[:-1] + 1)
    chosen = zip(starts[first::step].tolist(), ends[first::step].tolist(), strict=True)
    lines = [content[start:end].decode() for start, end in chosen]
    return plain(pl.Series("text", lines, dtype=pl.String))


def parse(block: Block, layouts: list[str]) -> Parsed:
    """Header fields and masked messages of a block."""
    lines = block.lines()
    frame = headers.parse(lines, layouts)
    messages = masked_messages(frame["message"])
    masked = messages["masked"].unique(maintain_order=True)
    numbers = pl.DataFrame({"masked": masked, "kind": pl.int_range(len(masked), dtype=pl.UInt32, eager=True)})
    messages = messages.join(numbers, on="masked", how="left").drop("masked")
    frame = frame.join(messages, on="message", how="left", maintain_order="left").drop("message")
    line = pl.int_range(block.first, block.first + frame.height, dtype=pl.Int64)
    return Parsed(block, frame.with_columns(line=line), masked.to_list(), fulltext.texts(lines))


def finish(parsed: Parsed, kinds: Kinds, state: State, *, headed: bool) -> tuple[pl.DataFrame, State]:
    """The rows of a shard, and the state after them."""
    numbers = pl.Series("kind", [kinds.number(text) for text in parsed.masked], dtype=pl.UInt32)
    local = parsed.frame["kind"]
    before = state.carry()
    frame = events.join(parsed.frame.with_columns(numbers.gather(local)), headed, before)
    carry = events.carry(frame, headed, before)
    after = replace(state, rows=carry.rows.to_dicts(), event=carry.event, inside=carry.inside)
    return _days(_turns(frame, after), after), after


def _turns(frame: pl.DataFrame, state: State) -> pl.DataFrame:
    """Add `turn`, the number of turns of the year before a time that lacks its year; null for other times."""
    loose = frame.filter(pl.col("yearless") & (pl.col("time") >= DATED_FROM)).select("line", "time")
    if loose.is_empty():
        return frame.with_columns(turn=pl.lit(None, dtype=pl.Int16))
    before = pl.Series([state.time], dtype=pl.Int64).cast(pl.Datetime("us"))
    steps = pl.concat([before, loose["time"]]).diff().slice(1)
    turns = (steps < _TURN).fill_null(value=False).cum_sum() + state.turn
    state.time, state.turn = int(loose["time"].cast(pl.Int64)[-1]), int(turns[-1])
    placed = loose.select("line").with_columns(turn=turns.cast(pl.Int16))
    return frame.join(placed, on="line", how="left", maintain_order="left")


def _days(frame: pl.DataFrame, state: State) -> pl.DataFrame:
    """Count the midnights before times without a date; their `turn` is `DATELESS`."""
    clock = frame.select(clock=dateless(pl.col("time"), pl.col("yearless")).fill_null(value=False))["clock"]
    if not clock.any():
        return frame
    loose = frame.filter(clock).select("line", "time")
    before = pl.Series([state.clock], dtype=pl.Int64).cast(pl.Datetime("us"))[0]
    days = midnights(loose["time"], before) + state.day
    state.clock, state.day = int(loose["time"].cast(pl.Int64)[-1]), int(days[-1])
    moved = loose.select("line", moved=pl.col("time") + pl.duration(days=pl.lit(days)))
    placed = frame.join(moved, on="line", how="left", maintain_order="left")
    turn = pl.when(pl.lit(clock)).then(pl.lit(DATELESS, dtype=pl.Int16)).otherwise("turn")
    return placed.with_columns(turn=turn, time=pl.coalesce("moved", "time")).drop("moved")


def write(frame: pl.DataFrame, folder: Path, shard: Shard) -> None:
    """Write the rows of a shard."""
    kept = frame.select(*(pl.col(name).cast(kind) for name, kind in STORED.items()), "kind", "turn")
    kept.write_parquet(folder / shard.name, compression="zstd", compression_level=1, row_group_size=ROW_GROUP)


def describe(frame: pl.DataFrame, shard: Shard) -> Shard:
    """Fill in levels and spans of a shard from its rows."""
    shard.timed = frame.height - frame["time"].null_count()
    shard.dateless = int((frame["turn"] == DATELESS).sum())
    shard.levels = dict(frame["level"].drop_nulls().value_counts().sort("level").iter_rows())
    micros = pl.col("time").cast(pl.Int64)
    spans = frame.filter(pl.col("time").is_not_null()).group_by("turn").agg(low=micros.min(), high=micros.max())
    shard.spans = list(spans.sort("turn", nulls_last=True).iter_rows())
    return shard


def tally(frame: pl.DataFrame, source: int) -> pl.DataFrame:
    """What templates need to know of the rows of one shard: a row a kind.

    `low` and `high` are the earliest and the latest time in µs, without a date as well; `low_turned` and `high_turned`
    those of times without a year, as turn x `YEAR_SPAN` + µs since the start of `UNKNOWN_YEAR`, which orders them
    before their year is known.
    """
    known = frame.filter(pl.col("kind").is_not_null())
    spoken = pl.col("level").is_not_null()
    micros, loose = pl.col("time").cast(pl.Int64), (pl.col("turn") >= 0).fill_null(value=False)
    low = micros.filter(~loose).min()
    if (frame["turn"] == DATELESS).any():
        low = _earliest(micros.filter(~loose))
    turned = pl.when(loose).then(pl.col("turn").cast(pl.Int64) * YEAR_SPAN + micros - YEAR_START)
    found = known.group_by("kind", maintain_order=True).agg(
        pl.lit(source, dtype=pl.Int32).alias("source"),
        pl.len().cast(pl.Int64).alias("count"),
        pl.col("line").first().alias("first"),
        pl.col("line").last().alias("last"),
        pl.col("text").first().alias("example"),
        pl.col("event").first().alias("event"),
        pl.col("level").filter(spoken).first().alias("level"),
        pl.col("line").filter(spoken).first().alias("level_line"),
        low.alias("low"),
        micros.filter(~loose).max().alias("high"),
        turned.min().alias("low_turned"),
        turned.max().alias("high_turned"),
    )
    # A few strings of a column keep the memory of the whole block alive; copies do not.
    return found.with_columns(example=pl.Series(found["example"].to_list(), dtype=pl.String))


def merge(tallies: list[pl.DataFrame]) -> pl.DataFrame:
    """Tallies of consecutive shards as one: a row a kind and source."""
    together = pl.concat(tallies)
    return (
        together.group_by("kind", "source", maintain_order=True)
        .agg(
            pl.col("count").sum(),
            pl.col("first").first(),
            pl.col("last").last(),
            pl.col("example").first(),
            pl.col("event").first(),
            pl.col("level").drop_nulls().first(),
            pl.col("level_line").drop_nulls().first(),
            _earliest(pl.col("low")),
            pl.col("low_turned").min(),
            pl.col("high", "high_turned").max(),
        )
        .select(EMPTY_TALLY.columns)
    )


def _earliest(micros: pl.Expr) -> pl.Expr:
    """The earliest time that has a date, or else the earliest."""
    return pl.coalesce(micros.filter(micros >= DATED_MICROS).min(), micros.min())


EMPTY_TALLY = pl.DataFrame(
    schema={
        "kind": pl.UInt32,
        "source": pl.Int32,
        "count": pl.Int64,
        "first": pl.Int64,
        "last": pl.Int64,
        "example": pl.String,
        "event": pl.Int64,
        "level": pl.String,
        "level_line": pl.Int64,
        "low": pl.Int64,
        "high": pl.Int64,
        "low_turned": pl.Int64,
        "high_turned": pl.Int64,
    }
)


def as_json(value: Shard | State) -> dict[str, Any]:
    """A shard's or a state's fields, for the manifest."""
    return asdict(value)
