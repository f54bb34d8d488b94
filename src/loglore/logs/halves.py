"""The two halves of a log, by lines: what a sentence says about them, and where places lie."""

import re

from loglore.logs.lookup import LogIndex, Place

HALF = re.compile(r"(?i)\b(?:(?P<one>first|1st)|second|2nd|latter|last) half\b|(?P<first>前半)|後半")
# The half that the other one is compared with: `than in the first half`, `前半より`, `from the first half to`.
_REFERENCE = re.compile(r"(?i)(?:\bthan(?: in| during)?(?: the)?|\bfrom(?: the)?|\bcompared (?:to|with)(?: the)?)\s*$")
_REFERENCE_JA = re.compile(r"^(?:の方)?(?:より|に比べ|と比べ|から)")
# `… than in the first`: a half whose noun was said before.
_SHORT = re.compile(r"(?i)\bthan (?:in |during )?(?:the )?(?:first|second|latter)\b(?! half)")


def topic(text: str) -> int | None:
    """Which half (0 or 1) a sentence is about; None when it names none, or both with none as the reference."""
    found = []
    for one in HALF.finditer(text):
        number = 0 if one["one"] or one["first"] else 1
        if not (
            _REFERENCE.search(text[max(0, one.start() - 30) : one.start()]) or _REFERENCE_JA.match(text[one.end() :])
        ):
            found.append(number)
    return found[0] if len(set(found)) == 1 else None


def compares(text: str) -> bool:
    """Whether a sentence sets one half against the other."""
    return len(HALF.findall(text)) > 1 or bool(_SHORT.search(text))


def middles(index: LogIndex) -> set[int]:
    """Lines in the first half; with an odd number of lines both ways of halving."""
    return {index.table.height // 2, (index.table.height + 1) // 2}


def split(places: tuple[Place, ...], index: LogIndex, middle: int) -> tuple[list[Place], list[Place]]:
    """Places before and from row number `middle` on."""
    first = [place for place in places if index.order[place] < middle]
    return first, [place for place in places if index.order[place] >= middle]
