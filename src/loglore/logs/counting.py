"""Judges of counts, order and change: numbers bound to something countable, and which of two things came first."""

import re
from collections.abc import Iterator
from itertools import pairwise

import polars as pl

from loglore.logs import levels
from loglore.logs.claims import Claim, Sentence, claim, places_of
from loglore.logs.lookup import LogIndex, Place
from loglore.logs.mentions import Mention

_NOUN = r"(?:times?|lines?|occurrences?|entries|messages?|events?|instances?|records?|hits?|×|x|回|件)"
# Between a subject and its count: `"…" appears 3 times`, `"…" (×3)`, `T4: 3 lines`.
_TO_COUNT = re.compile(
    r"^[\s\"'`”」)*,:–—-]{0,4}(?:(?:is|was|were|are|appears?|appeared|occurs?|occurred|repeats?|repeated|logged|seen|found|"
    r"recorded|reported|happens|happened|shows? up|showed up|stands?|"
    r"makes? up|leads?|alone|exactly|a|total|of|counted|with|on|in|which|that|template|"
    r"message|line|at|least|most|more|than|about|around|approximately|roughly|nearly|almost|over|up|to|fewer|less|は|が)"
    r"\s?)*[\s(\[:–—-]{0,3}$",
    re.IGNORECASE,
)
_FROM_COUNT = re.compile(
    rf"^\s?(?:log\s)?{_NOUN}\s"
    r"(?:of|with|containing|that contain|contain|matching|mentioning|mention|for|like|from|have)"
    r"\s?(?:the\s)?(?:message\s|phrase\s|text\s|template\s|address\s|client\s)?[\s\"'`“「:]{0,3}$",
    re.IGNORECASE,
)
_COUNTED = re.compile(rf"^\s?(?:log\s)?{_NOUN}", re.IGNORECASE)
_BOUND = re.compile(
    r"(?i)(?:(?P<least>at least|≥)|(?P<more>more than|over|>)|(?P<most>at most|up to|≤)"
    r"|(?P<less>fewer than|less than|<)"
    r"|(?P<rough>about|around|approximately|roughly|nearly|almost|some|~|約))\s*$"
)
_HALF = re.compile(r"(?i)\b(first|second|latter|last) half\b")
_SCOPE = re.compile(
    r"(?i)\b(?:between|within|during|before|after|until|since|per|each|every|row|consecutive\w*|another|additional|further|"
    r"respectively|other|remaining|again|of (?:the|them|these|those)|first|last|half|both|including|only|from|for|by|"
    r"lines? [0-9]+|L[0-9]+|minutes?|seconds?|hours?)\b|[0-9]:[0-9]{2}"
)
_LEVELS = r"(?:trace|debug|info|notice|warn(?:ing)?|error|fatal|critical|alert|emerg)"
_LEVEL_NOUN = r"(?:lines|messages|entries|events|records|log lines|line|message|entry|event)"
_LEVEL_COUNT = (
    re.compile(rf"^\s(?P<level>{_LEVELS})(?:-level|\slevel)?\s{_LEVEL_NOUN}(?P<rest>.*)", re.IGNORECASE | re.DOTALL),
    re.compile(
        rf"^\s{_LEVEL_NOUN}\s(?:are\s|is\s|were\s)?(?:at|of|with)\s(?:the\s)?(?:level\s)?[\"'`]?(?P<level>{_LEVELS})\b[\"'`]?(?:\slevel)?(?P<rest>.*)",
        re.IGNORECASE | re.DOTALL,
    ),
)
_FINAL = re.compile(
    r"(?i)^\s*(?:$|[,.;)\n]|and\s+[0-9]|in total|overall"
    r"|in (?:the|this) (?:whole |entire )?(?:log|chunk|file|excerpt|section)"
    r"\s*(?:$|[,.;)\n])|(?:were|are) (?:logged|recorded|present|found)\s*(?:$|[,.;)\n]))"
)
_TOTAL = re.compile(
    r"(?i)\b(?:logs?|file|chunk|excerpt|section)\b[^.]{0,30}"
    r"\b(?:has|have|contains?|consists? of|spans?|covers?|holds?|comprises?|with|of)\s$"
)
# Says the whole log as well ("these 12 lines"), but may go on to say a part of it: never contradicted.
_WHOLE = re.compile(r"(?i)\b(?:all|these|the|of)\s$")
_WHOLE_NOUN = re.compile(r"(?i)^\s(?:log\s)?lines\b")
_TOTAL_NOUN = re.compile(r"(?i)^\s(?:log\s)?(?:lines|entries)(?:\s*(?:$|[,.;)\n])|\s(?:in total|overall))")
_ORDER = re.compile(
    r"(?i)^[\s\"'`”」*,]{0,3}(?:(?:is|was|are|were|appears?|appeared|occurs?|occurred|comes?|came|happens?|happened|logged|"
    r"seen|immediately|directly|shortly|only|always|first|just)\s)*"
    r"(?P<word>before|prior to|precedes?|preceded|after|follows|followed by)\s"
    r"(?:the\s|any\s|message\s|line\s|first\s)*[\"'`“「*]{0,2}$"
)
_MORE = re.compile(r"(?i)\b(?:increas\w+|rose|rises?|grew|grows?|more (?:often|frequent\w*|common))\b")
_LESS = re.compile(r"(?i)\b(?:decreas\w+|fell|falls?|dropp?\w*|declin\w+|less (?:often|frequent\w*|common)|fewer)\b")


