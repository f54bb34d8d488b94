"""Facts of a log event (a template) over whole logs: its lines, its values, what stands before, after and around it.

"Near" means within `WINDOW_S` seconds, or within `WINDOW_LINES` lines of a log without times. An occurrence counts a
neighbour once however often it is repeated, so "3 of 4" reads as: in 3 of the 4 cases it was there.
"""

import datetime
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import polars as pl

from loglore.logs.templates import Template

WINDOW_S = 10
WINDOW_LINES = 5
# No neighbour is looked for further away than this many lines, which bounds the work on dense logs.
MOST_LINES = 40


@dataclass(frozen=True)
class Occurrence:
    """One line of an event."""

    source: str
    line: int
    text: str
    message: str
    time: datetime.datetime | None
    level: str | None
    component: str | None


@dataclass
class Near:
    """How often other templates are near an event: by template key, the number of occurrences with it.

    `seconds`: shortest and longest time to the nearest one, by key, where the log has times.
    """

    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, found: Mapping[str, int | None]) -> None:
        """Count one occurrence's neighbours, given with the seconds to the nearest of each."""
        for key, gap in found.items():
            self.counts[key] += 1
            if gap is not None:
                low, high = self.seconds.get(key, (gap, gap))
                self.seconds[key] = (min(low, gap), max(high, gap))


@dataclass(frozen=True)
class Event:
    """A template with its occurrences (at least one) and neighbours; `domain` is the log's name without suffix."""

    template: Template
    domain: str
    occurrences: tuple[Occurrence, ...]
    before: Near
    after: Near
    timed: bool

    @property
    def window(self) -> str:
        """The width of "near" in words."""
        return f"{WINDOW_S} s" if self.timed else f"{WINDOW_LINES} lines"


def events(table: pl.DataFrame, templates: Sequence[Template], left_out: Collection[str] = ()) -> list[Event]:
    """All events of a mined log table, by first appearance.

    Args:
        table: of `loglore.logs.templates.mine`.
        templates: of the same.
        left_out: keys of templates that are to be neither described nor counted as neighbours.
    """
    lines: dict[str, list[Occurrence]] = defaultdict(list)
    before: dict[str, Near] = defaultdict(Near)
    after: dict[str, Near] = defaultdict(Near)
    timed: dict[str, bool] = {}
    for part in table.filter(pl.col("key").is_not_null()).partition_by("source", maintain_order=True):
        rows = part.select("source", "line", "text", "message", "time", "level", "component").iter_rows()
        members = [Occurrence(*row) for row in rows]
        keys = part["key"].to_list()
        for position, (key, member) in enumerate(zip(keys, members, strict=True)):
            if key not in left_out:
                lines[key].append(member)
                timed[key] = timed.get(key, True) and member.time is not None
                before[key].add(_neighbours(members, keys, position, -1, left_out))
                after[key].add(_neighbours(members, keys, position, 1, left_out))
    return [
        Event(
            template=template,
            domain=PurePath(template.source).name.split(".")[0],
            occurrences=tuple(lines[template.key]),
            before=before[template.key],
            after=after[template.key],
            timed=timed[template.key],
        )
        for template in templates
        if template.key in lines
    ]


def _neighbours(
    members: Sequence[Occurrence], keys: Sequence[str], position: int, step: int, left_out: Collection[str]
) -> dict[str, int | None]:
    """Other templates near a line in one direction, with whole seconds to the nearest one."""
    found: dict[str, int | None] = {}
    here = members[position]
    place = position + step
    while 0 <= place < len(members) and abs(place - position) <= MOST_LINES:
        other = members[place]
        gap = None
        if here.time is not None and other.time is not None:
            exact = (other.time - here.time).total_seconds() * step
            if exact > WINDOW_S:
                break
            gap = max(int(exact), 0)
        elif abs(other.line - here.line) > WINDOW_LINES:
            break
        if keys[place] != keys[position] and keys[place] not in left_out:
            found.setdefault(keys[place], gap)
        place += step
    return found
