"""Evidence: a digest of a log that fits a token budget, with line numbers, and an account of what it leaves out.

A log that fits is shown whole. Otherwise the digest has an overview (lines, time span, levels), the templates with
their counts, and exemplar lines: those that the question names or resembles, severe and rare events, the first line of
each template, the start and the end. Frequent lines without news are what is left out. The target model's own tokenizer
counts; the finished text is counted as a whole, so the budget holds whatever the tokenizer does at line borders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import Any

import polars as pl

from loglore.errors import InputError
from loglore.logs.ranking import rank
from loglore.logs.templates import Mined, Template
from loglore.logs.timestamps import UNKNOWN_YEAR

LONGEST_LINE = 600
# Of what the overview leaves, this share goes to the template table and the rest to lines.
TEMPLATE_SHARE = 0.35
CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Evidence:
    """What a model is shown of a log.

    text: the digest. lines: (source, line) of every line shown, in reading order. omitted: `lines` and `templates` that
    are not shown, of `lines_total` and `templates_total`, and `shortened`, the lines shown in part. tokens: of `text`.
    """

    text: str
    lines: list[tuple[str, int]]
    omitted: dict[str, int]
    tokens: int


@dataclass(frozen=True)
class _Log:
    """A mined log with what the digest needs, worked out once."""

    mined: Mined
    names: dict[str, str]
    texts: dict[tuple[str, int], str]

    def shown(self, place: tuple[str, int]) -> str:
        prefix = f"L{place[1]}|" if len(self.names) == 1 else f"{self.names[place[0]]}:L{place[1]}|"
        return prefix + _shorten(self.texts[place])


def build(mined: Mined, budget: int, count_tokens: CountTokens, question: str = "") -> Evidence:
    """Digest a log for a question.

    Args:
        mined: the log with its templates.
        budget: tokens that the text may have at most.
        count_tokens: tokens of a text, by the tokenizer of the model that will read it.
        question: what will be asked; lines that it names (`line 12`, an address, a word) are preferred.

    Raises:
        InputError: the budget is too small even for the first line of the overview; the message says what it takes.
    """
    log = _prepare(mined)
    everything = list(log.texts)
    cheap_bound = sum(len(text) for text in log.texts.values()) <= 16 * budget
    if cheap_bound:
        whole = _compose(log, _overview(log), [], everything)
        if count_tokens(whole) <= budget:
            return _evidence(log, whole, [], everything, count_tokens)
    overview = _fit_overview(log, budget, count_tokens)
    left = budget - count_tokens(_compose(log, overview, [], []))
    ranked = rank(mined, question)
    templates = _take(ranked.templates, int(left * TEMPLATE_SHARE), lambda one: count_tokens(_row(log, one) + "\n"))
    left -= sum(count_tokens(_row(log, one) + "\n") for one in templates)
    lines = _take(ranked.lines, left, lambda place: count_tokens(log.shown(place) + "\n") + _GAP_TOKENS)
    while True:
        text = _compose(log, overview, templates, lines)
        if count_tokens(text) <= budget:
            return _evidence(log, text, templates, lines, count_tokens)
        # Borders between lines cost more than the estimate: drop what ranks last.
        (lines if lines else templates).pop()


# Room for one "… lines not shown" mark per line taken; marks appear only between lines that are not neighbours.
_GAP_TOKENS = 4


def _prepare(mined: Mined) -> _Log:
    sources = mined.table["source"].unique(maintain_order=True).to_list()
    short = [PurePath(source).name for source in sources]
    names = {source: name if short.count(name) == 1 else source for source, name in zip(sources, short, strict=True)}
    rows = mined.table.select("source", "line", "text").iter_rows()
    return _Log(mined, names, {(source, line): text for source, line, text in rows})


def _take(candidates: Any, room: int, cost: Callable[[Any], int]) -> list[Any]:
    """The candidates in order that fit into the room; one that is too long does not stop the shorter ones after it."""
    taken = []
    misses = 0
    for candidate in candidates:
        price = cost(candidate)
        if price <= room:
            taken.append(candidate)
            room -= price
            continue
        misses += 1
        if misses > 50:
            break
    return taken


def _overview(log: _Log) -> list[str]:
    """Lines of the overview, most important first: what a small budget must not lose comes first."""
    table = log.mined.table
    total = f"Log of {table.height:,} lines in {len(log.names)} file{'s' if len(log.names) > 1 else ''}, "
    lines = [total + f"{len(log.mined.templates):,} templates."]
    for part in table.partition_by("source", maintain_order=True):
        levels = (
            part.filter(pl.col("level").is_not_null())["level"]
            .value_counts(sort=True)
            .sort("count", "level", descending=[True, False])
        )
        counts = ", ".join(f"{level} {count:,}" for level, count in levels.iter_rows())
        first, last = part["time"].min(), part["time"].max()
        span = f", {_clock(first)} to {_clock(last)}" if first is not None else ""
        lines.append(
            f"{log.names[part['source'][0]]}: {part.height:,} lines{span}" + (f"; levels: {counts}" if counts else "")
        )
    return lines


def _fit_overview(log: _Log, budget: int, count_tokens: CountTokens) -> list[str]:
    overview = _overview(log)
    while count_tokens(_compose(log, overview, [], [])) > budget:
        if len(overview) == 1:
            needed = count_tokens(_compose(log, overview, [], []))
            raise InputError(f"evidence: a budget of {budget} tokens is too small, the overview alone takes {needed}")
        overview.pop()
    return overview


def _row(log: _Log, template: Template) -> str:
    place = f"L{template.first}" if template.first == template.last else f"L{template.first}–L{template.last}"
    where = place if len(log.names) == 1 else f"{log.names[template.source]}:{place}"
    return f"{template.id} ×{template.count:,} {where}: {_shorten(template.text.strip())}"


def _compose(log: _Log, overview: list[str], templates: list[Template], lines: list[tuple[str, int]]) -> str:
    parts = list(overview)
    if templates:
        parts.append("Templates (count, first and last line, <*> for what varies):")
        parts += [_row(log, one) for one in sorted(templates, key=lambda one: int(one.id[1:]))]
    parts.append(_account(log, len(templates), len(lines)))
    order = {source: number for number, source in enumerate(log.names)}
    for source, places in groupby(
        sorted(lines, key=lambda place: (order[place[0]], place[1])), key=lambda place: place[0]
    ):
        before = None
        for place in places:
            if before is not None and place[1] > before + 1:
                parts.append("…")
            parts.append(log.shown((source, place[1])))
            before = place[1]
    return "\n".join(parts) + "\n"


def _account(log: _Log, templates: int, lines: int) -> str:
    total = len(log.texts)
    if lines == total:
        return "All lines follow, each as L<line number>|text:"
    kinds = f", {templates:,} of {len(log.mined.templates):,} templates" if templates else ""
    return f"Shown: {lines:,} of {total:,} lines{kinds}. The others are left out."


def _evidence(
    log: _Log, text: str, templates: list[Template], lines: list[tuple[str, int]], count_tokens: CountTokens
) -> Evidence:
    order = {source: number for number, source in enumerate(log.names)}
    lines = sorted(lines, key=lambda place: (order[place[0]], place[1]))
    omitted = {
        "lines": len(log.texts) - len(lines),
        "lines_total": len(log.texts),
        "templates": len(log.mined.templates) - len(templates),
        "templates_total": len(log.mined.templates),
        "shortened": sum(len(log.texts[place]) > LONGEST_LINE for place in lines),
    }
    return Evidence(text, lines, omitted, count_tokens(text))


def _shorten(text: str) -> str:
    if len(text) <= LONGEST_LINE:
        return text
    return f"{text[:LONGEST_LINE]}… (+{len(text) - LONGEST_LINE:,} characters)"


def _clock(moment: Any) -> str:
    pattern = "%b %d %H:%M:%S" if moment.year == UNKNOWN_YEAR else "%Y-%m-%d %H:%M:%S"
    return str(moment.strftime(pattern))
