"""What of a log is worth showing: lines and templates ordered by how much they tell about a question and about faults.

A line scores by its event: severity, rarity of its template (bits of surprise), words shared with the question
(weighted by how rare they are in the log), being the first of its kind, and lying near a severe event. The order is
total: ties go by position, so the same log and question give the same order.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass

from loglore.logs.templates import Template
from loglore.logs.view import Place, View

_SEVERITY = {"fatal": 10.0, "error": 8.0, "warning": 4.0, "info": 0.0, "debug": -1.0, "trace": -1.5}
_ALARM = re.compile(
    r"(?i)\b(?:error|fail(?:ed|ure)?|fatal|panic|denied|refused|timed? ?out|exception|traceback|killed|oom"
    r"|out of memory|no space|corrupt\w*|unreachable|crash\w*|abort\w*|invalid|cannot|could not|unable)\b"
    r"|HTTP/[0-9.]+\" 5[0-9][0-9]"
)
# Lines at the start and at the end of a log that are worth more than their kind.
EDGE_LINES = 2
# Lines of context shown around a severe event, and lines of one event at most.
CONTEXT_LINES = 2
SEVERE = 6.0
EVENT_LINES = 40


@dataclass(frozen=True)
class Ranked:
    """Templates and (source, line) places, best first; every template and every line of the view occurs once."""

    templates: list[Template]
    lines: list[Place]


def rank(view: View) -> Ranked:
    """Order templates and lines of a log for the view's question (see the module's header)."""
    weights = _template_weights(view)
    templates = sorted(view.templates, key=lambda one: (-weights[one.id], int(one.id[1:])))
    return Ranked(templates, _lines(view, weights))


def _template_weights(view: View) -> dict[str, float]:
    total = max(view.height, 1)
    weights = {}
    for template in view.templates:
        rarity = math.log2(total / template.count) / 4
        alarm = 5.0 if _ALARM.search(template.text) else 0.0
        severity = max(_SEVERITY.get(view.levels.get(template.id, ""), 0.0), alarm)
        weights[template.id] = severity + rarity + _overlap(template.text, view.asked)
    return weights


def _overlap(text: str, asked: dict[str, float]) -> float:
    lowered = text.lower()
    return sum(weight for word, weight in asked.items() if word in lowered)


def _lines(view: View, weights: dict[str, float]) -> list[Place]:
    asked = view.asked
    rows = view.rows.rows()
    in_template = {template.id: _overlap(template.text, asked) for template in view.templates}
    last = {source.name: source.lines for source in view.sources}
    if view.whole:
        last = {source: line for source, line, *_ in rows}
    seen: Counter[str] = Counter()
    scores: dict[Place, float] = {}
    events: dict[Place, float] = {}
    for source, line, event, template, text in rows:
        score = 100.0 if line in view.named else 0.0
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
    rows: list[tuple[str, int, int, str | None, str]], scores: dict[Place, float], events: dict[Place, float]
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
