"""Statements about a log, true ones and the same with one thing changed, made from its raw text: see `bench_grounding`.

Nothing of LogLore is imported here, so that what is true is found by other code than the checker's.
"""

import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from grounding_wordings import CAUSES, WORDINGS

OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
ADDRESS = re.compile(rf"(?<![\w.])(?:{OCTET}\.){{3}}{OCTET}(?![\w.])")
CLOCK = re.compile(r"(?<![0-9:])[0-2][0-9]:[0-5][0-9]:[0-5][0-9](?![0-9:])")
# Level words where a format states them; other logs give no statements about levels.
LEVELS = {
    "nginx-error.log": (r"^\S+ \S+ \[(\w+)\] ", {"error": "error", "notice": "notice", "warn": "warn"}),
    "postgresql.log": (r"\] (?:\S+@\S+ )?(ERROR|WARNING|FATAL|LOG): ", {"ERROR": "ERROR", "FATAL": "FATAL"}),
    "shopapp.log": (r"^\S+ \S+ (ERROR|WARNING|INFO|DEBUG) ", {"ERROR": "ERROR", "WARNING": "WARNING", "INFO": "INFO"}),
    "mariadb.log": (r"^\S+ \S+ +[0-9]+ \[(\w+)\] ", {"ERROR": "error", "Warning": "warning"}),
    "named.log": (r"^\S+ \S+: (\w+): ", {"error": "error", "info": "info"}),
}
POOL = [
    "teapot",
    "quota",
    "mirror",
    "lunar",
    "rejected",
    "dragon",
    "seventh",
    "backwards",
    "unpaid",
    "orchard",
    "violet",
    "hammer",
]
HALVES = {"en": ("first", "second"), "ja": ("前半", "後半")}


@dataclass(frozen=True)
class Case:
    """A statement about a log; `true` says whether it is."""

    log: str
    kind: str
    language: str
    text: str
    true: bool
    held_out: bool
    change: str


