"""True statements whose numbers, quotations and addresses do not count, cite or place one another (`bench_grounding`).

A checker that binds what merely stands in one sentence calls them wrong. Nothing of LogLore is imported here.
"""

import random

from grounding_cases import Case, Log, Values, drawn, invented, other_address
from grounding_wordings import TRUTHS


def tell_kind(log: Log, draw: random.Random) -> Values:
    """How many lines have the first words of a phrase, and the phrase: one of their kind, but not all of them."""
    for _ in range(400):
        phrase = log.phrase(draw)
        start = phrase.rsplit(" ", 1)[0]
        if len(start) > 6 and len(log.places(start)) > len(log.places(phrase)):
            return {"q": phrase, "n": len(log.places(start))}
    raise LookupError


def tell_place(log: Log, draw: random.Random) -> Values:
    """How many lines stand before the first one with a phrase."""
    phrase = log.phrase(draw)
    before = log.places(phrase)[0] - 1
    if before < 2:
        raise LookupError
    return {"q": phrase, "n": before}


def tell_distinct(log: Log, draw: random.Random) -> Values:
    """How many addresses there are, and one of them."""
    if len(log.addresses) < 2:
        raise LookupError
    return {"e": draw.choice(log.addresses), "n": len(log.addresses)}


def tell_advice(log: Log, draw: random.Random) -> Values:
    """What does not stand in the log, to be done or looked for; nothing is said about the log."""
    made = invented(log, draw, log.phrase(draw))
    return {"q": made, "p": log.phrase(draw), "n": draw.randint(2, 90), "e": other_address(log, draw, "10.20.1.7")}


TELLERS = {
    "one of a kind": tell_kind,
    "place": tell_place,
    "distinct": tell_distinct,
    "advice": tell_advice,
    "denied": tell_advice,
}


def truths(logs: list[Log], count: int, seed: int) -> list[Case]:
    """True statements whose numbers and quotations do not count or cite each other, kinds evenly."""
    draw = random.Random(seed)
    made: list[Case] = []
    for kind, language, log, values in drawn(TELLERS, logs, draw):
        at = draw.randrange(len(TRUTHS[kind][language]))
        text = TRUTHS[kind][language][at].format(**values)
        made.append(Case(log.path.name, kind, language, text, True, at % 2 == 1, ""))
        if len(made) == count:
            break
    return made
