"""Regularities of a chunk that can be counted: intervals, sequences, bursts, pauses, varying values, main sources.

They need every line: for a reader who has a digest of the log there are none.
"""

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from loglore.logs.lookup import fold
from loglore.synth.analyst import entities
from loglore.synth.analyst.facts import Facts, Group, Line
from loglore.synth.analyst.wording import whole_seconds

LEAST_REPEATS = 3
PAUSE_S = 5
# An interval counts as regular when its shortest and longest gap differ by at most this share of the middle one.
REGULAR = 0.25


@dataclass(frozen=True)
class Interval:
    """A group that returns in steps of `shortest` to `longest` seconds (whole, at least 1)."""

    group: Group
    shortest: int
    longest: int


@dataclass(frozen=True)
class Sequence:
    """`first` is directly followed by `second`, `count` times (at least 2)."""

    first: Group
    second: Group
    count: int


@dataclass(frozen=True)
class Pause:
    """The longest time between two consecutive dated lines, in whole seconds."""

    before: Line
    after: Line
    seconds: int


@dataclass(frozen=True)
class Varied:
    """A sort of entity (`ip`, `user` …) that differs between the lines of a group; values by first appearance."""

    group: Group
    sort: str
    values: tuple[str, ...]


def intervals(facts: Facts) -> list[Interval]:
    """Groups of at least three lines that return at nearly equal steps."""
    found = []
    for group in facts.groups if facts.view is None else ():
        times = [line.time for line in group.lines if line.time is not None]
        if len(times) < LEAST_REPEATS or len(times) < group.count:
            continue
        gaps = sorted(whole_seconds(one, two) for one, two in pairwise(times))
        middle = gaps[len(gaps) // 2]
        if gaps[0] >= 1 and gaps[-1] - gaps[0] <= max(1, REGULAR * middle):
            found.append(Interval(group, gaps[0], gaps[-1]))
    return found


def sequences(facts: Facts) -> list[Sequence]:
    """Pairs of different groups of which the second directly follows the first at least twice, most frequent first."""
    if facts.view is not None:
        return []
    quotes = {group.quote: group for group in facts.groups}
    first_of = {
        line.position: next((quote for quote in quotes if fold(quote) in line.folded), None) for line in facts.heads
    }
    order = [first_of[line.position] for line in facts.heads]
    pairs = Counter((one, two) for one, two in pairwise(order) if one and two and one != two)
    return [Sequence(quotes[one], quotes[two], count) for (one, two), count in pairs.most_common() if count > 1]


def burst(facts: Facts) -> tuple[str, int] | None:
    """The clock time that most lines share, with their number; None below three lines or a third of the chunk."""
    clocks = Counter(line.clock for line in facts.spoken if line.clock)
    if len(clocks) < 2 or facts.view is not None:
        return None
    clock, count = clocks.most_common(1)[0]
    return (clock, count) if clock and count >= LEAST_REPEATS and 3 * count >= len(facts.spoken) else None


def pause(facts: Facts) -> Pause | None:
    """The longest pause, when it is at least `PAUSE_S` and twice as long as any other."""
    if facts.view is not None:
        return None
    dated = [line for line in facts.lines if line.time is not None and line.clock]
    gaps = [Pause(one, two, whole_seconds(one.time, two.time)) for one, two in pairwise(dated) if one.time and two.time]
    gaps.sort(key=lambda gap: -gap.seconds)
    if not gaps or gaps[0].seconds < PAUSE_S or (len(gaps) > 1 and gaps[0].seconds < 2 * gaps[1].seconds):
        return None
    return gaps[0]


def varied(facts: Facts) -> list[Varied]:
    """Entities that differ within a group, for the sorts that an operator looks up."""
    found = []
    for group in facts.groups if facts.view is None else ():
        if group.count < 2:
            continue
        for sort in ("ip", "user", "endpoint", "path", "name", "port"):
            values = dict.fromkeys(entities.find(line.message).get(sort) for line in group.lines)
            if None not in values and len(values) > 1:
                found.append(Varied(group, sort, tuple(value for value in values if value)))
                break
    return found


def dominant_address(facts: Facts) -> tuple[str, int] | None:
    """The IPv4 address that stands in most lines, with their number; None below half of the lines or two lines."""
    counts: Counter[str] = Counter()
    for line in facts.spoken if facts.view is None else ():
        counts.update(set(re.findall(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", line.text)))
    if not counts:
        return None
    address, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return (address, count) if count > 1 and 2 * count >= len(facts.spoken) else None
