"""Look up in a log what a text mentions: phrases, entities, times, templates, levels. Facts only, no judgement.

`LogIndex` works on a table in memory; `disk_lookup.TableIndex` has the same interface for a table on disk. What they
share says which words every line that is looked for must hold, so that an index of words can leave out the others.
"""

import re
import string
from collections.abc import Sequence
from datetime import datetime
from functools import cache, cached_property
from typing import Any

import polars as pl

from loglore.logs.query import Term

Place = tuple[str, int]
_WILDCARDS = re.compile(r"<\*>|<[A-Za-z_][\w -]*>|\{[A-Za-z_][\w -]*\}|\.{3}|…|\[\.\.\.\]|%[sd]\b")
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$#&~-])")
_REGULAR = re.compile(r"\.[*+]|\\[dwsS]|\[[^\]\s]+\][*+?{]|\(\?:")
# Quotation marks as they stand in a JSON string.
_ESCAPED = re.compile(r"\\([\"\\])")
LONGEST_CLOSE = 400
_ALNUM = string.ascii_lowercase + string.digits + "."


class LogIndex:
    """One log table (read or mined, whole or a slice) with its lookups; they return places (source, line) in order."""

    def __init__(self, table: pl.DataFrame) -> None:
        folded = pl.col("text").str.replace_all(r"\s+", " ").str.strip_chars().str.to_lowercase()
        self.table = table.with_columns(folded=folded)
        self.sources = table["source"].unique(maintain_order=True).to_list()
        self.find = cache(self._find)
        self.find_entity = cache(self._find_entity)

    @cached_property
    def places(self) -> set[Place]:
        """Every place of the log."""
        return set(self.table.select("source", "line").iter_rows())

    @cached_property
    def events(self) -> dict[Place, int]:
        """The event of each place."""
        return {
            (source, line): event for source, line, event in self.table.select("source", "line", "event").iter_rows()
        }

    @cached_property
    def order(self) -> dict[Place, int]:
        """Row number of each place; comparable within a source."""
        return {place: row for row, place in enumerate(self.table.select("source", "line").iter_rows())}

    def lines_of(self, source: str) -> tuple[int, int]:
        """First and last line number of a source."""
        lines = self.table.filter(pl.col("source") == source)["line"]
        return int(lines[0]), int(lines[-1])

    def _find(self, phrase: str) -> tuple[Place, ...]:
        """Lines that contain a phrase, whatever its case and spacing; `<*>`, `…`, `<name>`, `{name}` stand for text.

        What no line has as it stands and what has the signs of a regular expression is looked for as one.
        """
        if not fold(phrase):
            return ()
        exact = self._literal(fold(phrase))
        if exact:
            return exact
        pieces = [fold(part) for part in _WILDCARDS.split(phrase)]
        parts = [_SPECIAL.sub(r"\\\1", piece) for piece in pieces]
        if len(parts) > 1 and any(len(part) >= 3 for part in parts):
            words = [word for piece in pieces for word in inner_words(piece)]
            return self._places(pl.col("folded").str.contains(".*?".join(parts)), words)
        if _REGULAR.search(phrase):
            # Not one: null, so no line.
            matches = pl.col("folded").str.contains(f"(?i){phrase.strip('/')}", strict=False)
            return self._places(matches.fill_null(value=False))
        trimmed = fold(phrase).rstrip(".,;:!")
        for other in (trimmed, _ESCAPED.sub(r"\1", trimmed)):
            if other and other != fold(phrase) and (places := self._literal(other)):
                return places
        return ()

    def _literal(self, folded: str) -> tuple[Place, ...]:
        return self._places(pl.col("folded").str.contains(folded, literal=True), inner_words(folded))

    def _find_entity(self, value: str) -> tuple[Place, ...]:
        """Lines with an entity that is not part of a longer one (10.0.0.1 is not in 10.0.0.12)."""
        escaped = _SPECIAL.sub(r"\\\1", value.lower())
        end = r"(?:$|[^\w.]|\.(?:$|[^\w]))" if re.search(r"\w$", value) else ""
        start = r"(?:^|[^\w.])" if re.match(r"\w", value) else ""
        return self._places(pl.col("folded").str.contains(start + escaped + end), Term(value.lower()).words())

    def find_number(self, value: str) -> tuple[Place, ...]:
        """Lines with a whole number in their text or as their pid."""
        whole = rf"(?:^|[^\w.]|_){value}(?:$|[^\w.]|_|\.(?:$|[^0-9]))"
        return self._places(pl.col("folded").str.contains(whole), Term(value).words())

    def find_code(self, number: int) -> tuple[Place, ...]:
        """Lines that mention line `number` of a program or file: `app.py", line 42`, `nginx.conf:42`."""
        named = rf"(?:\bline |\.[a-z]{{1,5}}:){number}(?:$|[^0-9])"
        return self._places(pl.col("folded").str.contains(named), Term(str(number), prefix=True).words())

    def find_time(self, day: str | None, clock: str) -> tuple[Place, ...]:
        """Lines whose text has the clock time (to the precision given), or whose time has it in UTC."""
        found = written_clock(clock)
        text = clock.replace(",", ".")
        moment = pl.col("time").dt.strftime("%H:%M:%S%.6f").str.starts_with(text.zfill(8) if "." not in text else text)
        if day is not None:
            moment &= pl.col("time").dt.strftime("%Y-%m-%d") == day
            found &= pl.col("folded").str.contains(day, literal=True) | (pl.col("time").dt.strftime("%Y-%m-%d") == day)
        return self._places(found | moment.fill_null(value=False))

    @cached_property
    def has_clock(self) -> bool:
        """Whether most events of the log have a time, so that a time that no line has is a wrong one."""
        heads = self.table.filter(pl.col("event") == pl.col("line"))
        return heads.height > 0 and heads["time"].null_count() * 2 < heads.height

    def occurrences(self, phrase: str) -> int:
        """How often a phrase occurs, several times a line included."""
        return int(self.table["folded"].str.count_matches(fold(phrase), literal=True).sum() or 0)

    def times_of(self, places: Sequence[Place]) -> list[datetime]:
        """The times (UTC) of those of some places that have one."""
        wanted = pl.DataFrame(places, schema={"source": pl.String, "line": pl.Int64}, orient="row")
        found = self.table.join(wanted, on=["source", "line"], how="semi")["time"]
        return list(found.drop_nulls())

    @cached_property
    def span(self) -> tuple[datetime, datetime] | None:
        """The earliest and the latest time of the log; None when no line has one."""
        first, last = self.table.select(pl.col("time").min(), pl.col("time").max().alias("last")).row(0)
        return None if first is None else (first, last)

    def of_template(self, identifier: str) -> tuple[Place, ...]:
        """Lines of a template id, when the table is mined."""
        return self._places(pl.col("template") == identifier) if "template" in self.table.columns else ()

    def of_level(self, *levels: str) -> tuple[Place, ...]:
        """Lines of one of the levels."""
        return self._places(pl.col("level").is_in(levels))

    def text_at(self, place: Place) -> str:
        """The text of a line."""
        rows = self.table.filter((pl.col("source") == place[0]) & (pl.col("line") == place[1]))["text"]
        return str(rows[0])

    def closest(self, phrase: str) -> tuple[float, str, Place]:
        """The stretch of a line that is most like a phrase: similarity 0–1, the stretch, its place."""
        return closest_of(self._distinct, phrase)

    @cached_property
    def _distinct(self) -> pl.DataFrame:
        return self.table.filter(pl.col("folded") != "").unique("folded", keep="first", maintain_order=True)

    def _places(self, condition: pl.Expr, words: Sequence[str] = ()) -> tuple[Place, ...]:
        """Places of the rows that meet a condition, all of which have the words (FTS5 expressions)."""
        return tuple(self.table.filter(condition).select("source", "line").iter_rows())


