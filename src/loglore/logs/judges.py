"""Judges of quotes, line numbers, entities and times: a sentence and a log in, claims out. Rule: see `grounding`."""

import re
from collections.abc import Iterator
from pathlib import PurePath

from loglore.logs.claims import SLOTS, Claim, Sentence, claim, places_of, words_of
from loglore.logs.lookup import LogIndex, Place, fold
from loglore.logs.mentions import Mention

NEAR = 0.87
SHORTEST_NEAR = 10
# Text between a subject and its line number ("… (line 3)", "… first appears on line 3") and the other way round.
_TO_LINE = re.compile(
    r"^[\s\"'`”」)*,:;–—-]{0,4}(?:(?:is|was|are|were|appears?|appeared|occurs?|occurred|logged|found|seen|recorded|reported|"
    r"shown|visible|first|last|only|again|starts?|begins?|ends?|at|on|in|see|the|also|は|が|の)\s?)*[\s(\[:–—-]{0,3}$",
    re.IGNORECASE,
)
_FROM_LINE = re.compile(
    r"^[\s)\]*,:|–—-]{0,4}(?:(?:shows?|showed|reads?|says?|logs?|reports?|contains?|records?|is|has|states?|with|the|a|an|"
    r"message|error|warning|entry|event|には|は|に|で|の)\s?)*[\s\"'`“「(:–—-]{0,3}$",
    re.IGNORECASE,
)
_RELATIVE = re.compile(
    r"(?i)\b(?:before|after|until|since|up to|between|following|preceding|prior|through)\b"
    r"|以前|以降|[のより](?:前|後)|まで|から"
)
_RELATIVE_JA = re.compile(r"^\s?(?:より|以降|以前|まで|から|の(?:前|後|あと))")
_CITES = re.compile(
    r"(?i)\b(?:logs?|lines?|entry|entries|messages?|records?|output)\b[^.]{0,40}\b(?:shows?|showed|reads?|says?|said|states?|"
    r"stated|reports?|reported|contains?|contained|records?|recorded|includes?)\W{0,12}$"
    r"|\b(?:log )?(?:message|entry|line|record|error|warning)s?:?\W{0,3}$"
    r"|(?i:\bit|\blog|\bserver|\bservice|\boutput|\bthat|\bdaemon) (?:logs?|logged|reads?|says?|said"
    r"|writes?|wrote|reports?|reported"
    r"|includes?|prints?|printed)\W{0,3}$"
    r"|(?:ログ|メッセージ|出力|エラー|警告)(?:に|で|には|では|として|は|の)[はも、]?\W{0,2}$"
)
_CITED_AFTER = re.compile(
    r"(?i)^\W{0,3}(?:is|was|are|were|has been)\s(?:also\s|then\s|repeatedly\s)?(?:reported|logged"
    r"|recorded|written|printed|shown|seen)\b"
    r"|^\W{0,3}(?:appears?|appeared|occurs?|occurred|shows? up|showed up)\b"
    r"|^\W{0,2}(?:とあ(?:り|る)|と(?:記録|出力|表示|書かれ|出て|いうメッセージ|いうエラー|いう警告|いう行|いうログ)"
    r"|が(?:\S{0,6})(?:記録|出力|表示|出て|現れ|含まれ|出現|残って))"
)
_NOT_EXACT = re.compile(
    r"(?i)\b(?:around|about|approximately|roughly|circa|near|between|from|to|after|before|until|till|by|since|lasted|took|"
    r"takes|duration|elapsed|for|within|over|and|頃)\s*(?:the\s)?[\"'`(]?$|[~≈–—-]\s?$"
)
_FIRST = re.compile(r"(?i)\bfirst\b(?! half)|最初|初めて|初回")
_LAST = re.compile(r"(?i)\blast\b(?! half)|最後|最終")
_GLOB = re.compile(r"[\w/.]\*|\*[./]|<\*>")
MOST_TIMES = 100
_S, _T, _L = SLOTS["subject"], SLOTS["time"], SLOTS["line"]
_LINK = (
    rf"(?:[\s,:()（）{_L}]|\b(?:is|was|are|were|at|on|in|the|an?|we|see|saw|find|found|appears?|appeared|occurs?|occurred|logged|seen"
    r"|recorded|reported|written|shows?|showed|says?|said|reads?|logs?|wrote|log|server|service|message|line|entry|error|warning"
    r"|first|last|again|happened|happens|came|exactly)\b){0,14}"
)
_LINK_JA = r"(?:[はがにのでも、：:\s]|時刻|時点|ちょうど|ログ|メッセージ|エラー|警告|として){0,6}"
_AT_TIME = re.compile(rf"(?i){_S}{_LINK}{_T}|{_T}{_LINK}{_S}|{_S}{_LINK_JA}{_T}|{_T}{_LINK_JA}{_S}")
# A line as a digest shows it: `L12|…`, `app.log:L12|…`.
_NUMBERED = re.compile(r"(?:(?P<file>[^\s|]+):)?L(?P<line>[0-9]{1,12})\|\s?(?P<text>.*\S)", re.DOTALL)
_ANYONE = frozenset(["0.0.0.0", "127.0.0.1", "255.255.255.255", "8.8.8.8", "8.8.4.4", "1.1.1.1"])


