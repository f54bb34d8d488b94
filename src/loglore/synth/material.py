"""What a row is about: a chunk as it is, or the digest of a window of the log, as the chat shows a log of any size.

    chunk ─────────────── lines (numbered or not) ──────────────────┐
    run of chunks of one split ── window ── mine, evidence.build ───┴─ student's log text, teacher's log text, Shown

A window is presented as a log of its own, numbered from 1 and mined anew, because in use the digest is of a whole log.
It lies in a run of chunks of the same split, so no held-out line is in a training window.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

import polars as pl

from loglore.data.frame import numbered_lines
from loglore.errors import InputError
from loglore.logs import evidence, reader, templates
from loglore.logs.chunks import Chunk
from loglore.logs.lookup import fold
from loglore.synth.analyst.facts import Facts, View, facts_of
from loglore.synth.gate import Shown

# Windows tried for a row, each half as long as the one before.
_TRIES = 4
# A row of a digest's template table; log lines there begin with their number.
_TEMPLATE_ROW = re.compile(r"^(T[0-9]+) ×", re.MULTILINE)


@dataclass(frozen=True)
class Material:
    """A log as one row shows it.

    Attributes:
        chunk: what it is cut from; `id` names the row's place in the log.
        id: `name.log:first-last`.
        first, last: lines in the log; shown: what the student sees (its table is numbered from 1 in a digest).
        student, teacher: the log text for each of them.
        patterns: template text by key.
        digest: whether the student sees a digest; omitted: lines of the window that it leaves out.
    """

    chunk: Chunk
    id: str
    first: int
    last: int
    shown: Shown
    student: str
    teacher: str
    patterns: Mapping[str, str]
    digest: bool = False
    omitted: int = 0

    @cached_property
    def facts(self) -> Facts:
        """What the analyst reads."""
        return facts_of(self.shown.table, self.patterns, self.shown.numbered, self.shown.view)

    @property
    def source(self) -> str:
        """The log's file name."""
        return PurePath(self.chunk.source).name


@dataclass(frozen=True)
class Source:
    """The mined logs: rows by source, template texts by key."""

    parts: Mapping[str, pl.DataFrame]
    patterns: Mapping[str, str]

    def rows(self, chunk: Chunk) -> pl.DataFrame:
        """The rows of a chunk; row 0 of a source is its line 1."""
        return self.between(chunk.source, chunk.first, chunk.last)

    def between(self, source: str, first: int, last: int) -> pl.DataFrame:
        """The rows of lines `first` to `last` of a source."""
        return self.parts[source].slice(first - 1, last - first + 1)


def whole(chunk: Chunk, source: Source, numbered: bool) -> Material:
    """A chunk as its lines."""
    with_numbers = numbered_lines(chunk.lines, chunk.first)
    return Material(
        chunk=chunk,
        id=chunk.id,
        first=chunk.first,
        last=chunk.last,
        shown=Shown(source.rows(chunk), numbered),
        student=with_numbers if numbered else "\n".join(chunk.lines),
        teacher=with_numbers,
        patterns=source.patterns,
    )


@dataclass(frozen=True)
class Digests:
    """Makes digests of windows.

    Attributes:
        source: the logs.
        members: the chunks of one split.
        budget: tokens of a digest at most; count: tokens of a text.
        longest: lines of a window at most.
        seed: of the windows' sizes and places.
    """

    source: Source
    members: Sequence[Chunk]
    budget: int
    count: Callable[[str], int]
    longest: int
    seed: int

    @cached_property
    def _runs(self) -> dict[str, list[Chunk]]:
        """For each chunk the run of neighbouring chunks that it is in."""
        runs: dict[str, list[Chunk]] = {}
        run: list[Chunk] = []
        for chunk in sorted(self.members, key=lambda one: (one.source, one.first)):
            if not run or run[-1].source != chunk.source or run[-1].last + 1 != chunk.first:
                run = []
            run.append(chunk)
            runs[chunk.id] = run
        return runs

    def windows(self, chunk: Chunk, task: str) -> list[tuple[int, int]]:
        """Windows to try, first and last line: of seeded size around a chunk, then smaller ones, then the chunk."""
        run = self._runs[chunk.id]
        place = run.index(chunk)
        draw = random.Random(f"{self.seed}:window:{chunk.id}:{task}")
        # Even over orders of magnitude: as many small logs, shown whole, as long ones.
        size = max(1, round(len(run) ** draw.random()))
        found = []
        for number in range(_TRIES):
            wide = max(1, size >> number)
            first = draw.randint(max(0, place - wide + 1), min(place, len(run) - wide))
            start, end = run[first].first, run[first + wide - 1].last
            if end - start < self.longest:
                found.append((start, end))
        return list(dict.fromkeys([*found, (chunk.first, chunk.last)]))

    def of(self, chunk: Chunk, first: int, last: int, question: str) -> Material | None:
        """The digest of a window for a question; None when the budget is too small even for its overview."""
        mined = window(self.source.between(chunk.source, first, last))
        try:
            found = evidence.build(mined, self.budget, self.count, question)
        except InputError:
            return None
        complete = not found.omitted["lines"] and not found.omitted["shortened"]
        label = chunk.id.rpartition(":")[0]
        return Material(
            chunk=chunk,
            id=f"{label}:{first}-{last}",
            first=first,
            last=last,
            shown=Shown(mined.table, numbered=True, view=None if complete else view_of(found, mined)),
            student=found.text.rstrip(),
            teacher=found.text.rstrip(),
            patterns={template.key: template.text for template in mined.templates},
            digest=True,
            omitted=found.omitted["lines"],
        )


def window(rows: pl.DataFrame) -> templates.Mined:
    """Rows of a log as a log of their own, read and mined anew: what a file with these lines would give."""
    return templates.mine(reader.table_of(rows["text"].to_list(), rows["source"][0]))


def view_of(digest: evidence.Evidence, mined: templates.Mined) -> View:
    """What a reader of a digest sees."""
    lines = frozenset(line for _, line in digest.lines)
    shown = [mined.by_id[identity] for identity in _TEMPLATE_ROW.findall(digest.text)]
    return View(
        text=fold(digest.text),
        lines=lines,
        places=lines | {line for template in shown for line in (template.first, template.last)},
        templates=frozenset(template.key for template in shown),
    )
