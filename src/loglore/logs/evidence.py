"""Evidence: a digest of a log that fits a token budget, with line numbers, and an account of what it leaves out.

A log that fits is shown whole. Otherwise the digest has an overview (lines, time span, levels), what changes over time
(`changes`), the templates with their counts, and exemplar lines: those that the question names or resembles, severe and
rare events, the first line of each template, the start and the end. Frequent lines without news are what is left out.
The target model's own tokenizer counts; the finished text is counted as a whole, so the budget holds whatever the
tokenizer does at line borders.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import Any

from loglore.errors import InputError
from loglore.logs import findings
from loglore.logs.findings import LONGEST_LINE, Window, clock, shorten
from loglore.logs.ranking import rank
from loglore.logs.table import LogTable
from loglore.logs.templates import Mined, Template
from loglore.logs.view import Place, View, view

# Of what the overview leaves, at most this share goes to what changes over time; of the rest, the next to the template
# table and the remainder to lines.
CHANGES_SHARE = 0.15
TEMPLATE_SHARE = 0.35
CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Evidence:
    """What a model is shown of a log.

    text: the digest. lines: (source, line) of every line shown, in reading order. omitted: `lines` and `templates` that
    are not shown, of `lines_total` and `templates_total`, and `shortened`, the lines shown in part. tokens: of `text`.
    """

    text: str
    lines: list[Place]
    omitted: dict[str, int]
    tokens: int


@dataclass(frozen=True)
class _Log:
    """A view of a log with what the digest needs, worked out once."""

    view: View
    names: dict[str, str]
    texts: dict[Place, str]

    @property
    def lines(self) -> int:
        return self.view.height

    @property
    def templates(self) -> int:
        return len(self.view.templates)

    def shown(self, place: Place) -> str:
        return f"{self.place(*place)}|{shorten(self.texts[place])}"

    def place(self, source: str, line: int) -> str:
        return f"L{line}" if len(self.names) == 1 else f"{self.names[source]}:L{line}"


def rough_tokens(text: str) -> int:
    """Tokens of a text where no tokenizer is at hand: four characters each."""
    return (len(text) + 3) // 4


def build(
    log: Mined | LogTable,
    budget: int,
    count_tokens: CountTokens,
    question: str = "",
    windows: tuple[Window, Window] | None = None,
) -> Evidence:
    """Digest a log for a question.

    Args:
        log: with its templates, in memory or on disk.
        budget: tokens that the text may have at most.
        count_tokens: tokens of a text, by the tokenizer of the model that will read it.
        question: what will be asked; lines that it names (`line 12`, an address, a word) are preferred.
        windows: two spans of time (start, end; end not included) to set against each other, not the log's halves.

    Raises:
        InputError: the budget is too small even for the first line of the overview; the message says what it takes.
    """
    seen = _prepare(view(log, question))
    everything = list(seen.texts)
    cheap_bound = seen.view.whole and sum(len(text) for text in seen.texts.values()) <= 16 * budget
    overview = _overview(seen)
    if windows is not None:
        overview += findings.compared(seen.view, windows, seen.place)
    if cheap_bound:
        whole = _compose(seen, overview, [], everything)
        if count_tokens(whole) <= budget:
            return _evidence(seen, whole, [], everything, count_tokens)
    overview = _fit_overview(seen, overview, budget, count_tokens)
    left = budget - count_tokens(_compose(seen, overview, [], []))
    changed = findings.changes(seen.view, seen.place, halves=windows is None)
    overview += _take(changed, int(left * CHANGES_SHARE), lambda line: count_tokens(line + "\n"))
    left = budget - count_tokens(_compose(seen, overview, [], []))
    ranked = rank(seen.view)
    templates = _take(ranked.templates, int(left * TEMPLATE_SHARE), lambda one: count_tokens(_row(seen, one) + "\n"))
    left -= sum(count_tokens(_row(seen, one) + "\n") for one in templates)
    lines = _take(ranked.lines, left, lambda place: count_tokens(seen.shown(place) + "\n") + _GAP_TOKENS)
    while True:
        text = _compose(seen, overview, templates, lines)
        if count_tokens(text) <= budget:
            return _evidence(seen, text, templates, lines, count_tokens)
        # Borders between lines cost more than the estimate: drop what ranks last.
        (lines or templates or overview).pop()


# Room for one "… lines not shown" mark per line taken; marks appear only between lines that are not neighbours.
_GAP_TOKENS = 4


def _prepare(seen: View) -> _Log:
    sources = [source.name for source in seen.sources]
    short = [PurePath(source).name for source in sources]
    names = {source: name if short.count(name) == 1 else source for source, name in zip(sources, short, strict=True)}
    rows = seen.rows.select("source", "line", "text").iter_rows()
    return _Log(seen, names, {(source, line): text for source, line, text in rows})


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
    total = f"Log of {log.lines:,} lines in {len(log.names)} file{'s' if len(log.names) > 1 else ''}, "
    lines = [total + f"{log.templates:,} templates."]
    for source in log.view.sources:
        by_count = sorted(source.levels.items(), key=lambda one: (-one[1], one[0]))
        counts = ", ".join(f"{level} {count:,}" for level, count in by_count)
        span = f", {clock(source.first)} to {clock(source.last)}" if source.first is not None else ""
        partial = f"; partial: {source.fault}" if source.fault else ""
        lines.append(
            f"{log.names[source.name]}: {source.lines:,} lines{span}"
            + (f"; levels: {counts}" if counts else "")
            + partial
        )
    return lines


def _fit_overview(log: _Log, overview: list[str], budget: int, count_tokens: CountTokens) -> list[str]:
    while count_tokens(_compose(log, overview, [], [])) > budget:
        if len(overview) == 1:
            needed = count_tokens(_compose(log, overview, [], []))
            raise InputError(f"evidence: a budget of {budget} tokens is too small, the overview alone takes {needed}")
        overview.pop()
    return overview


def _row(log: _Log, template: Template) -> str:
    last = "" if template.first == template.last else f"–L{template.last}"
    where = log.place(template.source, template.first) + last
    return f"{template.id} ×{template.count:,} {where}: {shorten(template.text.strip())}"


def _compose(log: _Log, overview: list[str], templates: list[Template], lines: list[Place]) -> str:
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
    if lines == log.lines:
        return "All lines follow, each as L<line number>|text:"
    kinds = f", {templates:,} of {log.templates:,} templates" if templates else ""
    return f"Shown: {lines:,} of {log.lines:,} lines{kinds}. The others are left out."


def _evidence(
    log: _Log, text: str, templates: list[Template], lines: list[Place], count_tokens: CountTokens
) -> Evidence:
    order = {source: number for number, source in enumerate(log.names)}
    lines = sorted(lines, key=lambda place: (order[place[0]], place[1]))
    omitted = {
        "lines": log.lines - len(lines),
        "lines_total": log.lines,
        "templates": log.templates - len(templates),
        "templates_total": log.templates,
        "shortened": sum(len(log.texts[place]) > LONGEST_LINE for place in lines),
    }
    return Evidence(text, lines, omitted, count_tokens(text))