class Log:
    """One log as plain text, with what statements are made of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_text(encoding="utf-8", errors="replace")
        self.lines = content.split("\n")[:-1] if content.endswith("\n") else content.split("\n")
        self.lower = [" ".join(line.split()).lower() for line in self.lines]
        self.addresses = sorted({one for line in self.lines for one in ADDRESS.findall(line)})
        self.clocks = [CLOCK.findall(line) for line in self.lines]
        self.timed = [found[0] if len(set(found)) == 1 else "" for found in self.clocks]
        times = [time for time in self.timed if time]
        self.rising = bool(times) and times == sorted(times) and len(times) == len(self.lines)

    def places(self, phrase: str) -> list[int]:
        """Numbers of the lines with a phrase, whatever its case."""
        folded = " ".join(phrase.split()).lower()
        return [number for number, line in enumerate(self.lower, 1) if folded in line]

    def with_entity(self, entity: str) -> list[int]:
        whole = re.compile(rf"(?<![\w.]){re.escape(entity)}(?![\w]|\.[\w])")
        return [number for number, line in enumerate(self.lines, 1) if whole.search(line)]

    def phrase(self, draw: random.Random) -> str:
        """Some consecutive words of a random line."""
        while True:
            words = draw.choice(self.lines).split(" ")
            size = draw.randint(2, 7)
            start = draw.randrange(max(1, len(words) - size + 1))
            chosen = " ".join(words[start : start + size]).strip(" ,.;:()[]{}<>'=-|")
            clean = not re.search(r"[\"`「」…\n\t]|\.\.\.|  |[0-9]:[0-9]{2}", chosen)
            if 10 <= len(chosen) <= 60 and clean and re.search("[A-Za-z]{3}", chosen) and " " in chosen:
                return chosen

    def single(self, draw: random.Random) -> str:
        for _ in range(400):
            phrase = self.phrase(draw)
            if len(self.places(phrase)) == 1:
                return phrase
        raise LookupError


Values = dict[str, object]
Made = TypeVar("Made")
# What a maker returns: fields of a true statement, those of a false one, and what was changed.
Pair = tuple[Values, Values, str]


def moved(log: Log, draw: random.Random, number: int, taken: list[int]) -> int:
    """A line number near another one, not among those taken nor next to them (a neighbour may be of the same event)."""
    free = [one for one in range(1, len(log.lines) + 1) if all(abs(one - place) > 4 for place in taken)]
    near = [one for one in free if abs(one - number) <= 40]
    if not free:
        raise LookupError
    return draw.choice(near or free)


def invented(log: Log, draw: random.Random, phrase: str) -> str:
    words = phrase.split(" ")
    for at in draw.sample(range(len(words)), max(1, len(words) // 3)):
        words[at] = draw.choice(POOL)
    made = " ".join(words)
    if log.places(made):
        raise LookupError
    return made


def make_line(log: Log, draw: random.Random) -> Pair:
    phrase = log.phrase(draw)
    places = log.places(phrase)
    number = draw.choice(places)
    if draw.random() < 0.5:
        return {"q": phrase, "n": number}, {"q": phrase, "n": moved(log, draw, number, places)}, "line moved"
    return {"q": phrase, "n": number}, {"q": invented(log, draw, phrase), "n": number}, "quote invented"


def make_end(log: Log, draw: random.Random, at: int) -> Pair:
    phrase = log.phrase(draw)
    places = log.places(phrase)
    others = [place for place in places if abs(place - places[at]) > 4]
    false = draw.choice(others) if others else moved(log, draw, places[at], places)
    return {"q": phrase, "n": places[at]}, {"q": phrase, "n": false}, "other place"


def make_quote(log: Log, draw: random.Random) -> Pair:
    phrase = log.phrase(draw)
    return {"q": phrase}, {"q": invented(log, draw, phrase)}, "quote invented"


def other_address(log: Log, draw: random.Random, address: str) -> str:
    parts = address.split(".")
    while True:
        at = draw.randrange(1, 4)
        changed = ".".join([*parts[:at], str(draw.randint(1, 254)), *parts[at + 1 :]])
        if changed not in log.addresses:
            return changed


def make_entity(log: Log, draw: random.Random) -> Pair:
    address = draw.choice([one for one in log.addresses if not one.startswith(("127.", "0.", "8.8.", "255."))] or [""])
    if not address:
        raise LookupError
    return {"e": address}, {"e": other_address(log, draw, address)}, "entity swapped"


def off_by_one(draw: random.Random, number: int) -> int:
    return number + (draw.choice([-1, 1]) if number > 1 else 1)


def countable(log: Log, draw: random.Random) -> tuple[str, list[int]]:
    phrase = log.phrase(draw)
    places = log.places(phrase)
    folded = " ".join(phrase.split()).lower()
    if any(log.lower[place - 1].count(folded) > 1 for place in places):
        raise LookupError  # lines and occurrences differ: what is meant would be open
    return phrase, places


def make_count_quote(log: Log, draw: random.Random) -> Pair:
    phrase, places = countable(log, draw)
    if len(places) < 2:
        raise LookupError
    return {"q": phrase, "n": len(places)}, {"q": phrase, "n": off_by_one(draw, len(places))}, "count one off"


def make_count_entity(log: Log, draw: random.Random) -> Pair:
    entity = str(make_entity(log, draw)[0]["e"])
    number = len(log.with_entity(entity))
    if number < 2:
        raise LookupError
    return {"e": entity, "n": number}, {"e": entity, "n": off_by_one(draw, number)}, "count one off"


def make_count_level(log: Log, draw: random.Random) -> Pair:
    pattern, names = LEVELS.get(log.path.name, ("", {}))
    if not pattern:
        raise LookupError
    found = [one[1] for line in log.lines if (one := re.search(pattern, line))]
    word = draw.choice(sorted(names))
    number = found.count(word)
    if number < 2:
        raise LookupError
    return {"level": names[word], "n": number}, {"level": names[word], "n": off_by_one(draw, number)}, "count one off"


def make_total(log: Log, draw: random.Random) -> Pair:
    return {"n": len(log.lines)}, {"n": off_by_one(draw, len(log.lines))}, "count one off"


def make_time(log: Log, draw: random.Random) -> Pair:
    phrase = log.phrase(draw)
    times = [log.timed[place - 1] for place in log.places(phrase)]
    if not all(times):
        raise LookupError
    other = [one for one in log.timed if one and one not in times]
    if draw.random() < 0.5 and other:
        return {"q": phrase, "t": draw.choice(times)}, {"q": phrase, "t": draw.choice(other)}, "time of another line"
    taken = {one for found in log.clocks for one in found}
    free = [
        f"{hour:02d}:{minute:02d}:{second:02d}"
        for hour in (9, 20, 21)
        for minute in (7, 34, 35, 36)
        for second in range(60)
    ]
    absent = draw.choice([one for one in free if one not in taken])
    return {"q": phrase, "t": draw.choice(times)}, {"q": phrase, "t": absent}, "time that no line has"


def make_range(log: Log, draw: random.Random) -> Pair:
    """The stretch from the first to the last place, and one in which no place lies."""
    phrase = log.phrase(draw)
    times = sorted({log.timed[place - 1] for place in log.places(phrase)})
    every = sorted({time for time in log.timed if time})
    if len(times) < 2 or not times[0]:
        raise LookupError
    free = [(t, u) for t in every for u in every if t < u and not any(t <= time <= u for time in times)]
    t, u = draw.choice(free or [("", "")])
    if not t:
        raise LookupError
    return {"q": phrase, "t": times[0], "u": times[-1]}, {"q": phrase, "t": t, "u": u}, "times moved"


def make_extent(log: Log, draw: random.Random) -> Pair:
    """The stretch that holds all places, and one that leaves some out."""
    phrase = log.phrase(draw)
    times = sorted({log.timed[place - 1] for place in log.places(phrase)})
    if len(times) < 3 or not times[0]:
        raise LookupError
    cut = draw.randrange(1, len(times) - 1)
    false = (times[0], times[cut]) if draw.random() < 0.5 else (times[cut], times[-1])
    return {"q": phrase, "t": times[0], "u": times[-1]}, {"q": phrase, "t": false[0], "u": false[1]}, "time moved"


def make_span(log: Log, draw: random.Random) -> Pair:
    times = sorted({time for time in log.timed if time})
    if not log.rising or len(times) < 9:
        raise LookupError
    cut = times[draw.randrange(3, len(times) - 3)]
    false = (times[0], cut) if draw.random() < 0.5 else (cut, times[-1])
    return {"t": times[0], "u": times[-1]}, {"t": false[0], "u": false[1]}, "time moved"


def make_order(log: Log, draw: random.Random) -> Pair:
    one, two = log.single(draw), log.single(draw)
    first, second = sorted((one, two), key=lambda phrase: log.places(phrase)[0])
    if log.places(second)[0] - log.places(first)[0] < 5:
        raise LookupError
    return {"a": first, "b": second}, {"a": second, "b": first}, "order swapped"


def halves(log: Log, phrase: str) -> tuple[int, int]:
    first = sum(place <= len(log.lines) // 2 for place in log.places(phrase))
    return first, len(log.places(phrase)) - first


def make_half(log: Log, draw: random.Random) -> Pair:
    phrase, places = countable(log, draw)
    sizes = halves(log, phrase)
    middle = (len(log.lines) + 1) // 2
    which = draw.randrange(2)
    if sizes[0] == sizes[1] or middle in places or sizes[which] < 2:
        raise LookupError
    true = {"q": phrase, "n": sizes[which], "half": which}
    if draw.random() < 0.5:
        return true, {**true, "half": 1 - which}, "halves swapped"
    return true, {**true, "n": off_by_one(draw, sizes[which])}, "count one off"


def make_change(log: Log, draw: random.Random, more: bool) -> Pair:
    """A phrase that does become more (or less) frequent, and one that does the contrary."""
    found: dict[bool, str] = {}
    for _ in range(60):
        phrase = log.phrase(draw)
        first, second = halves(log, phrase)
        if abs(second - first) >= 2:
            found.setdefault(second > first, phrase)
        if len(found) == 2:
            return {"q": found[more]}, {"q": found[not more]}, "direction swapped"
    raise LookupError


def make_bound(log: Log, draw: random.Random) -> Pair:
    """A lower bound: below what there is, or above it."""
    phrase, places = countable(log, draw)
    if len(places) < 3:
        raise LookupError
    return {"q": phrase, "n": len(places) - 1}, {"q": phrase, "n": len(places) + 2}, "bound too high"


def make_two_counts(log: Log, draw: random.Random) -> Pair:
    (one, first), (two, second) = countable(log, draw), countable(log, draw)
    if one == two or min(len(first), len(second)) < 2:
        raise LookupError
    true = {"a": one, "n": len(first), "b": two, "m": len(second)}
    if draw.random() < 0.5:
        return true, {**true, "n": off_by_one(draw, len(first))}, "count one off"
    return true, {**true, "m": off_by_one(draw, len(second))}, "count one off"


MAKERS = {
    "line": make_line,
    "first": lambda log, draw: make_end(log, draw, 0),
    "last": lambda log, draw: make_end(log, draw, -1),
    "quote": make_quote,
    "entity": make_entity,
    "count quote": make_count_quote,
    "count entity": make_count_entity,
    "count level": make_count_level,
    "total": make_total,
    "time": make_time,
    "range": make_range,
    "extent": make_extent,
    "span": make_span,
    "order": make_order,
    "more": lambda log, draw: make_change(log, draw, True),
    "less": lambda log, draw: make_change(log, draw, False),
    "half": make_half,
    "bound": make_bound,
    "two counts": make_two_counts,
}


def drawn(
    makers: Mapping[str, Callable[[Log, random.Random], Made]], logs: list[Log], draw: random.Random
) -> Iterator[tuple[str, str, Log, Made]]:
    """Kind, language, log and what the kind's maker makes of the log, without end; kinds in turn, without misfits."""
    for kind in itertools.cycle(makers):
        language = draw.choice(["en", "en", "ja"])
        log = draw.choice(logs)
        try:
            made = makers[kind](log, draw)
        except LookupError:
            continue
        yield kind, language, log, made


