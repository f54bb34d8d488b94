"""What the analyst knows beforehand: kinds of problems and topics of ordinary messages, read from two TOML files.

Keywords find known failures in any service without a model, at the price of missing what is worded otherwise; the
severity level of a line is the net below them (`failure`, `warning`).
"""

import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

# Messages that name an error in order to say that there is none.
_DENIAL = re.compile(
    r"\b(0|no|without|zero) (errors?|warnings?|failures?|failed)\b|\b(errors?|failed|failures)\s*[:=]\s*(0\b|none\b)",
    re.IGNORECASE,
)
# Messages that report the end of a problem, at whatever level.
_RESOLVED = re.compile(
    r"\b(succeeded|check passed|is UP|recovered|resumed|exit(ed)? with code 0|exit status 0)\b|Exiting\.\.\. \(0\)",
    re.IGNORECASE,
)
# A program that logs its start or stop as a warning does not warn of it.
_ROUTINE = {"startup", "shutdown", "reload"}
# Kinds that say no more than the level does.
GENERAL = frozenset(["exception", "server_error", "failure", "warning"])
# Kinds whose words also stand in ordinary messages: they need a warning or error level, or none at all.
_NEEDS_LEVEL = {"exception", "failure", "warning", "hardware", "missing_object"}
_SERIOUS = {"warning", "error", "fatal"}


@dataclass(frozen=True)
class Kind:
    """A kind of problem.

    Attributes:
        name: its key in problems.toml.
        rank: priority, 0 first.
        severity: 3 stops a service, 2 fails requests, 1 worth a look.
        stated: text in a message that is itself the cause; None when the kind has none.
        levels: levels at which a line belongs to the kind without a keyword.
        titles, meanings, hypotheses, steps: phrases; see problems.toml.
    """

    name: str
    rank: int
    pattern: re.Pattern[str]
    severity: int
    titles: tuple[str, ...]
    meanings: tuple[str, ...]
    hypotheses: tuple[str, ...]
    steps: tuple[str, ...]
    stated: re.Pattern[str] | None = None
    levels: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Topic:
    """What an ordinary message is about."""

    name: str
    pattern: re.Pattern[str]
    titles: tuple[str, ...]
    meanings: tuple[str, ...]


@cache
def kinds() -> tuple[Kind, ...]:
    """All kinds of problems, by priority."""
    return tuple(
        Kind(
            name=name,
            rank=rank,
            pattern=re.compile(entry["pattern"], re.IGNORECASE),
            severity=entry["severity"],
            titles=tuple(entry["titles"]),
            meanings=tuple(entry["meanings"]),
            hypotheses=tuple(entry["hypotheses"]),
            steps=tuple(entry["steps"]),
            stated=re.compile(entry["stated"], re.IGNORECASE) if "stated" in entry else None,
            levels=frozenset(entry.get("levels", ())),
        )
        for rank, (name, entry) in enumerate(_load("problems.toml").items())
    )


@cache
def topics() -> tuple[Topic, ...]:
    """All topics, by priority."""
    return tuple(
        Topic(name, re.compile(entry["pattern"], re.IGNORECASE), tuple(entry["titles"]), tuple(entry["meanings"]))
        for name, entry in _load("topics.toml").items()
    )


@cache
def kind_of(message: str, level: str | None) -> Kind | None:
    """The kind of problem that a message reports, or None.

    Debug messages report none. A known level below warning overrules the words of `_NEEDS_LEVEL` kinds; a level of
    error or warning makes a message a problem also when no keyword is known.
    """
    if level in {"trace", "debug"} or _RESOLVED.search(message):
        return None
    calm = level is not None and level not in _SERIOUS
    denial = _DENIAL.search(message) is not None
    for kind in kinds():
        if kind.name in _NEEDS_LEVEL and (calm or denial):
            continue
        if kind.name == "failure" and level == "warning":
            continue
        if kind.pattern.search(message) and not (denial and calm):
            return kind
        if level in kind.levels and not (level == "warning" and _is_routine(message)):
            return kind
    return None


def _is_routine(message: str) -> bool:
    topic = topic_of(message)
    return topic is not None and topic.name in _ROUTINE


@cache
def topic_of(message: str) -> Topic | None:
    """The topic of an ordinary message, or None."""
    return next((topic for topic in topics() if topic.pattern.search(message)), None)


def _load(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
