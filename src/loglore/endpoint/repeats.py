"""Answers that go in circles: small models decoded greedily say the same paragraph until the length limit.

Each round costs seconds on a CPU and tells nothing, so an answer is ended where its third round ends and cut back to
its first. The numbers of a list may count on meanwhile; such a list is given more rounds, because small models fill
the three points that their training answers had with the same sentence and then go on. Servers have penalties against
it, but those change what is said before, too, and not every endpoint offers one.
"""

import re

REASON = "repeats"  # the finish reason of such an answer
ROUNDS, ROUNDS_OF_ITEMS = 3, 5
# Characters of a round; and of all rounds together, so that a short phrase that is rightly said thrice ends nothing.
SHORTEST, LONGEST = 24, 1200
ALTOGETHER = 240

# What still belongs to the round before, when that began with the same mark as the one after it: `. `, a line's end.
_ENDING = re.compile(r"[^\w\n]*(?:\n|(?<=[.!?])\s)")
_ITEM = re.compile(r"^[ \t]*(?:[#*]+ ?)?\d+(?=[.)])", re.MULTILINE)


def first_round(text: str) -> int | None:
    """Where the first of the rounds ends that `text` ends in; None while it does not go in circles.

    >>> first_round("Well. " + "The disk of node 3 is full and nothing can be written to it any more. " * 4)
    76
    """
    plain = _ITEM.sub(lambda found: re.sub(r"\d", "#", found[0]), text)
    end = len(plain)
    for length in range(SHORTEST, min(LONGEST, end // ROUNDS) + 1):
        least = ROUNDS if plain[-length:] == text[-length:] else ROUNDS_OF_ITEMS
        rounds = max(least, -(-ALTOGETHER // length))
        if rounds * length <= end and _goes_round(plain, length, rounds):
            period = _period(plain[-length:])
            start = end - rounds * length
            while start and plain[start - 1] == plain[start - 1 + period]:
                start -= 1
            ending = _ENDING.match(text, start + period)
            return ending.end() if ending else start + period
    return None


def _period(text: str) -> int:
    """The length of what `text` is made of, said again and again: 3 of "no no no "; its own where that is all of it."""
    return next(size for size in range(1, len(text) + 1) if text == text[:size] * (len(text) // size))


def _goes_round(text: str, length: int, rounds: int) -> bool:
    last = text[-length:]
    if text[-2 * length : -length] != last:
        return False
    return text[-rounds * length :] == last * rounds