def cases(logs: list[Log], count: int, seed: int) -> list[Case]:
    """Cases, half of them true, kinds and languages evenly."""
    draw = random.Random(seed)
    made: list[Case] = []
    for kind, language, log, (true, false, change) in drawn(MAKERS, logs, draw):
        at = draw.randrange(len(WORDINGS[kind][language]))
        for values, is_true in ((true, True), (false, False)):
            shown = {**values, "half": HALVES[language][int(str(values["half"]))]} if "half" in values else values
            text = WORDINGS[kind][language][at].format(**shown)
            made.append(Case(log.path.name, kind, language, text, is_true, at % 2 == 1, "" if is_true else change))
        if len(made) >= count:
            break
    return made[:count]


def causes(logs: list[Log], count: int, seed: int) -> list[tuple[str, str]]:
    """Causal statements whose parts all stand in the log."""
    draw = random.Random(seed)
    made: list[tuple[str, str]] = []
    while len(made) < count:
        log = draw.choice([log for log in logs if log.addresses])
        a, b = log.phrase(draw), log.phrase(draw)
        values = {"a": a, "b": b, "n": log.places(b)[0], "e": draw.choice(log.addresses)}
        made.append((log.path.name, draw.choice(CAUSES[draw.choice(["en", "ja"])]).format(**values)))
    return made
