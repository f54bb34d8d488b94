"""Judge of counts: numbers bound to something countable, which is counted again."""

import re
from collections.abc import Iterator

import polars as pl

from loglore.logs import halves, levels
from loglore.logs.claims import SLOTS, Claim, Sentence, claim, places_of
from loglore.logs.lookup import LogIndex, Place
from loglore.logs.mentions import Mention

_NOUN = r"(?:times?|lines?|occurrences?|entries|messages?|events?|instances?|records?|hits?|×|x|回|件)"
# Between a subject and its count: `"…" appears 3 times`, `"…" (×3)`, `T4: 3 lines`.
_TO_COUNT = re.compile(
    r"^[\s\"'`”」)*,:–—-]{0,4}(?:(?:is|was|were|are|appears?|appeared|occurs?|occurred|repeats?|repeated|logged|written|seen|found|"
    r"recorded|reported|happens|happened|shows? up|showed up|stands?|"
    r"makes? up|leads?|matches|alone|exactly|a|total|of|counted|with|on|in|which|that|template|"
    r"message|line|at|least|most|more|than|about|around|approximately|roughly|nearly|almost|over|up|to|fewer|less|no|not"
    r"|accounts? for|"
    r"は|が|も|の|を|という|含む|含まれる|行|ログ|メッセージ|件数|回数|全部で|合計で?|前半|後半|に|で)"
    r"\s?)*[\s(\[:–—-]{0,3}$",
    re.IGNORECASE,
)
_FROM_COUNT = re.compile(
    rf"^\s?(?:log\s)?{_NOUN}\s"
    r"(?:of|with|containing|that contain|contain|match|matching|mentioning|mention|for|like|from|have)"
    r"\s?(?:the\s)?(?:message\s|phrase\s|text\s|template\s|address\s|client\s)?[\s\"'`“「:]{0,3}$",
    re.IGNORECASE,
)
_COUNTED = re.compile(rf"^\s?(?:log\s)?{_NOUN}", re.IGNORECASE)
_BOUND = re.compile(
    r"(?i)(?:(?P<least>at least|(?:no|not) (?:fewer|less) than|≥|少なくとも)"
    r"|(?P<most>at most|up to|(?:no|not) more than|≤|最大|多くとも)|(?P<more>more than|over|>)"
    r"|(?P<less>fewer than|less than|<)"
    r"|(?P<rough>about|around|approximately|roughly|nearly|almost|some|~|約|およそ|ほぼ))\s*$"
)
_BOUND_AFTER = re.compile(
    rf"^\s?(?:{_NOUN}?\s?(?P<least>or more|以上)|(?P<more>を超え)|(?P<most>以下|以内)|(?P<less>未満)"
    r"|(?P<rough>ほど|程度|前後|くらい|ぐらい))"
)
_SCOPE_JA = re.compile(
    r"以降|以前|の間|ごと|毎|までに|うち|以内|連続|最初|最後|のみ|だけ|残り|ほかの|他の|あたり|(?<=[0-9目])(?:から|より)"
)
_SCOPE = re.compile(
    r"(?i)\b(?:between|within|during|before|after|until|since|per|each|every|row|consecutive\w*|another|additional|further|"
    r"respectively|other|remaining|again|followed|preceded|later|earlier|then|different|distinct|unique"
    r"|such|of (?:the|them|these|those)|first|last|half|both|including|only|from|for|by|"
    r"lines? [0-9]+|L[0-9]+|minutes?|seconds?|hours?)\b|[0-9]:[0-9]{2}"
)
# The thing named is one of those that are counted, or like them.
_EXAMPLE = re.compile(
    r"(?i)\b(?:such as|for example|for instance|e\.g\.|like|alike|similar|(?:of|from) (?:this|that|the same|one|its) "
    r"(?:kind|type|sort|form)|among|one of|kinds?|types?|variants?|variations?|includ\w+|others?)\b"
    r"|など|のよう|といった|例えば|たとえば|種|似た|のうち|ほか|他"
)
# Words of a sentence that does nothing but count: only there a number far from the one thing named is its count.
_N = SLOTS["count"]
_COUNTING = re.compile(
    rf"(?i)(?:\b(?:at least|at most|up to|(?:no |not )?(?:more|fewer|less) than|about|around|approximately|roughly"
    rf"|nearly|almost|some)"
    rf"\s?)?{_N}(?:\s?(?:times?|lines?)? or more\b)?|[\s.,;:!()（）「」、。*{''.join(SLOTS.values())}-]+"
    r"|\b(?:the|an?|this|that|these|which|in|of|on|at|it|we|see|saw|find|found|counts?|counted|there|is|are|was|were|has|have|had|been|be"
    r"|contains?|containing|log|logs|logged|file|chunk|excerpt|output|shows?|showed|records?|recorded|reports?|reported|writes?"
    r"|wrote|written|seen|appears?|appeared|occurs?|occurred|repeats?|repeated|happens?|happened|messages?|errors?|warnings?|total"
    r"|exactly|altogether|overall|times?|lines?|occurrences?|entry|entries|events?|instances?|hits?|mentions?|with|having|for|from"
    r"|address|client|host|phrase|text|template|accounts? for|stands? out|and|number|comes? to|whole|entire)\b"
    r"|ログ|全体|全部|全て|すべて|合計|回数|件数|行数|出現|記録|出力|発生|含む|含ま|含み|メッセージ|エラー|警告|アドレス|という|からの|から|まし|あり"
    r"|います|され|れて|ます|する|した|して|です|でした|ある|出て|現れ|数は|数|行|件|回|全|計|以上|以下|未満|以内|少なくとも|多くとも|最大|約|およそ"
    r"|ほぼ|ほど|程度|前後|に|は|が|で|の|を|も|と|し|た|る|い"
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
_LEVEL_WORD = re.compile(r"(?i)\blevel\b|レベル")
_WORD_OF_LEVEL = rf"(?P<level>{_LEVELS}|エラー|警告|致命的(?:な)?(?:エラー)?)"
_JAPANESE_LEVELS = {"エラー": "error", "警告": "warning"}
# Read off the skeleton, of sentences about nothing but a level: `the number of error lines is 3`, `error の行は3件`.
_LEVEL_SAID = (
    re.compile(
        rf"(?i)\b(?:number|count|total) of {_WORD_OF_LEVEL}(?:-level| level)? {_LEVEL_NOUN} (?:is"
        rf"|was) (?:exactly )?{_N}"
    ),
    re.compile(rf"(?i)レベル\s?{_WORD_OF_LEVEL}\s?の(?:行|ログ|メッセージ)?(?:数|件数)?[はがも]、?{_N}"),
    re.compile(
        rf"(?i){_WORD_OF_LEVEL}\s?(?:レベル)?(?:の)?(?:行|ログ|メッセージ|エントリー?)?(?:の)?(?:数|件数)?[はがも]、?"
        rf"(?:全部で|合計で?|全)?{_N}"
    ),
)
_TOTAL_SAID = re.compile(
    rf"(?i)(?:ログ|ファイル)(?:全体)?(?:の行数)?[はがも]、?(?:全部で|合計で?|全)?{_N}"
    rf"|\bthere (?:are|were) {_N} (?:log )?lines in the (?:whole |entire )?(?:log|file|chunk)\b(?!\s?[A-Za-z])"
)


def judge_counts(sentence: Sentence, index: LogIndex) -> Iterator[Claim]:
    """Numbers of lines, times, messages: recounted where bound to a quote, entity, template, level or the log."""
    for number in sentence.counts:
        after = sentence.after(number)
        counted = _counted(sentence, number)
        if counted is not None:
            yield _judge_subject(sentence, number, *counted, index)
        elif level := next((found for one in _LEVEL_COUNT if (found := one.match(after))), None):
            final = bool(_FINAL.match(level["rest"]))
            yield _judge_level(sentence, number, level["level"], index, final)
        elif level := _only(sentence, _LEVEL_SAID):
            yield _judge_level(sentence, number, level["level"], index, final=True)
        elif _only(sentence, (_TOTAL_SAID,)):
            yield _verdict(sentence, number, {index.table.height}, (), exact=not _SCOPE_JA.search(sentence.plain))
        elif _TOTAL.search(sentence.before(number)) and _TOTAL_NOUN.match(after):
            yield _verdict(sentence, number, {index.table.height}, (), exact=True)
        elif _WHOLE.search(sentence.before(number)) and _WHOLE_NOUN.match(after):
            yield _verdict(sentence, number, {index.table.height}, (), exact=False)
        elif _COUNTED.match(after):
            yield claim(number, "count", "unverifiable")


def _counted(sentence: Sentence, number: Mention) -> tuple[Mention, bool] | None:
    """The quote, entity or template that a number counts, and whether the words between them say so."""
    after = sentence.after(number)
    left = [one for one in sentence.subjects if one.end <= number.start and one.kind != "time"]
    right = [one for one in sentence.subjects if one.start >= number.end and one.kind != "time"]
    spelled = sentence.text[number.start : number.end].lower() in ("once", "twice", "thrice")
    counts = number.kind == "times" or spelled or _COUNTED.match(after)
    follows = bool(right and _FROM_COUNT.match(sentence.between(number, right[0])))
    gap = sentence.between(left[-1], number) if left else ""
    # Of `3 lines contain "a", 5 lines contain "b"` the comma says nothing, and the verb behind the number does.
    if left and counts and _TO_COUNT.match(gap) and (not follows or re.search(r"\w", gap)):
        return left[-1], True
    if follows:
        return right[0], True
    # The only countable thing beside the only count.
    alone = [*left, *right]
    if len(alone) == 1 and len(sentence.counts) == 1 and counts and alone[0].kind != "fence":
        return alone[0], False
    return None


def _only(sentence: Sentence, patterns: tuple[re.Pattern[str], ...]) -> re.Match[str] | None:
    """What one of the patterns finds in the skeleton of a sentence whose only mention is one count."""
    text, marked = sentence.skeleton
    if len(marked) != 1:
        return None
    return next((found for pattern in patterns if (found := pattern.search(text))), None)


def _judge_subject(sentence: Sentence, number: Mention, subject: Mention, bound: bool, index: LogIndex) -> Claim:
    """Recount a subject; bound: the words between say that the number counts it, not merely the sentence's shape."""
    places = places_of(subject, index)
    if not places:
        return claim(number, "count", "unverifiable")
    meant = (bound or _only_counts(sentence)) and not _EXAMPLE.search(sentence.plain)
    half = halves.topic(sentence.plain)
    if half is not None and not halves.compares(sentence.plain) and len(index.sources) == 1:
        plausible = {len(halves.split(places, index, middle)[half]) for middle in halves.middles(index)}
        return _verdict(sentence, number, plausible, places, exact=meant)
    plausible = {len(places), len({(place[0], index.events[place]) for place in places})}
    if subject.kind == "quote" and (occurrences := index.occurrences(subject.value)):
        plausible.add(occurrences)
    before, after = (subject, number) if subject.end <= number.start else (number, subject)
    between = "" if meant else sentence.between(before, after)
    rest = sentence.before(before) + between + sentence.after(after)
    scoped = _SCOPE.search(rest) or _SCOPE_JA.search(rest) or halves.HALF.search(sentence.plain)
    return _verdict(sentence, number, plausible, places, exact=meant and not scoped)


def _only_counts(sentence: Sentence) -> bool:
    """Whether a sentence has no word but those of counting."""
    return not _COUNTING.sub("", sentence.skeleton[0])


def _judge_level(sentence: Sentence, number: Mention, said: str, index: LogIndex, final: bool) -> Claim:
    word = _JAPANESE_LEVELS.get(said, "fatal" if said.startswith("致命") else said.lower())
    level = pl.select(levels.normalise(pl.lit(word))).item()
    heads = index.of_level(level)
    severe = index.of_level(*levels.at_least(level))
    events = {(place[0], index.events[place]) for place in heads}
    whole = sum((place[0], event) in events for place, event in index.events.items())
    named = index.find_entity(word)
    scoped = bool(_SCOPE.search(sentence.plain) or _SCOPE_JA.search(sentence.plain))
    # "Error lines" may be those that say the word; lines "at level error" are not.
    plausible = {len(heads), len(severe), len(set(heads) & set(named))}
    plausible |= set() if _LEVEL_WORD.search(sentence.plain) else {whole, len(named)}
    if not final and int(number.value) > max(plausible):
        return claim(number, "count", "contradicted", heads, actual=str(len(heads)))
    return _verdict(sentence, number, plausible, heads, exact=final and not scoped)


def _verdict(
    sentence: Sentence, number: Mention, plausible: set[int], places: tuple[Place, ...], *, exact: bool
) -> Claim:
    """Compare a number with every plausible count; a bound such as "at least" is compared as it says."""
    said = int(number.value)
    bound = _BOUND.search(sentence.before(number)) or _BOUND_AFTER.match(sentence.after(number))
    kind = bound.lastgroup if bound else None
    low, high = min(plausible), max(plausible)
    if kind is None:
        agrees, denies = said in plausible, exact
    elif kind in ("least", "more"):
        agrees = high >= said + (kind == "more")
        denies = exact
    elif kind in ("most", "less"):
        agrees = low <= said - (kind == "less")
        denies = exact
    else:
        agrees = any(abs(count - said) <= 0.2 * max(count, said) for count in plausible)
        denies = exact and all(said > 2 * count or 2 * said < count for count in plausible)
    if agrees:
        return claim(number, "count", "supported", places)
    # The "no" of "no fewer than" is the bound's own.
    if denies and (not sentence.negated(number) or (bound and bound[0].lower().startswith("no"))):
        return claim(number, "count", "contradicted", places, actual=str(low if low == high else len(places) or low))
    return claim(number, "count", "unverifiable", places)