def closest_of(distinct: pl.DataFrame, phrase: str) -> tuple[float, str, Place]:
    """The stretch of one of some folded lines (`folded`, `source`, `line`) that is most like a phrase."""
    from rapidfuzz import fuzz, process

    wanted = fold(phrase)[:LONGEST_CLOSE]
    best: Any = process.extractOne(wanted, distinct["folded"].to_list(), scorer=fuzz.partial_ratio, score_cutoff=50)
    if best is None or len(best[0]) < len(wanted) / 2:
        return 0.0, "", ("", 0)
    found = fuzz.partial_ratio_alignment(wanted, best[0])
    row = distinct.row(best[2], named=True)
    stretch = best[0][found.dest_start : found.dest_end] if found else best[0]
    return best[1] / 100, stretch, (row["source"], row["line"])


def written_clock(clock: str) -> pl.Expr:
    """Whether a folded line has a clock time in its text."""
    text = clock.replace(",", ".")
    digits = "0?" + _SPECIAL.sub(r"\\\1", text.lstrip("0") if text[0] == "0" and text[1] != ":" else text)
    digits = digits.replace(r"\.", "[.,]")
    return pl.col("folded").str.contains(rf"(?:^|[^0-9]){digits}(?:$|[^0-9:])")


def inner_words(phrase: str) -> list[str]:
    """Words that a line with this phrase has: not its first and last, which may be parts of longer ones.

    >>> inner_words("fused by 10.0.0.5 at po")
    ['"by"', '"10"', '"0"', '"5"', '"at"', '"10z0z0z5"', '"po" *']
    """
    inner = phrase.lstrip(_ALNUM)
    return Term(inner, prefix=True).words() if inner else []


def fold(text: str) -> str:
    """Lower case, white space as single blanks: how phrases and lines are compared."""
    return " ".join(text.split()).lower()
