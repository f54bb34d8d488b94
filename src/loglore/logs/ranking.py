"""What of a log is worth showing: lines and templates ordered by how much they tell about a question and about faults.

A line scores by its event: severity, rarity of its template (bits of surprise), words shared with the question
(weighted by how rare they are in the log), being the first of its kind, and lying near a severe event. The order is
total: ties go by position, so the same log and question give the same order.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass

import polars as pl

from loglore.logs.templates import Mined, Template

_SEVERITY = {"fatal": 10.0, "error": 8.0, "warning": 4.0, "info": 0.0, "debug": -1.0, "trace": -1.5}
_ALARM = re.compile(
    r"(?i)\b(?:error|fail(?:ed|ure)?|fatal|panic|denied|refused|timed? ?out|exception|traceback|killed|oom"
    r"|out of memory|no space|corrupt\w*|unreachable|crash\w*|abort\w*|invalid|cannot|could not|unable)\b"
    r"|HTTP/[0-9.]+\" 5[0-9][0-9]"
)
_WORD = re.compile(r"[A-Za-z0-9_.:/@-]*[A-Za-z0-9]|[぀-ヿ一-鿿]+")
_LINE = re.compile(r"(?i)\b(?:lines?\s+|L)([0-9]+)(?:\s*(?:-|–|to)\s*L?([0-9]+))?")
_STOP_WORDS = (
    "the a an of in on at to is are was were be been and or not what which who why when how do does did this that "
    "it its log logs line lines file for from with by as any there show me please can you i we my our"
)
_STOP = frozenset(_STOP_WORDS.split())
MOST_NAMED = 200
# Lines at the start and at the end of a log that are worth more than their kind.
EDGE_LINES = 2
# Lines of context shown around a severe event, and lines of one event at most.
CONTEXT_LINES = 2
SEVERE = 6.0
EVENT_LINES = 40


@dataclass(frozen=True)
class Ranked:
    """Templates and (source, line) places, best first; every template and every non-blank line occurs once."""

    templates: list[Template]
    lines: list[tuple[str, int]]


def rank(mined: Mined, question: str = "") -> Ranked:
    """Order templates and lines of a log for a question (see the module's header)."""
    asked = _asked(mined, question)
    weights = _template_weights(mined, asked)
    templates = sorted(mined.templates, key=lambda one: (-weights[one.id], int(one.id[1:])))
    return Ranked(templates, _lines(mined, weights, asked, _named(question)))


def _asked(mined: Mined, question: str) -> dict[str, float]:
    """Words of the question with their weight: rare in the log means telling, absent means nothing."""
    words = {word.lower() for word in _WORD.findall(question)} - _STOP
    texts = mined.table["text"].str.to_lowercase()
    asked = {}
    for word in sorted(words):
        count = int(texts.str.contains(word, literal=True).sum()) if len(word) > 1 else 0
        if count:
            asked[word] = math.log2((len(texts) + 1) / count) + 1
    return asked


def _named(question: str) -> set[int]:
    """Line numbers that the question names."""
    spans = ((int(found[1]), int(found[2] or found[1])) for found in _LINE.finditer(question))
    return {number for first, last in spans for number in range(first, min(last, first + MOST_NAMED) + 1)}


def _template_weights(mined: Mined, asked: dict[str, float]) -> dict[str, float]:
    total = max(mined.table.height, 1)
    known = mined.table.filter(pl.col("template").is_not_null())
    levels = dict(known.group_by("template").agg(pl.col("level").drop_nulls().first()).iter_rows())
    weights = {}
    for template in mined.templates:
        rarity = math.log2(total / template.count) / 4
        alarm = 5.0 if _ALARM.search(template.text) else 0.0
        severity = max(_SEVERITY.get(levels.get(template.id) or "", 0.0), alarm)
        weights[template.id] = severity + rarity + _overlap(template.text, asked)
    return weights


def _overlap(text: str, asked: dict[str, float]) -> float:
    lowered = text.lower()
    return sum(weight for word, weight in asked.items() if word in lowered)


def _lines(mined: Mined, weights: dict[str, float], asked: dict[str, float], named: set[int]) -> list[tuple[str, int]]:
    rows = mined.table.select("source", "line", "event", "template", "text").rows()
    in_template = {template.id: _overlap(template.text, asked) for template in mined.templates}
    last = {source: line for source, line, *_ in rows}
    seen: Counter[str] = Counter()
    scores: dict[tuple[str, int], float] = {}
    events: dict[tuple[str, int], float] = {}
    for source, line, event, template, text in rows:
        score = 100.0 if line in named else 0.0
        score += 3.0 if line <= EDGE_LINES or line > last[source] - EDGE_LINES else 0.0
        if template is None:
            score -= 5.0
        else:
            seen[template] += 1
            # Each further line of a kind tells less, unless it shares with the question what its kind does not.
            answers = _overlap(text, asked) - in_template[template] if asked else 0.0
            score += weights[template] + answers - (0.3 if answers > 0 else 3.0) * math.log2(seen[template])
        scores[source, line] = score
        events[source, event] = max(events.get((source, event), -math.inf), score)
    _spread(rows, scores, events)
    order = {place: number for number, place in enumerate(scores)}
    return sorted(scores, key=lambda place: (-scores[place], order[place]))


def _spread(
    rows: list[tuple[str, int, int, str | None, str]],
    scores: dict[tuple[str, int], float],
    events: dict[tuple[str, int], float],
) -> None:
    """Lines of a multi-line event share its best score; neighbours of a high score get some of it."""
    for source, line, event, _, _ in rows:
        best = events.get((source, event))
        if best is not None and line - event < EVENT_LINES:
            scores[source, line] = max(scores[source, line], best - 0.01 * (line - event))
    severe = {place: score for place, score in scores.items() if score > SEVERE}
    for (source, line), score in severe.items():
        for distance in range(1, CONTEXT_LINES + 1):
            for place in ((source, line - distance), (source, line + distance)):
                if place in scores:
                    scores[place] = max(scores[place], score - 4.0 * distance)
