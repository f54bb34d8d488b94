"""A log as evidence sees it: facts, templates, counts over time, and the lines that may be shown.

A log in memory shows all its lines. Of a table on disk only candidates are read: the first line of every kind of
message (kept with the counts), the surroundings of the most severe ones, the edges, and what the question names; so the
time does not grow with the log.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from loglore.logs import changes, fulltext, naming, query
from loglore.logs.changes import Counts
from loglore.logs.indexing import WORDS
from loglore.logs.table import LogTable
from loglore.logs.templates import Mined, Template

Log = Mined | LogTable
Place = tuple[str, int]
ROWS = ("source", "line", "event", "template", "text")
# Of a table on disk: places read with their surroundings, kinds shown of each template, lines for each asked word.
MOST_READ = 24
MOST_KINDS_EACH = 4
MOST_EXAMPLES = 4000
MOST_ANSWERS = 40
MOST_ANSWER_BLOCKS = 48
EDGE = 3
AROUND = 3
_WORD = re.compile(r"[A-Za-z0-9_.:/@-]*[A-Za-z0-9]|[぀-ヿ一-鿿]+")
_LINE = re.compile(r"(?i)\b(?:lines?\s+|L)([0-9]+)(?:\s*(?:-|–|to)\s*L?([0-9]+))?")
_STOP_WORDS = (
    "the a an of in on at to is are was were be been and or not what which who why when how do does did this that "
    "it its log logs line lines file for from with by as any there show me please can you i we my our"
)
_STOP = frozenset(_STOP_WORDS.split())
MOST_NAMED = 200


@dataclass(frozen=True)
class SourceFacts:
    """One file: how many lines, first and last time (None without times), events by level, why it is partial."""

    name: str
    lines: int
    first: Any
    last: Any
    levels: dict[str, int]
    fault: str = ""


@dataclass(frozen=True)
class View:
    """A log with what evidence needs, worked out once.

    sources: facts of each file. templates: all of them; levels: of those whose lines have one. rows: lines that may be
    shown (`ROWS`), in order; whole: whether they are all. asked: words of the question and their weight. named: line
    numbers that the question names. count: computes the counts over time.
    """

    sources: list[SourceFacts]
    templates: list[Template]
    levels: dict[str, str]
    rows: pl.DataFrame
    whole: bool
    asked: dict[str, float]
    named: frozenset[int]
    log: Log
    count: Callable[[], Counts]

    @property
    def height(self) -> int:
        """Lines in all."""
        return sum(source.lines for source in self.sources)

    @cached_property
    def counts(self) -> Counts:
        """Lines by template and bucket."""
        return self.count()


def view(log: Log, question: str = "") -> View:
    """See a log for a question."""
    named = frozenset(
        number
        for found in _LINE.finditer(question)
        for number in range(int(found[1]), min(int(found[2] or found[1]), int(found[1]) + MOST_NAMED) + 1)
    )
    words = sorted({word.lower() for word in _WORD.findall(question)} - _STOP)
    if isinstance(log, Mined):
        return _of_mined(log, words, named)
    return _of_table(log, words, named)


def _of_mined(log: Mined, words: list[str], named: frozenset[int]) -> View:
    table = log.table
    known = table.filter(pl.col("template").is_not_null())
    levels = {
        template: level
        for template, level in known.group_by("template").agg(pl.col("level").drop_nulls().first()).iter_rows()
        if level is not None
    }
    texts = table["text"].str.to_lowercase()
    asked = {}
    for word in words:
        count = int(texts.str.contains(word, literal=True).sum()) if len(word) > 1 else 0
        if count:
            asked[word] = math.log2((len(texts) + 1) / count) + 1
    sources = facts(table)
    rows = table.select(ROWS)
    return View(sources, log.templates, levels, rows, True, asked, named, log, lambda: counts_of(log))


def facts(log: pl.DataFrame | LogTable) -> list[SourceFacts]:
    """Facts of each source of a log table, in memory or on disk."""
    if isinstance(log, LogTable):
        return [SourceFacts(**row) for row in log.facts().rename({"source": "name"}).iter_rows(named=True)]
    return [_facts(part) for part in log.partition_by("source", maintain_order=True)]


def _facts(part: pl.DataFrame) -> SourceFacts:
    levels = dict(part["level"].drop_nulls().value_counts().sort("level").iter_rows())
    return SourceFacts(part["source"][0], part.height, part["time"].min(), part["time"].max(), levels)


def counts_of(log: Mined) -> Counts:
    """Counts over time of a log in memory."""
    time = log.table["time"]
    first: Any = time.min()
    last: Any = time.max()
    axis = changes.axis(log.table.height, log.table.height - time.null_count(), first, last)
    return Counts(axis, changes.total([changes.count(log.table.lazy(), axis)]))


def _of_table(log: LogTable, words: list[str], named: frozenset[int]) -> View:
    asked, answers = _asked(log, words)
    levels = naming.levels(log.kinds, log.tally)
    examples = _examples(log)
    sources = facts(log)
    places = {(source.name, line) for source in sources[:MOST_READ] for line in _edges(source.lines)}
    places |= {(source.name, line) for source in sources[:MOST_READ] for line in named}
    for template in _worst(log, levels):
        for line in (template.first, template.last):
            places |= {(template.source, line + step) for step in range(-AROUND, 2 * AROUND + 1)}
    read = log.rows(sorted(places)).select(ROWS)
    order = pl.DataFrame({"source": log.sources, "order": range(len(log.sources))})
    rows = pl.concat([read, answers, examples]).unique(["source", "line"], keep="first")
    rows = rows.join(order, on="source").sort("order", "line").select(ROWS)
    whole = rows.height == log.height
    return View(sources, log.templates, levels, rows, whole, asked, named, log, log.counts)


def _edges(lines: int) -> list[int]:
    return [*range(1, EDGE + 1), *range(max(1, lines - EDGE + 1), lines + 1)]


_SEVERITY = {"fatal": 3, "error": 2, "warning": 1}


def _worst(log: LogTable, levels: dict[str, str]) -> list[Template]:
    """The most severe templates, rare ones first."""
    severe = [one for one in log.templates if levels.get(one.id) in _SEVERITY]
    severe.sort(key=lambda one: (-_SEVERITY[levels[one.id]], one.count, int(one.id[1:])))
    return severe[:MOST_READ]


def _examples(log: LogTable) -> pl.DataFrame:
    """The first line of every kind of message, a few kinds of each template, from what is kept with the counts."""
    kinds = log.kinds.select("kind", template=pl.format("T{}", "template"))
    names = pl.DataFrame(
        {"source": range(len(log.sources)), "name": log.sources}, schema_overrides={"source": pl.Int32}
    )
    rows = log.tally.join(kinds, on="kind").join(names, on="source").sort("source", "first")
    rows = rows.group_by("template", maintain_order=True).head(MOST_KINDS_EACH).head(MOST_EXAMPLES)
    return rows.select(source="name", line="first", event="event", template="template", text="example")


def _asked(log: LogTable, words: list[str]) -> tuple[dict[str, float], pl.DataFrame]:
    """Weights of asked words, from the number of blocks that have them, and lines with the rare ones."""
    from loglore.logs.search import candidates

    total = sum(-(-shard.lines // fulltext.BLOCK_LINES) for shard in log.manifest.shards)
    asked: dict[str, float] = {}
    answers = [log.rows([]).select(ROWS)]
    for word in words:
        match = query.match([[query.Term(word)]]) if len(word) > 1 else None
        if match is None:
            continue
        blocks = len(fulltext.blocks_with(log.folder / WORDS, match))
        if not blocks:
            continue
        asked[word] = math.log2((total + 1) / blocks) + 1
        if blocks <= MOST_ANSWER_BLOCKS:
            holds = query.Term(word).condition(pl.col("text").str.to_lowercase())
            found = [part.filter(holds).select(ROWS).collect() for part, _ in candidates(log, match)]
            answers.append(pl.concat([answers[0], *found]).head(MOST_ANSWERS))
    return asked, pl.concat(answers)
