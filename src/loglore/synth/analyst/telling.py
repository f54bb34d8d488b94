"""Small pieces of sentences that all tasks share: when, how often, who, and what a list of findings is called.

With numbered lines the place of a finding is its line number, else the time as it stands in the line; a log without
both leaves the quotation as the only reference, and no place is invented.
"""

from collections import Counter
from collections.abc import Sequence

from loglore.synth.analyst.facts import Facts, Group, Line, Problem
from loglore.synth.analyst.wording import Wording, counted, duration, listed, quoted

MOST_PARTS = 3
# A log of more lines has room for another point in its answer for every `LINES_A_POINT` of them, `MOST_MORE` at most.
LONG, LINES_A_POINT, MOST_MORE = 40, 30, 3
LEVEL_NOUNS = {"fatal": "fatal message", "error": "error", "warning": "warning"}
_AT_ONE_TIME = ("at {first}", "at {first}", "all at {first}")
_OVER_TIME = ("between {first} and {last}", "from {first} to {last}")


def more_points(facts: Facts) -> int:
    """How many points an answer has beyond those about a short log: 0 to `MOST_MORE`; none about a digest."""
    beyond = len(facts.lines) - LONG
    return min(1 + (beyond - 1) // LINES_A_POINT, MOST_MORE) if facts.view is None and beyond > 0 else 0


def place(words: Wording, name: str, lines: Sequence[Line], prefixed: bool) -> str:
    """Where these lines are, with a blank in front: ` (L4 to L9)` or their times; "" when neither is known."""
    if prefixed:
        if not (lines[0].seen and lines[-1].seen and (len(lines) > 3 or all(line.seen for line in lines))):
            return ""
        first, last = f"L{lines[0].number}", f"L{lines[-1].number}"
        if len(lines) <= 3:
            return f" ({listed([f'L{line.number}' for line in lines])})"
        return f" ({first} to {last})"
    clocks = [line.clock for line in lines if line.clock]
    if not clocks or len(clocks) < len(lines):
        return ""
    slots = {"first": clocks[0], "last": clocks[-1]}
    phrases = _OVER_TIME if len(set(clocks)) > 1 else _AT_ONE_TIME[: 2 if len(lines) == 1 else 3]
    return " " + phrases[words.number(f"{name}/place", len(phrases))].format(**slots)


def mentions(group: Group) -> str:
    """How many lines contain the group's quotation: `1 line`, `4 lines`."""
    return counted(group.count, "line")


def times(count: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def source_of(named: Counter[str], events: int, what: str) -> str | None:
    """Who is behind some events: `10.0.0.1`, or `3 addresses, most often 10.0.0.1 (4 of 6)`; None when nobody is named.

    `what` is the noun in the plural.
    """
    if not named:
        return None
    top, count = named.most_common(1)[0]
    if len(named) == 1:
        return top
    if count > 1:
        return f"{len(named)} {what}, most often {top} ({count} of {events})"
    return f"{len(named)} {what}, among them {listed(list(named)[:2])}"


def slots_of(problem: Problem) -> dict[str, str | None]:
    """What the phrases about a problem may name; a sort is known when most of its events agree on one thing."""
    slots: dict[str, str | None] = {}
    for sort, counts in problem.named.items():
        top, count = counts.most_common(1)[0]
        slots[sort] = top if 2 * count > len(problem.events) or len(counts) == 1 else None
    components = Counter(line.component for line in problem.events if line.component)
    slots["component"] = components.most_common(1)[0][0] if len(components) == 1 else None
    return slots


def title_of(words: Wording, problem: Problem) -> str:
    """The problem's name in this answer, always the same one within it."""
    titles = problem.kind.titles
    return titles[words.number(f"title/{problem.kind.name}", len(titles))]


def group_title(words: Wording, group: Group) -> str | None:
    """What a group of ordinary lines is about, None when no topic is known."""
    if group.topic is None:
        return None
    titles = group.topic.titles
    return titles[words.number(f"title/{group.topic.name}", len(titles))]


def severity_counts(facts: Facts) -> str:
    """`2 errors and 1 warning`, "" when no line is at warning level or above."""
    return listed([counted(facts.levels[level], noun) for level, noun in LEVEL_NOUNS.items() if facts.levels[level]])


def level_counts(facts: Facts) -> str:
    """All levels with their counts: `9 info, 2 error`; "" when no line has a level."""
    return ", ".join(f"{count} {level}" for level, count in facts.levels.most_common())


def extent(facts: Facts) -> dict[str, str | None]:
    """Slots about the chunk as a whole; `lines` is unknown for a single line, of which no plural can speak."""
    # A clock that the reader's digest lacks would make the first one it has look like the log's first.
    dated = [line for line in facts.lines if line.clock or line.hidden]
    clocks = [line.clock for line in dated] if dated and not (dated[0].hidden or dated[-1].hidden) else []
    seconds = facts.seconds
    components = facts.components
    many = len(components) > 1
    parts = [f"{name} ({count})" for name, count in components.most_common(MOST_PARTS)]
    return {
        "lines": counted(len(facts.lines), "line") if len(facts.lines) > 1 else None,
        "first": clocks[0] if clocks else None,
        "last": clocks[-1] if len(clocks) > 1 and clocks[-1] != clocks[0] else None,
        "only": clocks[0] if len(set(clocks)) == 1 and None not in clocks else None,
        "length": duration(seconds) if seconds is not None and seconds > 0 else None,
        "severe": severity_counts(facts) or None,
        "levels": level_counts(facts) or None,
        "component": next(iter(components)) if len(components) == 1 else None,
        "parts": listed([*parts, "others"] if len(components) > MOST_PARTS else parts) if many else None,
    }


def mark(group: Group) -> str:
    """The group's quotation in its marks."""
    return quoted(group.quote)
