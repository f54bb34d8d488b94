"""Judges of what a sentence says about two things at once: order, change between halves, stretches of time, causes.

They read a sentence's skeleton (`claims.Sentence.skeleton`), in which each mention is one character, by small grammars
for English and Japanese. A cause is never judged: the claim names the lines that its parts stand on, no more.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from loglore.logs import halves
from loglore.logs.claims import SLOTS, Claim, Sentence, claim, places_of
from loglore.logs.lookup import LogIndex, Place
from loglore.logs.mentions import Mention, split_time

_S, _T, _L = SLOTS["subject"], SLOTS["time"], SLOTS["line"]
# What may stand between a subject and the word that orders it.
_LINK = (
    rf"(?:[\s,;:()（）{_L}]|\b(?:is|was|are|were|appears?|appeared|occurs?|occurred|comes?|came|happens?|happened|logged|seen"
    r"|recorded|written|reported|immediately|directly|shortly|always|first|just|message|messages|line|lines|entry|event"
    r"|error|the|an?|any|and|it|on|only|soon|right)\b){0,12}"
)
_FORWARD = (
    rf"{_S}{_LINK}\b(?:before|earlier than|prior to|precedes?|preceded|followed by)\b{_LINK}{_S}",
    rf"(?i:\bfirst\b){_LINK}{_S}{_LINK}\bthen\b{_LINK}{_S}",
    rf"(?:^|[\s\d.])(?:After|Following|Once)\b{_LINK}{_S}\s?,{_LINK}{_S}",
    rf"{_S}[はがも]、?{_S}(?:より(?:も)?|の)(?:少し|すぐ|直)?(?:前|先|早)",
    rf"{_S}の?(?:直)?(?:後|あと|次)(?:に|で|には|、)*{_S}",
    rf"{_S}に続(?:いて|き|けて)、?{_S}",
    rf"{_S}[がは]先[^{_S}。]{{0,6}}{_S}[がは](?:後|あと|次)",
    rf"最初[にはが]?{_S}[^{_S}。]{{0,10}}(?:次|その後|続いて)[にはが、]*{_S}",
)
_BACKWARD = (
    rf"{_S}{_LINK}\b(?:after|later than|follows|followed(?! by)|subsequent to)\b{_LINK}{_S}",
    rf"(?:^|[\s\d.])Before\b{_LINK}{_S}\s?,{_LINK}{_S}",
    rf"{_S}[はがも]、?{_S}(?:より(?:も)?|の)(?:少し|すぐ|直)?(?:後|あと|遅)",
    rf"{_S}の?(?:直)?前(?:に|で|には|、)*{_S}",
)
_ORDERS = [(re.compile(one), True) for one in _FORWARD] + [(re.compile(one), False) for one in _BACKWARD]
_MORE = re.compile(
    r"(?i)\b(?:increas\w*|rose|ris(?:es?|ing)|gr[eo]w\w*|climb\w*|more(?! than [0-9])|higher)\b|増|多(?!分)|頻発|上昇"
)
_LESS = re.compile(
    r"(?i)\b(?:decreas\w*|fell|falls?|falling|dropp?\w*|declin\w*|less|fewer|rarer|lower|diminish\w*)\b"
    r"|減|少な(?!くとも)|低下|まれ|稀"
)
_VERB = re.compile(r"(?i)\b(?:increas|rose|ris|gr[eo]w|climb|decreas|fell|fall|drop|declin|diminish)|増|減")
_UNTIL = r"(?:and(?: ends? at| ended at)?|to|until|till|through|–|—|-|〜|～|~|から|に始まり|に始まって)"
_RANGE = re.compile(rf"{_T}\s?{_UNTIL}[\s、]*(?:the )?{_T}")
_ALL = re.compile(r"(?i)\b(?:only|all|every|always|exclusively)\b|すべて|全て|のみ|だけ|しか")
_LOG_SPAN = re.compile(
    r"(?i)(?:\b(?:log|file|excerpt|chunk|section)\b[^.]{0,40}\b(?:spans?|covers?|runs?|ranges?|extends?|goes|lasts?)\b"
    rf"|(?:ログ|ファイル|期間)[^。{_S}]{{0,12}})[^{_S}]{{0,24}}$"
)
_CAUSE = re.compile(
    r"(?i)\b(?:because(?: of)?|caus(?:ed?|es|ing)(?: by)?|due to|as a result(?: of)?|result(?:s|ed|ing)? (?:in|from)"
    r"|led to|leads? to|leading to|owing to|root cause|triggered(?: by)?|stem(?:s|med)? from)\b"
    r"|原因|のため|ために|により|によって|せいで|に起因|引き起こ|きっかけ"
)


def judge_order(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """`A before B`, `A is followed by B`, and `A increased in the second half`."""
    if sentence.advice:
        return
    text, marked = sentence.skeleton
    for pattern, forward in _ORDERS:
        for found in pattern.finditer(text):
            one, two = _marked(text, marked, found, _S)
            early, late = (one, two) if forward else (two, one)
            span = Mention(one.start, two.end, "order", "")
            yield _judge_pair(span, places_of(early, index), places_of(late, index), index)
    yield from _judge_change(sentence, index)


def _marked(text: str, marked: tuple[Mention, ...], found: re.Match[str], slot: str) -> list[Mention]:
    """The mentions behind the slots of one kind in a match of the skeleton."""
    before = sum(letter in _LETTERS for letter in text[: found.start()])
    inside = [letter for letter in found[0] if letter in _LETTERS]
    return [marked[before + at] for at, letter in enumerate(inside) if letter == slot]


_LETTERS = frozenset(SLOTS.values())


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
    plain = sentence.plain
    half = halves.topic(plain)
    more, less = _MORE.search(plain), _LESS.search(plain)
    countable = [one for one in sentence.subjects if one.kind in ("quote", "template", "ip", "address")]
    if half is None or bool(more) == bool(less) or len(countable) != 1 or len(index.sources) != 1 or sentence.counts:
        return
    word = more or less
    assert word is not None
    if half == 0 and _VERB.match(word[0]) and not halves.compares(plain):
        return  # "increased in the first half" is about the course within it
    places = places_of(countable[0], index)
    span = Mention(sentence.start + word.start(), sentence.start + word.end(), "order", "")
    if not places:
        yield claim(span, "order", "unverifiable")
        return
    sizes = [tuple(len(part) for part in halves.split(places, index, middle)) for middle in halves.middles(index)]
    agrees = any(size[half] > size[1 - half] if more else size[half] < size[1 - half] for size in sizes)
    actual = f"{sizes[0][0]} in the first half, {sizes[0][1]} in the second"
    yield claim(span, "order", "supported" if agrees else "contradicted", places, "" if agrees else actual)


def judge_ranges(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Stretches of time: of the whole log, or of the one thing that the sentence is about."""
    text, marked = sentence.skeleton
    found = _RANGE.search(text)
    if found is None or sentence.advice or len(sentence.times) != 2:
        return
    start, end = _marked(text, marked, found, _T)
    span = Mention(start.start, end.end, "time", "")
    subjects = [one for one in sentence.subjects if one.kind != "time"]
    if len(subjects) == 1 and not sentence.negated(subjects[0]):
        yield _judge_stretch(span, start, end, places_of(subjects[0], index), index, bool(_ALL.search(sentence.plain)))
    elif not subjects and not sentence.counts and _LOG_SPAN.search(text[: found.start()]) and index.span:
        first, last = index.span
        right = _same(start, first) and _same(end, last)
        narrower = _clock(start) > _second(first) or _clock(end) < _second(last)
        verdict = (
            "supported" if right else "contradicted" if narrower and first.date() == last.date() else "unverifiable"
        )
        yield claim(span, "time", verdict, actual="" if right else f"{first:%H:%M:%S} to {last:%H:%M:%S}")


