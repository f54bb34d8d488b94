"""What to quote of like lines: a part that all of them have, short, verbatim, and telling."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loglore.synth.analyst.wording import SHORT_QUOTE, quotable, shortened

if TYPE_CHECKING:
    from loglore.synth.analyst.facts import Line

LEAD_IN = 24
# Bare numbers (a duration, a size) and punctuation at the start of a quotation tell nothing.
_LOOSE_START = re.compile(r"^(?:(?:[0-9]+|[:;,|-])\s+)+(?=\S)")


def shared_quote(lines: "Sequence[Line]", around: re.Pattern[str] | None = None) -> str:
    """A part of the first line's message that all the lines contain, of at most about 64 characters.

    The longest constant run of the template; when `around` matches only beyond the quotation's end, the part with the
    match is taken instead. Where no run has the match (a status between numbers), the first line's part with it is
    taken, which the other lines need not contain: a quotation that shows nothing of the matter is no evidence.
    """
    message = lines[0].body or lines[0].text.strip()
    runs = [message] if len({line.body for line in lines}) == 1 else _runs(lines)
    best = max(runs, key=lambda run: (bool(around and around.search(run)), letters(run)), default="")
    match = around.search(best) if around else None
    if around and not match and (own := around.search(message)):
        best, match = message, own
    start = _lead_in(best, match.start()) if match and match.end() > SHORT_QUOTE else 0
    quote = _LOOSE_START.sub("", shortened(best, SHORT_QUOTE, start))
    return quotable(quote if letters(quote) >= 3 else shortened(message, SHORT_QUOTE))


def _lead_in(text: str, place: int) -> int:
    """Where to begin a quotation so that it leads in to `place`: after a comma shortly before, else a word or two."""
    clause = text.rfind(", ", max(place - LEAD_IN, 0), place)
    if clause >= 0:
        return clause + 2
    word = text.find(" ", max(place - LEAD_IN, 0), place)
    return word + 1 if word >= 0 else place


def letters(text: str) -> int:
    """How many letters a text has."""
    return sum(character.isalpha() for character in text)


def _runs(lines: "Sequence[Line]") -> list[str]:
    """Runs of words of the first message that stand in all the messages (word by word, longest first by letters)."""
    messages = [line.body for line in lines]
    words = [(match.start(), match.end()) for match in re.finditer(r"\S+", messages[0])]
    runs: list[str] = []
    first = 0
    while first < len(words):
        last, run = first, ""
        while last < len(words):
            candidate = messages[0][words[first][0] : words[last][1]]
            if not all(candidate in message for message in messages[1:]):
                break
            run, last = candidate, last + 1
        if run:
            runs.append(run)
        first = max(last, first + 1)
    return runs
