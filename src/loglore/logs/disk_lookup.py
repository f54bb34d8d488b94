"""Look-ups in a log table on disk, for grounding over logs of any size; the interface is that of `lookup.LogIndex`.

Answers are exact: the word index only leaves out blocks that cannot hold one. Two things are bounded. More than
`MOST_PLACES` places of one thing raise `TooManyError` (a claim about it is then unverifiable), and the line closest to
a phrase that is not there is looked for among the lines that share its rarest words.
"""

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property
from typing import Any

import polars as pl

from loglore.logs import fulltext, search
from loglore.logs.indexing import WORDS
from loglore.logs.lookup import LogIndex, Place, closest_of, fold, inner_words, written_clock
from loglore.logs.query import Term
from loglore.logs.table import LogTable

MOST_PLACES = 200_000
MOST_CLOSE = 20_000
RAREST_WORDS = 4
_DAY = 86_400_000_000


class TooManyError(Exception):
    """More places than are looked at."""


class TableIndex(LogIndex):
    """The look-ups of a log table on disk."""

    def __init__(self, log: LogTable) -> None:
        self.log = log
        self.table: Any = log
        self.sources = log.sources
        self.events: Any = _Events(log)
        self.order: Any = _Order(log)
        self.places: Any = _Places(log)
        self.find = cache(self._find)
        self.find_entity = cache(self._find_entity)

    def lines_of(self, source: str) -> tuple[int, int]:
        """First and last line number of a source."""
        return 1, self.log.lines_of[source]

    def times_of(self, places: Sequence[Place]) -> list[datetime]:
        """The times (UTC) of those of some places that have one."""
        return list(self.log.rows(places)["time"].drop_nulls())

    @cached_property
    def span(self) -> tuple[datetime, datetime] | None:
        """The earliest and the latest time of the log; None when no line has one."""
        facts = self.log.facts()
        first, last = facts["first"].min(), facts["last"].max()
        return (first, last) if isinstance(first, datetime) and isinstance(last, datetime) else None

    def find_time(self, day: str | None, clock: str) -> tuple[Place, ...]:
        """Lines whose text has the clock time (to the precision given), or whose time has it in UTC."""
        text = clock.replace(",", ".").zfill(8) if "." not in clock.replace(",", ".") else clock.replace(",", ".")
        whole, _, fraction = text.partition(".")
        hours, minutes, seconds = (int(part) for part in whole.split(":"))
        start = (hours * 3600 + minutes * 60 + seconds) * 1_000_000 + int(fraction.ljust(6, "0")[:6] or 0)
        width = 10 ** (6 - min(len(fraction), 6))
        moment = (pl.col("time").cast(pl.Int64) % _DAY).is_between(start, start + width - 1)
        found = written_clock(clock)
        if day is not None:
            on_day = pl.col("time").dt.strftime("%Y-%m-%d") == day
            moment &= on_day
            found &= pl.col("folded").str.contains(day, literal=True) | on_day
        by_time = self._places(moment.fill_null(value=False))
        by_text = self._places(
            found.fill_null(value=False), inner_words(":" + clock.replace(",", ".").split(":", 1)[1])
        )
        return tuple(sorted({*by_time, *by_text}, key=lambda place: self.order[place]))

    @cached_property
    def has_clock(self) -> bool:
        """Whether most events of the log have a time, so that a time that no line has is a wrong one."""
        heads = self.log.frame().filter(pl.col("event") == pl.col("line"))
        count, timed = heads.select(pl.len(), pl.col("time").count()).collect().row(0)
        return bool(timed * 2 > count)

    def occurrences(self, phrase: str) -> int:
        """How often a phrase occurs, several times a line included."""
        count = pl.col("folded").str.count_matches(fold(phrase), literal=True).sum()
        parts = self._candidates(inner_words(fold(phrase)))
        return sum(int(part.select(count).collect().item() or 0) for part in parts)

    def of_template(self, identifier: str) -> tuple[Place, ...]:
        """Lines of a template id."""
        return self._places(pl.col("template") == identifier) if identifier in self.log.by_id else ()

    def text_at(self, place: Place) -> str:
        """The text of a line."""
        return str(self.log.rows([place])["text"][0])

    def closest(self, phrase: str) -> tuple[float, str, Place]:
        """The stretch of a line that is most like a phrase, among the lines with its rarest words."""
        words = []
        for word in dict.fromkeys(Term(fold(phrase)).words()):
            blocks = len(fulltext.blocks_with(self.log.folder / WORDS, word))
            if blocks:
                words.append((blocks, word))
        if not words:
            return 0.0, "", ("", 0)
        chosen = " OR ".join(word for _, word in sorted(words)[:RAREST_WORDS])
        kept: list[pl.DataFrame] = []
        have = 0
        for part, _ in search.candidates(self.log, chosen):
            kept.append(_folded(part).filter(pl.col("folded") != "").select("folded", "source", "line").collect())
            have += kept[-1].height
            if have >= MOST_CLOSE:
                break
        return closest_of(pl.concat(kept).unique("folded", keep="first", maintain_order=True), phrase)

    def _places(self, condition: pl.Expr, words: Sequence[str] = ()) -> tuple[Place, ...]:
        found: list[tuple[str, int, int]] = []
        for part in self._candidates(words):
            found += part.filter(condition).select("source", "line", "event").collect().rows()
            if len(found) > MOST_PLACES:
                raise TooManyError
        self.events.remember(found)
        return tuple((source, line) for source, line, _ in found)

    def _candidates(self, words: Sequence[str]) -> Iterator[pl.LazyFrame]:
        match = " AND ".join(dict.fromkeys(words)) or None
        return (_folded(part) for part, _ in search.candidates(self.log, match))