def _judge_stretch(
    span: Mention, start: Mention, end: Mention, places: tuple[Place, ...], index: LogIndex, every: bool
) -> Claim:
    times = index.times_of(places)
    if not times or len({time.date() for time in times}) != 1 or _clock(start) > _clock(end):
        return claim(span, "time", "unverifiable", places)
    inside = [_clock(start) <= _second(time) <= _clock(end) for time in times]
    if all(inside):
        return claim(span, "time", "supported", places)
    known = index.find_time(*split_time(start.value)) or index.find_time(*split_time(end.value))
    local = known and not any(_same(one, time) for one in (start, end) for time in index.times_of(known))
    if local or (any(inside) and not every):  # clocks of another zone than UTC are not compared
        return claim(span, "time", "unverifiable", places)
    return claim(span, "time", "contradicted", places, f"{min(times):%H:%M:%S} to {max(times):%H:%M:%S}")


def _clock(mention: Mention) -> int:
    hours, minutes, seconds = split_time(mention.value)[1].replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(float(seconds))


def _second(moment: datetime) -> int:
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def _same(mention: Mention, moment: datetime) -> bool:
    return _clock(mention) == _second(moment)


def judge_causes(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Causes of what a sentence names: `unverifiable`, with the lines where that stands."""
    found = _CAUSE.search(sentence.plain)
    if found is None or sentence.advice or not (sentence.subjects or sentence.lines):
        return
    places = [places_of(one, index)[:1] for one in sentence.subjects]
    named = tuple((source, line) for source in index.sources[:1] for one in sentence.lines for line, _ in one.spans)
    known = [place for part in places for place in part] + [place for place in named if place in index.places]
    span = Mention(sentence.start + found.start(), sentence.start + found.end(), "cause", "")
    yield claim(span, "cause", "unverifiable", tuple(dict.fromkeys(known)))
