"""Mentions: what a text says about a log that can be looked up: quotes, line numbers, entities, times, counts.

Only forms are recognised here, nothing is looked up and nothing is judged. English, and the Japanese forms of quotes,
line numbers and counts. Precision over recall: a form that could as well be something else is not a mention.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from loglore.logs.patterns import expand

_QUOTES = (
    re.compile(r"^[ \t>]{0,8}```[^\n]*\n(?P<fence>.*?)```", re.DOTALL | re.MULTILINE),
    re.compile(r"`(?P<value>[^`\n]+)`"),
    # No quote inside a quote of its kind: a mark without its end would be looked for to the end of the text each time.
    re.compile(r"“(?P<value>[^“”\n]+)”"),
    re.compile(r"「(?P<value>[^「」\n]+)」"),
    re.compile(r"『(?P<value>[^『』\n]+)』"),
    re.compile(r"(?<![\w\"])\"(?P<value>[^\"\n]+)\"(?![\w\"])"),
)
# A string that holds a quotation is a sentence about the log, as in answers in JSON, and no quotation.
_QUOTES_ITSELF = re.compile(r"`[^`\n]+`")
LONGEST_SENTENCE = 2000
# Longer numbers count nothing.
_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})"
_SPAN = rf"L?{_NUMBER}(?:\s?(?:-|–|—|to|through)\s?L?{_NUMBER})?"
_FURTHER = (
    rf"(?:,\s?(?:and\s)?|\sand\s|\s?&\s?)L?{_NUMBER}(?![0-9:%]|\.[0-9])(?:\s?[-–]\s?L?{_NUMBER})?"
    r"(?!\s?(?:times|lines|errors|warnings|ms|s)\b)"
)
_LIST = rf"{_SPAN}(?:{_FURTHER})*"
LINE = re.compile(
    rf"(?:(?<![\w.-])(?P<file>[\w.-]+\.\w+):)?(?:\b(?:[Ll]og )?[Ll]ines?\s(?P<words>{_LIST})"
    r"|(?<![\w.])L(?P<short>[0-9]{1,15}(?:\s?[-–]\s?L?[0-9]{1,15})?)(?![\w.]{0,40}\w)"
    rf"|(?<![0-9,.])(?P<japanese>[0-9]{{1,15}}(?:\s?[-–~〜～]\s?[0-9]{{1,15}})?)\s?行目)",
    re.ASCII,
)
TEMPLATE = re.compile(r"(?<![\w.])T[0-9]{1,15}\b", re.ASCII)
_ENTITIES = (
    ("url", r"(?<![\w.+-])[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`,;)\]\x80-\U0010ffff]*[^\s\"'<>`,;.:)\]\x80-\U0010ffff]"),
    ("uuid", expand("%{UUID}")),
    ("mac", r"(?<![\w:-])" + expand("%{MAC}") + r"(?![\w:-])"),
    ("address", r"(?<![\w.])" + expand("%{IPV4}") + r":[0-9]{1,5}\b"),
    ("ip", r"(?<![\w.])" + expand("%{IPV4}") + r"(?![\w]|\.[0-9])"),
    ("email", r"(?<![\w.%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+\b"),
    ("pid", r"\b(?:pid|PID|process id)[ :=#]{1,2}(?P<value>[0-9]+)\b"),
    ("port", r"\bport[ :=]{1,2}(?P<value>[0-9]{1,5})\b"),
    ("path", r"(?<![\w/.<])/[A-Za-z0-9_.@+%~-]+(?:/[A-Za-z0-9_.@+%~-]+)+/?(?<![.])"),
    ("id", r"\b[A-Za-z]+_-?[0-9]{4,}(?:_[0-9A-Za-z]+)*\b"),
    ("hex", r"\b0x[0-9A-Fa-f]{3,}\b"),
)
# Borders are those of ASCII words: Japanese goes on without a blank after an address.
ENTITIES = tuple((kind, re.compile(pattern, re.ASCII)) for kind, pattern in _ENTITIES)
TIME = re.compile(
    r"(?<![\w:.])(?P<value>(?:(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[T ])?"
    r"(?P<clock>[0-2]?[0-9]:[0-5][0-9]:[0-6][0-9](?:[.,][0-9]{1,9})?))(?!\w|:\w)",
    re.ASCII,
)
_WORDS = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
} | {"once": 1, "twice": 2, "thrice": 3}
COUNT = re.compile(
    rf"(?<![A-Za-z0-9_.:#/×-])(?:(?P<times>[×x])\s?)?(?P<number>{_NUMBER}|(?i:{'|'.join(_WORDS)}))(?![A-Za-z0-9_:]|[.,][0-9]|\s?%|-[0-9])"
    r"(?P<after>\s?[×x]\b|\s?(?:回|件|個|度|箇所|行(?!目)))?"
)


@dataclass(frozen=True)
class Mention:
    """A stretch `start`:`end` of the text. `value` is what it names, without quote marks or a leading word."""

    start: int
    end: int
    kind: str
    value: str
    file: str = ""
    spans: tuple[tuple[int, int], ...] = ()


def sentences(text: str, quoted: list[Mention]) -> list[tuple[int, int]]:
    """Start and end of each sentence; a line's end and a full stop outside of quotes and numbers end one.

    What goes on for more than `LONGEST_SENTENCE` characters is none, and is cut.
    """
    plain = blank(text, quoted)
    borders = [0, *(found.end() for found in re.finditer(r"\n+|[.!?][\"')\]*]{0,8}\s+|。", plain)), len(text)]
    parts = [
        (at, min(at + LONGEST_SENTENCE, end))
        for start, end in pairwise(borders)
        for at in range(start, end, LONGEST_SENTENCE)
    ]
    return [(start, end) for start, end in parts if text[start:end].strip()]


def blank(text: str, taken: list[Mention]) -> str:
    """The text with mentions overwritten by `_` (same length), so that further expressions do not see into them."""
    characters = list(text)
    for mention in taken:
        characters[mention.start : mention.end] = "_" * (mention.end - mention.start)
    return "".join(characters)


def quotes(text: str) -> list[Mention]:
    """Quoted stretches; inside a fenced block each line of at least eight characters is a quote of kind `fence`."""
    found: list[Mention] = []
    for pattern in _QUOTES:
        for one in pattern.finditer(blank(text, found)):
            if "fence" in pattern.groupindex:
                found += _fence(text, one.start("fence"), one.end("fence"))
            elif not _QUOTES_ITSELF.search(value := text[one.start("value") : one.end("value")]):
                found.append(Mention(one.start(), one.end(), "quote", value))
    return sorted(found, key=lambda mention: mention.start)


def _fence(text: str, start: int, end: int) -> list[Mention]:
    lines = []
    for line in text[start:end].splitlines(keepends=True):
        if len(line.strip()) >= 8:
            lines.append(Mention(start, start + len(line.rstrip("\n")), "fence", line.strip()))
        start += len(line)
    return lines


def line_references(text: str) -> list[Mention]:
    """Line numbers: `line 12`, `lines 3, 5 and 9`, `lines 12–15`, `L12`, `app.log:L12`, `12行目`."""
    found = []
    for one in LINE.finditer(text):
        numbers = one["words"] or one["short"] or one["japanese"]
        spans = tuple(_span(piece) for piece in re.split(r",\s?(?:and\s)?(?![0-9]{3}\b)|\sand\s|\s?&\s?", numbers))
        found.append(Mention(one.start(), one.end(), "line", one[0], one["file"] or "", spans))
    return found


def _span(piece: str) -> tuple[int, int]:
    numbers = [int(number.replace(",", "")) for number in re.findall(_NUMBER, piece)]
    return numbers[0], numbers[-1]


def entities(text: str) -> list[Mention]:
    """Addresses, paths, ids and the like; the more specific kind wins where two overlap."""
    found: list[Mention] = []
    for kind, pattern in ENTITIES:
        for one in pattern.finditer(blank(text, found)):
            value = one["value"] if "value" in pattern.groupindex else one[0]
            found.append(Mention(one.start(), one.end(), kind, value))
    return sorted(found, key=lambda mention: mention.start)


def times(text: str) -> list[Mention]:
    """Clock times with seconds, with or without a date."""
    return [Mention(one.start(), one.end(), "time", one["value"]) for one in TIME.finditer(text)]


def split_time(value: str) -> tuple[str | None, str]:
    """Day (or None) and clock of a time mention."""
    found = TIME.fullmatch(value)
    return (found["day"], found["clock"]) if found else (None, value)


def template_references(text: str) -> list[Mention]:
    """Template ids: `T12`."""
    return [Mention(one.start(), one.end(), "template", one[0]) for one in TEMPLATE.finditer(text)]


def counts(text: str) -> list[Mention]:
    """Numbers that could be counts; `value` is the number in digits, kind `times` when ×, 回 or 件 marks it."""
    return [
        Mention(
            one.start(), one.end(), "times" if one["times"] or one["after"] else "number", str(_value(one["number"]))
        )
        for one in COUNT.finditer(text)
    ]


def _value(number: str) -> int:
    word = number.lower()
    return _WORDS[word] if word in _WORDS else int(number.replace(",", ""))
