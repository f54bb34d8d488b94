"""What changes over time, in words: each finding of `changes` as one line of evidence, with numbers and line numbers.

Kinds of findings take turns, the strongest of each first, so that a small budget has some of each. Nothing is said
about a log of fewer than `FEWEST` lines: there is no usual to differ from.
"""

import datetime
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from typing import Any

from loglore.logs import changes as measures
from loglore.logs import timestamps
from loglore.logs.changes import Axis, Burst, Counts, Difference
from loglore.logs.templates import Mined, Template
from loglore.logs.view import View

LONGEST_LINE = 600
LONGEST_TEMPLATE = 120
FEWEST = 50
MOST = 6
Window = tuple[datetime.datetime, datetime.datetime]
Named = Callable[[str, int], str]


def changes(view: View, place: Named, *, halves: bool = True) -> list[str]:
    """Onsets, bursts, gaps, what differs between the halves, and components that go together, a line each.

    Args:
        view: the log.
        place: writes (source, line) as the evidence does.
        halves: whether to set the halves against each other.
    """
    if view.height < FEWEST:
        return []
    counts = view.counts
    by_id = {template.id: template for template in view.templates}
    often = sorted(view.templates, key=lambda one: (-one.count, int(one.id[1:])))[:40]
    severe = [one for one in view.templates if view.levels.get(one.id) in ("error", "fatal", "warning")][:40]
    watched = list(dict.fromkeys(one.id for one in (*severe, *often)))
    kinds: list[list[str]] = [
        [_burst(one, counts, by_id, place) for one in measures.bursts(counts, watched)[:MOST]],
        [_onset(one, counts.axis, by_id, place) for one in _telling(measures.onsets(counts), view)[:MOST]],
        [_gap(one, counts.axis) for one in measures.gaps(counts)[:MOST]],
        list(_halves(counts, by_id)) if halves else [],
        [
            f"Go together: {one.first} and {one.second} (correlation {one.correlation:.2f} of lines over time)"
            for one in measures.together(counts)[:3]
        ],
    ]
    return [line for line in chain.from_iterable(zip_longest(*kinds)) if line is not None]


def _telling(onsets: list[measures.Onset], view: View) -> list[measures.Onset]:
    """Onsets of severe templates first."""
    rank = {"fatal": 0, "error": 0, "warning": 1}
    return sorted(onsets, key=lambda one: (rank.get(view.levels.get(one.template, ""), 2), one.bucket))


def _onset(one: measures.Onset, axis: Axis, by_id: dict[str, Template], place: Named) -> str:
    template = by_id[one.template]
    when = f" about {_moment(axis, one.bucket)}" if axis.timed else ""
    first = place(template.source, template.first)
    return f"Begins late: {one.template} at {first}{when}, {one.count:,} lines: {_text(template)}"


def _burst(one: Burst, counts: Counts, by_id: dict[str, Template], place: Named) -> str:
    what = "all lines" if one.template is None else f"{one.template} ({_text(by_id[one.template])})"
    return (
        f"Burst: {_span(counts.axis, one.first, one.last)}: {one.count:,} × {what}; usual {one.usual:g}"
        f" per {_width(counts.axis)}"
    )


def _gap(one: measures.Gap, axis: Axis) -> str:
    return f"Gap: no lines {_span(axis, one.first, one.last)}"


def _halves(counts: Counts, by_id: dict[str, Template]) -> Iterator[str]:
    middle = counts.axis.buckets / 2
    at = _moment(counts.axis, -(-counts.axis.buckets // 2))
    if middle < 1:
        return
    for one in measures.differences(*measures.halves(counts))[:MOST]:
        yield f"Halves (border {at}): {_difference(one, by_id)}"


def _difference(one: Difference, by_id: dict[str, Template]) -> str:
    return f"{one.template} {one.before:,} → {one.after:,} lines: {_text(by_id[one.template])}"


def compared(view: View, windows: tuple[Window, Window], place: Named) -> list[str]:
    """What differs between two windows of time, counted exactly; says so when they are empty or alike."""
    rows = view.log.table.lazy() if isinstance(view.log, Mined) else view.log.frame()
    before, after = (measures.window(rows, *window) for window in windows)
    names = [f"{clock(start)} to {clock(end)}" for start, end in windows]
    head = f"Compared: {names[0]} ({sum(before.values()):,} lines) with {names[1]} ({sum(after.values()):,} lines)"
    by_id = {template.id: template for template in view.templates}
    found = measures.differences(before, after)
    if not found:
        return [f"{head}: no template's share differs beyond chance."]
    lines = [
        f"Differs: {_difference(one, by_id)}; first at {place(by_id[one.template].source, by_id[one.template].first)}"
        for one in found[: 2 * MOST]
    ]
    rest = [f"… and {len(found) - len(lines)} more templates differ."] if len(found) > len(lines) else []
    return [f"{head}:", *lines, *rest]


def _text(template: Template) -> str:
    return shorten(" ".join(template.text.split()), LONGEST_TEMPLATE)


def _span(axis: Axis, first: int, last: int) -> str:
    start, end = axis.at(first), axis.at(last + 1)
    if isinstance(start, int) or isinstance(end, int):
        return f"in lines {start + 1 if isinstance(start, int) else start:,} to {end:,}"
    same = start.date() == end.date()
    return f"from {clock(start)} to {end.strftime('%H:%M:%S') if same else clock(end)}"


def _moment(axis: Axis, bucket: int) -> str:
    at = axis.at(bucket)
    return f"line {at:,}" if isinstance(at, int) else clock(at)


def _width(axis: Axis) -> str:
    if not axis.timed:
        return f"{axis.width:,} lines"
    return str(datetime.timedelta(microseconds=axis.width))


def shorten(text: str, longest: int = LONGEST_LINE) -> str:
    """A text of at most `longest` characters, with the number of those left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… (+{len(text) - longest:,} characters)"


def clock(moment: Any) -> str:
    """A time without the year, or the date, where the log has none."""
    return timestamps.shown(moment)