def _folded(rows: pl.LazyFrame) -> pl.LazyFrame:
    folded = pl.col("text").str.replace_all(r"\s+", " ").str.strip_chars().str.to_lowercase()
    return rows.with_columns(folded=folded)


class _Places:
    """Which places there are."""

    def __init__(self, log: LogTable) -> None:
        self._lines = log.lines_of

    def __contains__(self, place: Place) -> bool:
        return 1 <= place[1] <= self._lines.get(place[0], 0)


class _Order:
    """The row number of each place."""

    def __init__(self, log: LogTable) -> None:
        self._before = {}
        before = 0
        for source, lines in log.lines_of.items():
            self._before[source] = before
            before += lines

    def __getitem__(self, place: Place) -> int:
        return self._before[place[0]] + place[1] - 1


class _Events(Mapping[Place, int]):
    """The event of each place, read when it is asked for."""

    def __init__(self, log: LogTable) -> None:
        self._log = log
        self._known: dict[Place, int] = {}

    def remember(self, rows: Sequence[tuple[str, int, int]]) -> None:
        """Take up what was read anyway."""
        if len(self._known) > 2 * MOST_PLACES:
            self._known.clear()
        self._known.update({(source, line): event for source, line, event in rows})

    def __getitem__(self, place: Place) -> int:
        if place not in self._known:
            rows = self._log.rows([place])
            if rows.is_empty():
                raise KeyError(place)
            self._known[place] = int(rows["event"][0])
        return self._known[place]

    def __iter__(self) -> Iterator[Place]:
        return (place for place, _ in self.items())

    def __len__(self) -> int:
        return self._log.height

    def items(self) -> ItemsView[Place, int]:
        """Places and their events, shard by shard."""
        return _EventItems(self, self._log)


class _EventItems(ItemsView[Place, int]):
    def __init__(self, mapping: _Events, log: LogTable) -> None:
        super().__init__(mapping)
        self._log = log

    def __iter__(self) -> Iterator[tuple[Place, int]]:
        for shard in self._log.manifest.shards:
            rows = self._log.frame(chosen=[shard]).select("source", "line", "event").collect()
            for source, line, event in rows.iter_rows():
                yield (source, line), event