def judge_counts(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Numbers of lines, times, messages: recounted where bound to a quote, entity, template, level or the log."""
    for number in sentence.counts:
        after = sentence.after(number)
        subject = _counted(sentence, number)
        if subject is not None:
            yield _judge_subject(sentence, number, subject, index)
        elif level := next((found for one in _LEVEL_COUNT if (found := one.match(after))), None):
            yield _judge_level(sentence, number, level, index)
        elif _TOTAL.search(sentence.before(number)) and _TOTAL_NOUN.match(after):
            yield _verdict(sentence, number, {index.table.height}, (), exact=True)
        elif _WHOLE.search(sentence.before(number)) and _WHOLE_NOUN.match(after):
            yield _verdict(sentence, number, {index.table.height}, (), exact=False)
        elif _COUNTED.match(after):
            yield claim(number, "count", "unverifiable")


def _counted(sentence: Sentence, number: Mention) -> Mention | None:
    """The quote, entity or template that a number counts."""
    after = sentence.after(number)
    left = [one for one in sentence.subjects if one.end <= number.start and one.kind != "time"]
    spelled = sentence.text[number.start : number.end].lower() in ("once", "twice", "thrice")
    counts = number.kind == "times" or spelled or _COUNTED.match(after)
    if left and counts and _TO_COUNT.match(sentence.between(left[-1], number)):
        return left[-1]
    right = [one for one in sentence.subjects if one.start >= number.end and one.kind != "time"]
    if right and _FROM_COUNT.match(sentence.between(number, right[0])):
        return right[0]
    return None


def _judge_subject(sentence: Sentence, number: Mention, subject: Mention, index: LogIndex) -> Claim:
    places = places_of(subject, index)
    if not places:
        return claim(number, "count", "unverifiable")
    half = _HALF.search(sentence.plain)
    if half and len(_HALF.findall(sentence.plain)) == 1 and len(index.sources) == 1:
        wanted = 0 if half[1].lower() == "first" else 1
        plausible = {len(_halves(places, index, middle)[wanted]) for middle in _middles(index)}
        return _verdict(sentence, number, plausible, places, exact=True)
    plausible = {len(places), len({(place[0], index.events[place]) for place in places})}
    if subject.kind == "quote":
        plausible.add(index.occurrences(subject.value))
    rest = sentence.before(subject) + sentence.between(subject, number) + sentence.after(number)
    rest = rest if subject.end <= number.start else sentence.before(number) + sentence.after(subject)
    return _verdict(sentence, number, plausible, places, exact=not _SCOPE.search(rest))


def _judge_level(sentence: Sentence, number: Mention, found: re.Match[str], index: LogIndex) -> Claim:
    word = found["level"].lower()
    level = pl.select(levels.normalise(pl.lit(word))).item()
    heads = index.of_level(level)
    severe = index.of_level(*levels.at_least(level))
    events = {(place[0], index.events[place]) for place in heads}
    whole = sum((place[0], event) in events for place, event in index.events.items())
    named = index.find_entity(word)
    final = bool(_FINAL.match(found["rest"]))
    rest = found["rest"] if final else ""
    scoped = bool(_SCOPE.search(rest) or _SCOPE.search(sentence.before(number)))
    plausible = {len(heads), len(severe), whole, len(named)}
    if not final and int(number.value) > max(plausible):
        return claim(number, "count", "contradicted", heads, actual=str(len(heads)))
    return _verdict(sentence, number, plausible, heads, exact=final and not scoped)


def _verdict(
    sentence: Sentence, number: Mention, plausible: set[int], places: tuple[Place, ...], *, exact: bool
) -> Claim:
    """Compare a number with every plausible count; a bound such as "at least" is compared as it says."""
    said = int(number.value)
    bound = _BOUND.search(sentence.before(number))
    low, high = min(plausible), max(plausible)
    if bound is None:
        agrees, denies = said in plausible, exact
    elif bound["least"] or bound["more"]:
        agrees = high >= said + bool(bound["more"])
        denies = exact
    elif bound["most"] or bound["less"]:
        agrees = low <= said - bool(bound["less"])
        denies = exact
    else:
        agrees = any(abs(count - said) <= 0.2 * max(count, said) for count in plausible)
        denies = exact and all(said > 2 * count or 2 * said < count for count in plausible)
    if agrees:
        return claim(number, "count", "supported", places)
    if denies and not sentence.negated(number):
        return claim(number, "count", "contradicted", places, actual=str(low if low == high else len(places) or low))
    return claim(number, "count", "unverifiable", places)


def _middles(index: LogIndex) -> set[int]:
    """Lines in the first half; with an odd number of lines both ways of halving."""
    return {index.table.height // 2, (index.table.height + 1) // 2}


def _halves(places: tuple[Place, ...], index: LogIndex, middle: int) -> tuple[list[Place], list[Place]]:
    first = [place for place in places if index.order[place] < middle]
    return first, [place for place in places if index.order[place] >= middle]


def judge_order(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """`A before B`, `A is followed by B`, and `A increased in the second half`."""
    subjects = sentence.subjects
    for left, right in pairwise(subjects):
        found = _ORDER.match(sentence.between(left, right))
        if found and not sentence.advice:
            word = found["word"].lower()
            forward = word.startswith(("before", "prior", "followed")) or word in ("precede", "precedes")
            span = Mention(left.start, right.end, "order", "")
            pair = (left, right) if forward else (right, left)
            yield _judge_pair(span, places_of(pair[0], index), places_of(pair[1], index), index)
    yield from _judge_change(sentence, index)


def _judge_pair(span: Mention, early: tuple[Place, ...], late: tuple[Place, ...], index: LogIndex) -> Claim:
    sources = {place[0] for place in (*early, *late)}
    if not early or not late or len(sources) != 1:
        return claim(span, "order", "unverifiable")
    earliest, latest = index.order[early[0]], index.order[late[-1]]
    places = (early[0], late[0])
    if earliest < index.order[late[0]]:
        return claim(span, "order", "supported", places)
    if earliest > latest:
        return claim(span, "order", "contradicted", places, actual="the other way round")
    return claim(span, "order", "unverifiable", places)


def _judge_change(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    half = re.search(r"(?i)\b(?:in|during) the (?:second|latter|last) half\b", sentence.plain)
    more, less = _MORE.search(sentence.plain), _LESS.search(sentence.plain)
    countable = [one for one in sentence.subjects if one.kind in ("quote", "template", "ip", "address")]
    if not half or bool(more) == bool(less) or len(countable) != 1 or len(index.sources) != 1 or sentence.advice:
        return
    word = more or less
    assert word is not None
    places = places_of(countable[0], index)
    span = Mention(sentence.start + word.start(), sentence.start + half.end(), "order", "")
    if not places:
        yield claim(span, "order", "unverifiable")
        return
    sizes = [tuple(len(part) for part in _halves(places, index, middle)) for middle in _middles(index)]
    agrees = [second > first if more else second < first for first, second in sizes]
    actual = f"{sizes[0][0]} in the first half, {sizes[0][1]} in the second"
    yield claim(span, "order", "supported" if any(agrees) else "contradicted", places, "" if any(agrees) else actual)
