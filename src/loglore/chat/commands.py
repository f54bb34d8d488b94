"""What the chat's commands show of a log without a model: lines, templates, parts set side by side."""

import re
from typing import TYPE_CHECKING

import polars as pl

from loglore.errors import InputError
from loglore.logs import findings
from loglore.logs.table import LogTable
from loglore.logs.view import Log, view

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_LINES = 200
MOST_TEMPLATES = 20
CONTEXT = 5
_RANGE = re.compile(r"L?([0-9]+)(?:\s*(?:-|–|\.\.)\s*L?([0-9]+))?")


def lines(log: Log, wanted: str) -> list[str]:
    """Lines `120-140` of every file of a log, or one line with its surroundings.

    Raises:
        InputError: not a range, or one that ends before it begins.
    """
    found = _RANGE.fullmatch(wanted.strip())
    if found is None:
        raise InputError(f"lines {wanted!r}: expected numbers such as 120-140")
    first = int(found[1])
    last = int(found[2]) if found[2] else first + CONTEXT
    first = first if found[2] else max(1, first - CONTEXT)
    if last < first:
        raise InputError(f"lines {wanted!r}: the range ends before it begins")
    numbers = range(first, min(last, first + MOST_LINES - 1) + 1)
    if isinstance(log, LogTable):
        rows = log.rows([(source, number) for source in log.sources for number in numbers])
        several = len(log.sources) > 1
    else:
        rows = log.table.filter(pl.col("line").is_between(numbers.start, numbers.stop - 1))
        several = log.table["source"].n_unique() > 1
    shown = _rows(rows, several) or ["No such lines."]
    return shown if numbers.stop > last else [*shown, f"… the first {MOST_LINES} of {last - first + 1:,} lines"]


def templates(log: Log) -> list[str]:
    """The most frequent templates with their counts."""
    often = sorted(log.templates, key=lambda one: -one.count)
    shown = [f"  {one.id:>5} {one.count:>9,} × {findings.shorten(one.text, 160)}" for one in often[:MOST_TEMPLATES]]
    rest = len(often) - len(shown)
    return [*shown, f"  … and {rest:,} more"] if rest > 0 else shown


def template(log: Log, name: str) -> list[str]:
    """A template and its first lines.

    Raises:
        InputError: no such template.
    """
    known = log.by_id.get(name.strip().upper())
    if known is None:
        raise InputError(f"template {name.strip()!r}: the log has T1 to T{len(log.templates)}; /templates lists them")
    condition = pl.col("template") == known.id
    if isinstance(log, LogTable):
        from loglore.logs import looking

        rows, _ = looking.lines(log, looking.Wanted(template=known.id), MOST_TEMPLATES)
        several = len(log.sources) > 1
    else:
        rows = log.table.filter(condition).head(MOST_TEMPLATES)
        several = log.table["source"].n_unique() > 1
    count = f"{known.count:,} line{'' if known.count == 1 else 's'}"
    head = f"{known.id}: {count}, L{known.first} to L{known.last}: {findings.shorten(known.text, 300)}"
    more = [f"… and {known.count - rows.height:,} more"] if known.count > rows.height else []
    return [head, *_rows(rows, several), *more]


def begins(log: Log) -> "Sequence[str]":
    """What begins late, jumps, stops or goes together, as the evidence says it."""
    seen = view(log)
    return findings.changes(seen, lambda source, line: f"L{line}") or ["Nothing begins late or jumps."]


def windows(log: Log, wanted: str) -> tuple[findings.Window, findings.Window] | None:
    """Two spans of time, `10:00..10:05 10:05..10:10`; None for nothing, which means the halves.

    Raises:
        InputError: not two spans.
    """
    from loglore.logs import search

    parts = wanted.split()
    if not parts:
        return None
    if len(parts) != len(("before", "after")):
        raise InputError(f"compare {wanted!r}: expected two spans such as 10:00..10:05 10:05..10:10")
    return search.windows(parts[0], parts[1], log)


def compared(log: Log, spans: tuple[findings.Window, findings.Window]) -> list[str]:
    """What differs between two spans, counted."""
    return findings.compared(view(log), spans, lambda source, line: f"L{line}")


def _rows(rows: pl.DataFrame, several: bool) -> list[str]:
    return [
        f"{source}:L{line}| {findings.shorten(text)}" if several else f"L{line}| {findings.shorten(text)}"
        for source, line, text in rows.select("source", "line", "text").iter_rows()
    ]
