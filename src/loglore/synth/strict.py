"""What a training row must not say, beyond what `logs.grounding` calls contradicted.

Grounding judges prose of strangers: it says "contradicted" only where no reading of a sentence could be true. A teacher
was told how to write (messages word by word between backticks, counts and line numbers beside them), so here what does
not fit is a fault, and a wrong alarm costs a repair turn:

    quote     several words between backticks, or more than a term between double quotes, that no line has; in advice
              only when a line has nearly the same
    address   an address, a MAC address, a UUID or a mail address that the log does not have
    count     "`…` … 4 lines": the one count in a sentence with one quotation
    line      "`…` (L4, L9)": line numbers after a quotation, or in a sentence with one
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loglore.logs.claims import Sentence, sentences
from loglore.logs.lookup import LogIndex, Place, fold
from loglore.logs.mentions import Mention

NEAR_ADVICE = 0.8
SHORTEST_NEAR = 10
MOST_OF_A_TERM = 3
_HARD = ("ip", "address", "mac", "uuid", "email")
_ANYONE = frozenset(["0.0.0.0", "127.0.0.1", "255.255.255.255", "8.8.8.8", "8.8.4.4", "1.1.1.1"])
# A file glob or a regular expression; `<*>`, `{name}` and `…` were looked up as such.
_PATTERN = re.compile(r"[\w/.]\*|\*[./]|\\[dsw]|\]\+")
_DENIED_BEFORE = re.compile(r"(?i)\b(?:no|not|never|without|neither|nor|lacks?|missing)\s(?:\w+\s){0,3}$")
_DENIED_AFTER = re.compile(
    r"(?i)^\s(?:is|was|are|does|did)\s(?:not|never|absent)|^[^。、]{0,24}(?:ありません|ません|ない(?!か)|なし)"
)
_ORDERS = (
    "add adjust alert allow avoid check compare configure confirm consider correct disable enable ensure examine "
    "filter fix grep increase inspect investigate keep limit look lower make monitor move open query raise read reduce "
    "reload remove rename repair replace restart review rotate run search set start stop test try tune update upgrade "
    "use verify watch"
)
_ADVICE = re.compile(
    rf"^[\s\d.)*-]*(?:{'|'.join(_ORDERS.split())})\b"
    r"|\b(?:should|could|can(?! be (?:seen|found))|might|recommend\w*|suggest\w*|e\.g\.)(?!\w)|ください|べき|推奨",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\s?(?:of [0-9,]+ )?(?:log )?(lines?|times|occurrences?|entries|回|行)(?!\w)")
_OF = re.compile(r"(?i)\b(?:of|these)\s$")
# What makes a number one of a part of the log. Line references in brackets do not.
_PART = re.compile(
    r"(?i)\b(?:half|halves|between|within|during|before|after|since|until|per|each|every|first|last|respectively"
    r"|additional|further|another|row|consecutive\w*|other|remaining|both|only)\b|[0-9]:[0-9]{2}|前半|後半|ごと|以降"
)
_BRACKETS = re.compile(r"\([^()]*\)|([^()]*)")
_RELATIVE = re.compile(
    r"(?i)\b(?:before|after|until|since|up to|between|following|preceding|prior|through|around|near)\b|以前|以降|前後"
)


@dataclass(frozen=True)
class Finding:
    """A statement that does not fit: where it stands in the text, and why, as the end of a sentence."""

    start: int
    end: int
    reason: str


def findings(text: str, index: LogIndex) -> Iterator[Finding]:
    """What in a text does not fit the log, by position."""
    for sentence in sentences(text):
        quotes = [quote for quote in sentence.quotes if quote.kind == "quote"]
        places = {quote: index.find(quote.value) for quote in quotes}
        for quote in quotes:
            if not places[quote] and (reason := _misquoted(sentence, quote, index)):
                yield Finding(quote.start, quote.end, reason)
        for entity in sentence.entities:
            if entity.kind in _HARD and entity.value not in _ANYONE and not index.find_entity(entity.value):
                yield Finding(entity.start, entity.end, "is not in the log")
        found = [quote for quote in quotes if places[quote]]
        if len(quotes) == len(found) == 1:
            yield from _counts(sentence, found[0], places[found[0]], index)
        for quote in found:
            yield from _lines(sentence, quote, quotes, places[quote], index)


def _misquoted(sentence: Sentence, quote: Mention, index: LogIndex) -> str:
    """Why a quotation that no line has is a fault, "" when it may be a command, a setting or a pattern."""
    denied = _DENIED_BEFORE.search(sentence.before(quote)) or _DENIED_AFTER.search(sentence.after(quote))
    if denied or _PATTERN.search(quote.value):
        return ""
    words = len(quote.value.split())
    # A few words between double quotes may be a term of the writer's own; messages were asked for between backticks.
    several = words > 1 if sentence.text[quote.start] == "`" else words > MOST_OF_A_TERM
    if sentence.advised or _ADVICE.search(sentence.plain) or not several:
        if len(fold(quote.value)) < SHORTEST_NEAR:
            return ""
        similarity, stretch, _ = index.closest(quote.value)
        return f"is not in the log, which has: {stretch}" if similarity >= NEAR_ADVICE else ""
    return "is not in the log word by word"


def _counts(sentence: Sentence, quote: Mention, places: Sequence[Place], index: LogIndex) -> Iterator[Finding]:
    text = sentence.text
    nouns = {one: found for one in sentence.counts if (found := _noun(text, one)) and not _OF.search(text[: one.start])}
    plain = _BRACKETS.sub(lambda one: one[1] or "", sentence.plain)
    if len(nouns) != 1 or _PART.search(plain):
        return
    (count, noun) = next(iter(nouns.items()))
    allowed = {len(places), len({(source, index.events[source, line]) for source, line in places})}
    if not noun.startswith("line"):
        allowed.add(index.occurrences(quote.value))
    if int(count.value) not in allowed:
        yield Finding(count.start, count.end, f"is wrong: {len(places)} lines have `{quote.value}`")


def _noun(text: str, count: Mention) -> str:
    """What a number counts, "" when nothing that can be recounted."""
    if text[count.start : count.end].lower() in ("once", "twice") or count.kind == "times":
        return "times"
    found = _COUNTED.match(text, count.end)
    return found[1] if found else ""


def _lines(
    sentence: Sentence, quote: Mention, quotes: Sequence[Mention], places: Sequence[Place], index: LogIndex
) -> Iterator[Finding]:
    """Line numbers that go with a quotation: after it and before the next one; with a single quotation, all."""
    following = min((one.start for one in quotes if one.start > quote.start), default=sentence.end)
    events = {(source, index.events[source, line]) for source, line in places}
    for line in sentence.lines:
        beside = quote.end <= line.start < following and "(" in sentence.text[quote.end : line.start]
        if not beside and len(quotes) > 1:
            continue
        gap = sentence.text[min(quote.end, line.end) : max(quote.start, line.start)]
        if _RELATIVE.search(gap) or any(index.find_code(number) for span in line.spans for number in span):
            continue
        ends = {number for span in line.spans for number in span}
        sources = [source for source in index.sources if all((source, number) in index.places for number in ends)]
        if sources and not any(all(_has(source, number, events, index) for number in ends) for source in sources):
            yield Finding(line.start, line.end, f"does not have `{quote.value}`")


def _has(source: str, line: int, events: set[Place], index: LogIndex) -> bool:
    return (source, index.events[source, line]) in events