def judge_quotes(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Quotes: found (whatever case, spacing, `…` and `<*>`), close to what stands there, or said to be from the log."""
    for quote in sentence.quotes:
        if (numbered := _NUMBERED.match(quote.value)) and (places := index.find(numbered["text"])):
            yield _judge_numbered(quote, numbered, places)
            continue
        places = index.find(quote.value)
        if places:
            yield claim(quote, "quote", "unverifiable" if sentence.negated(quote) else "supported", places)
            continue
        cited = any(_subject(sentence, line) is quote for line in sentence.lines) or _reported(sentence, quote)
        open_to = (
            sentence.advice
            or sentence.negated(quote)
            or _GLOB.search(quote.value)
            or len(fold(quote.value)) < SHORTEST_NEAR
        )
        if open_to or quote.kind == "fence" or re.search(r"<[\w ]+>|\{\w+\}|\.{3}|…", quote.value):
            yield claim(quote, "quote", "unverifiable")
            continue
        similarity, stretch, place = index.closest(quote.value)
        if similarity >= NEAR or cited:
            yield claim(quote, "quote", "contradicted", (place,) if stretch else (), stretch)
        else:
            yield claim(quote, "quote", "unverifiable")


def _judge_numbered(quote: Mention, numbered: re.Match[str], places: tuple[Place, ...]) -> Claim:
    """A line quoted as a digest shows it, number first: the text is in the log; whether on that line."""
    file, line = numbered["file"] or "", int(numbered["line"])
    there = tuple(place for place in places if place[1] == line and file in ("", place[0], PurePath(place[0]).name))
    return claim(quote, "quote", "supported" if there else "contradicted", there or places)


def _reported(sentence: Sentence, quote: Mention) -> bool:
    """Whether the words around a quote say that the log has it."""
    return bool(_CITES.search(sentence.before(quote)) or _CITED_AFTER.match(sentence.after(quote)))


def judge_lines(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Line numbers: whether they exist, and whether what stands beside them in the sentence is there."""
    for mention in sentence.lines:
        found = _judge_line(sentence, mention, index)
        if found.verdict == "contradicted" and any(index.find_code(line) for span in mention.spans for line in span):
            found = claim(mention, "line", "unverifiable")
        yield found


def _judge_line(sentence: Sentence, mention: Mention, index: LogIndex) -> Claim:
    sources = [source for source in index.sources if mention.file in ("", PurePath(source).name)]
    if not sources:
        return claim(mention, "line", "unverifiable")
    cited = _cited(mention, sources, index)
    if not cited:
        return _absent(mention, sources, index)
    subject = _subject(sentence, mention)
    if subject is not None:
        return _compare(sentence, mention, subject, cited, index)
    told = _shares_words(sentence, mention, cited, index)
    return claim(mention, "line", "supported" if told else "unverifiable", cited)


def _cited(mention: Mention, sources: list[str], index: LogIndex) -> tuple[Place, ...]:
    """The cited places in the first source that has all of them; empty when none has."""
    for source in sources:
        if all((source, line) in index.places for span in mention.spans for line in span):
            lines = [line for first, last in mention.spans for line in range(first, last + 1)]
            return tuple((source, line) for line in lines if (source, line) in index.places)
    return ()


def _absent(mention: Mention, sources: list[str], index: LogIndex) -> Claim:
    ranges = "; ".join(
        f"{PurePath(source).name} has lines {first}–{last}"
        for source in sources
        for first, last in [index.lines_of(source)]
    )
    return claim(mention, "line", "contradicted", actual=ranges)


def _subject(sentence: Sentence, mention: Mention) -> Mention | None:
    """What the sentence says to stand on the line: what is beside it, or else the only quote when there is one line."""
    if _RELATIVE_JA.match(sentence.after(mention)):
        return None
    for subject in sentence.subjects:
        if subject.kind != "fence" and _adjacent(sentence, subject, mention):
            return subject
    quotes = [quote for quote in sentence.quotes if quote.kind == "quote"]
    if len(quotes) == 1 and len(sentence.lines) == 1 and not _RELATIVE.search(sentence.plain):
        return quotes[0]
    return None


def _adjacent(sentence: Sentence, subject: Mention, line: Mention) -> bool:
    if subject.end <= line.start:
        return bool(_TO_LINE.match(sentence.between(subject, line)))
    return line.end <= subject.start and bool(_FROM_LINE.match(sentence.between(line, subject)))


def _compare(
    sentence: Sentence, mention: Mention, subject: Mention, cited: tuple[Place, ...], index: LogIndex
) -> Claim:
    """Whether a subject stands on the cited lines; an event counts as a whole."""
    source = cited[0][0]
    there = [place for place in places_of(subject, index) if place[0] == source]
    if not there:
        return claim(mention, "line", "unverifiable", cited)
    gap = sentence.between(subject, mention) if subject.end <= mention.start else ""
    alone = len(sentence.subjects) == 1 and len(sentence.lines) == 1
    words = sentence.plain if alone else gap
    first, last = _FIRST.search(words), _LAST.search(words)
    if first and not last:
        there = there[:1]
    elif last and not first:
        there = there[-1:]
    events = {index.events[place] for place in there}
    hits = [place for place in cited if place in there or index.events[place] in events]
    listed = len(mention.spans) > 1 and all(first == last for first, last in mention.spans)
    if hits and (not listed or len(hits) == len(cited) or not _adjacent(sentence, subject, mention)):
        return claim(mention, "line", "supported", tuple(hits))
    return claim(mention, "line", "contradicted", tuple(there), actual=_at(there))


def _at(places: list[Place]) -> str:
    lines = ", ".join(str(line) for _, line in places[:5])
    return f"on line{'s' if len(places) > 1 else ''} {lines}" + (" and others" if len(places) > 5 else "")


def _shares_words(sentence: Sentence, mention: Mention, cited: tuple[Place, ...], index: LogIndex) -> bool:
    """Whether the sentence speaks the words of the cited lines: two of them, or one that is rare in the log."""
    said = sentence.words - words_of(mention.value)
    shared: set[str] = set()
    for place in cited[:50]:
        shared |= said & words_of(index.text_at(place))
    rare = max(1, index.table.height // 5)
    return len(shared) >= 2 or any(0 < len(index.find(word)) <= rare for word in shared)


def judge_entities(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Addresses, paths, ids: in the log or not; absence contradicts only for kinds that have no other origin."""
    for entity in sentence.entities:
        places = places_of(entity, index)
        if places:
            yield claim(entity, "entity", "unverifiable" if sentence.negated(entity) else "supported", places)
        elif sentence.advice or sentence.negated(entity) or entity.value in _ANYONE:
            yield claim(entity, "entity", "unverifiable")
        else:
            yield _missing(entity, index)


def _missing(entity: Mention, index: LogIndex) -> Claim:
    if entity.kind in ("ip", "address", "mac", "uuid", "email", "pid"):
        return claim(entity, "entity", "contradicted", actual="not in the log")
    if entity.kind == "id":
        prefix = re.split(r"-?[0-9]", entity.value, maxsplit=1)[0]
        return claim(entity, "entity", "contradicted" if index.find(prefix) else "unverifiable")
    if entity.kind in ("path", "url", "hex") and len(entity.value) >= SHORTEST_NEAR:
        similarity, stretch, place = index.closest(entity.value)
        if similarity >= NEAR:
            return claim(entity, "entity", "contradicted", (place,), stretch)
    return claim(entity, "entity", "unverifiable")


def judge_times(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Clock times with seconds: in the log, where what is beside them stands; else wrong, unless rough or a bound."""
    for time in sentence.times:
        places = places_of(time, index)
        loose = sentence.advice or sentence.negated(time) or _NOT_EXACT.search(sentence.before(time))
        subject = None if loose else _timed(sentence, time)
        if places and subject is not None:
            yield _compare_time(time, places, places_of(subject, index), index)
        elif places:
            yield claim(time, "time", "supported", places)
        elif loose or not index.has_clock:
            yield claim(time, "time", "unverifiable")
        else:
            yield claim(time, "time", "contradicted", actual="no line has this time")


def _timed(sentence: Sentence, time: Mention) -> Mention | None:
    """The subject that a sentence says to be of this time: the only one, and nothing but link words between."""
    text, marked = sentence.skeleton
    found = _AT_TIME.search(text)
    if found is None or len(sentence.times) != 1:
        return None
    subjects = [one for one in marked if one in sentence.subjects and one is not time]
    return subjects[0] if len(subjects) == 1 and subjects[0].kind != "fence" else None


def _compare_time(time: Mention, there: tuple[Place, ...], subject: tuple[Place, ...], index: LogIndex) -> Claim:
    """Whether a subject's events include one of this time."""
    events = {(place[0], index.events[place]) for place in there}
    hits = [place for place in subject if (place[0], index.events[place]) in events]
    if hits or not subject:
        return claim(time, "time", "supported", tuple(hits) or there)
    times = index.times_of([(place[0], index.events[place]) for place in subject[:MOST_TIMES]])
    if not times:
        return claim(time, "time", "unverifiable", subject)
    shown = ", ".join(dict.fromkeys(f"{one:%H:%M:%S}" for one in times[:5]))
    return claim(
        time, "time", "contradicted", subject, actual=f"at {shown}" + (" and others" if len(times) > 5 else "")
    )
