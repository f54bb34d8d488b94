"""Pieces of Japanese sentences that all tasks share; see `analyst.telling` for the English ones."""

import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from loglore.synth.analyst import telling
from loglore.synth.analyst.facts import Facts, Group, Line, Problem
from loglore.synth.analyst.wording import Wording, in_units

MOST_PARTS = 3
_UNITS = {"h": "時間", "min": "分", "s": "秒"}
_LEVELS = {"trace": "TRACE", "debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "fatal": "FATAL"}
_SORTS = {
    "endpoint": "接続先",
    "user": "ユーザー",
    "ip": "アドレス",
    "name": "名前",
    "path": "パス",
}


@cache
def phrases(name: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """The phrases of `problems.toml` or `topics.toml`: by kind, then by `titles`, `meanings` and so on."""
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return {kind: {key: tuple(said) for key, said in entry.items()} for kind, entry in tomllib.loads(text).items()}


def about(problem: Problem, part: str) -> tuple[str, ...]:
    """The phrases about a problem's kind: `meanings`, `hypotheses` or `steps`."""
    return phrases("problems.toml")[problem.kind.name][part]


def title_of(words: Wording, problem: Problem) -> str:
    """The problem's name in this answer, always the same one within it."""
    return kind_title(words, problem.kind.name)


def kind_title(words: Wording, name: str) -> str:
    """The name of a kind of problem."""
    titles = phrases("problems.toml")[name]["titles"]
    return titles[words.number(f"title/{name}", len(titles))]


def group_title(words: Wording, group: Group) -> str | None:
    """What a group of ordinary lines is about, None when no topic is known."""
    if group.topic is None:
        return None
    titles = phrases("topics.toml")[group.topic.name]["titles"]
    return titles[words.number(f"title/{group.topic.name}", len(titles))]


def listed(items: Sequence[str]) -> str:
    """`a`, `aとb`, `a、b、c`: two names joined as in speech, more with commas."""
    return "と".join(items) if len(items) == 2 else "、".join(items)


def lines(count: int) -> str:
    """A number of lines."""
    return f"{count} 行"


def mentions(group: Group) -> str:
    """How many lines contain the group's quotation."""
    return lines(group.count)


def duration(seconds: float) -> str:
    """A length of time in whole units, rounded down; see `wording.duration`.

    >>> duration(0.4), duration(75), duration(150), duration(7500)
    ('1 秒未満', '75 秒', '2 分 30 秒', '2 時間 5 分')
    """
    return " ".join(f"{count} {_UNITS[unit]}" for count, unit in in_units(seconds)) or "1 秒未満"


def place(members: Sequence[Line], prefixed: bool) -> str:
    """Where these lines are, in brackets: `(L4、L9)`, `(L4 から L19)` or their times; "" when neither is known."""
    first, last = members[0], members[-1]
    if prefixed:
        if not (first.seen and last.seen and (len(members) > 3 or all(line.seen for line in members))):
            return ""
        if len(members) <= 3:
            return f"({'、'.join(f'L{line.number}' for line in members)})"
        return f"(L{first.number} から L{last.number})"
    clocks = [line.clock for line in members if line.clock]
    if len(clocks) < len(members):
        return ""
    return f"({clocks[0]})" if len(set(clocks)) == 1 else f"({clocks[0]} から {clocks[-1]})"


def source_of(named: Counter[str], events: int, noun: str) -> str | None:
    """Who is behind some events: `10.0.0.1`, or `3 個のアドレス(最多は 10.0.0.1)`; None when nobody is named."""
    if not named:
        return None
    top, count = named.most_common(1)[0]
    if len(named) == 1:
        return top
    if count > 1:
        return f"{len(named)} 種類の{noun}(最多は {top} で、{events} 件中 {count} 件)"
    return f"{len(named)} 種類の{noun}({'、'.join(list(named)[:2])} など)"


def concerned(problem: Problem) -> str | None:
    """The first two sorts of things that the problem's messages name, None when they name none."""
    named = problem.named
    found = {sort: source_of(named[sort], len(problem.events), noun) for sort, noun in _SORTS.items() if sort in named}
    if "endpoint" in found and "ip" in found and set(named["ip"]) <= {one.split(":")[0] for one in named["endpoint"]}:
        del found["ip"]
    return "、".join([one for one in list(found.values())[:2] if one]) or None


def extent(facts: Facts) -> dict[str, str | None]:
    """Slots about the chunk as a whole, those of `analyst.telling.extent` in Japanese."""
    english = telling.extent(facts)
    parts = [f"{name} ({count} 件)" for name, count in facts.components.most_common(MOST_PARTS)]
    if len(facts.components) > MOST_PARTS:
        parts.append("その他")
    levels = [f"{_LEVELS[level]} が {count} 行" for level, count in facts.levels.most_common()]
    return {
        "lines": lines(len(facts.lines)),
        "first": english["first"],
        "last": english["last"],
        "only": english["only"],
        "length": duration(facts.seconds) if english["length"] and facts.seconds else None,
        "levels": "、".join(levels) if len(levels) > 1 else None,
        "parts": "、".join(parts) if len(facts.components) > 1 else None,
    }
