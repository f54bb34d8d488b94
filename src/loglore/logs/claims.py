"""A claim with its verdict, and the sentence it stands in: what a judge looks at around a mention."""

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property

from loglore.logs import mentions
from loglore.logs.lookup import LogIndex, Place
from loglore.logs.mentions import Mention

MOST_LINES = 100
# How far from a mention its context is looked at; keeps a sentence of any length linear.
WINDOW = 300

# Stand-ins for mentions in a sentence's skeleton.
SLOTS = {"subject": "\ue200", "time": "\ue201", "line": "\ue202", "count": "\ue203"}
_SLOT_LETTERS = "".join(SLOTS.values())
_AROUND = re.compile(rf"[\"'`*“”]{{0,3}}([{_SLOT_LETTERS}])[\"'`*“”]{{0,3}}")

_HEADING = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t].*|\*\*[^*]+\*\*:?|(?:[A-Z][\w'-]* ){0,5}[A-Z][\w'-]*:)[ \t]*$", re.MULTILINE
)
_ADVICE_HEADING = re.compile(
    r"(?i)recommend|next step|action|solution|mitigat|prevent|remed|\bfix|how to|what to do|suggest|推奨|対策|対処"
)
_MARKER = r"^\s*(?:[-*•]\s+|[0-9]+[.)]\s+)*(?:\*\*[^*\n]{1,60}\*\*:?\s*)?"
_VERBS = (
    "add adjust alert allow analy[sz]e apply audit avoid back block bring change check choose clean clear close "
    "confirm configure consider correct create delete deploy disable do enable ensure examine expand find fix free "
    "give grant grep implement improve increase inspect install investigate keep let limit look lower make monitor "
    "move open optimi[sz]e pin raise reduce refer reload remove rename repair replace restart restore restrict "
    "review rotate run scale search "
    "set start stop switch test throttle tighten track tune try update upgrade use validate verify wait watch"
)
_ADVICE = re.compile(
    rf"(?:{_MARKER}(?:(?i:please|first|then|next|also|finally),?\s+)?(?i:{'|'.join(_VERBS.split())})\b)"
    r"|\b(?i:should|could|might|may|would|can be|recommend\w*|suggest\w*|consider|e\.g\.|for example|for instance"
    r"|such as"
    r"|expected to|would be|must be|has to be|needs? to)\b|(?:^|\s)(?:[Ii]f|[Ww]hen you)\s"
    r"|(?:^[\s\d.*-]*|,\s|\bin order\s)[Tt]o\s|してください|すべき|べきです|推奨|お勧め"
    r"|ましょう|(?:と|ば|ほうが|方が)(?:よい|良い|いい)|望ましい|場合は"
)
_WORD = re.compile(r"[A-Za-z0-9_./-]{4,}|[0-9]{2,}")
_NEGATION = re.compile(
    r"(?i)\b(?:no|not|never|none|nowhere|nothing|without|neither|nor|absent|missing|lacks?|free of)\b|n't\b"
    r"|ありません|ません|ない|なし"
)


@dataclass(frozen=True)
class Claim:
    """One checkable statement: characters `start`:`end` of the text.

    kind: `line`, `quote`, `entity`, `count`, `time`, `order` or `cause`. source: the log that decides it ("" when none
    does). verdict: `supported`, `contradicted` or `unverifiable`. lines: the log's lines that decide it, at most
    `MOST_LINES`. actual: what the log says instead, when contradicted.
    """

    start: int
    end: int
    kind: str
    source: str
    verdict: str
    lines: tuple[int, ...] = ()
    actual: str = ""


@dataclass(frozen=True)
class Sentence:
    """One sentence with its mentions; positions count from the start of the whole text."""

    text: str
    start: int
    end: int
    quotes: tuple[Mention, ...]
    lines: tuple[Mention, ...]
    entities: tuple[Mention, ...]
    times: tuple[Mention, ...]
    templates: tuple[Mention, ...]
    counts: tuple[Mention, ...]
    advised: bool

    @cached_property
    def advice(self) -> bool:
        """Whether the sentence tells what to do or supposes, rather than what the log says."""
        return self.advised or bool(_ADVICE.search(self.plain))

    @cached_property
    def plain(self) -> str:
        """The sentence with quotes blanked out."""
        characters = list(self.text[self.start : self.end])
        for quote in self.quotes:
            inside = min(quote.end, self.end) - quote.start
            characters[quote.start - self.start : quote.start - self.start + inside] = "_" * inside
        return "".join(characters)

    @cached_property
    def words(self) -> frozenset[str]:
        """Longer words and numbers of the sentence, in lower case."""
        return words_of(self.text[self.start : self.end])

    @cached_property
    def subjects(self) -> tuple[Mention, ...]:
        """What a count, a line number or an order can be about, in reading order."""
        found = (*self.quotes, *self.entities, *self.times, *self.templates)
        return tuple(sorted(found, key=lambda mention: mention.start))

    @cached_property
    def skeleton(self) -> tuple[str, tuple[Mention, ...]]:
        """The sentence with one `SLOTS` character for each mention, and the mentions in that order.

        Grammar is read off this text: it has no words of the log in it.
        """
        ranked = [(SLOTS["line"], self.lines), (SLOTS["count"], self.counts), (SLOTS["time"], self.times)]
        ranked += [(SLOTS["subject"], (*self.quotes, *self.entities, *self.templates))]
        marked = sorted(((one.start, slot, one) for slot, of_kind in ranked for one in of_kind), key=lambda it: it[0])
        parts, position = [], self.start
        for start, slot, one in marked:
            parts += [self.text[position:start], slot]
            position = one.end
        parts.append(self.text[position : self.end])
        text = "".join(parts)
        # The marks around a quote or an entity say nothing.
        return _AROUND.sub(r"\1", text), tuple(one for _, _, one in marked)

    def slots(self, kind: str) -> tuple[Mention, ...]:
        """The mentions of one kind of slot, in reading order."""
        text, marked = self.skeleton
        order = [letter for letter in text if letter in _SLOT_LETTERS]
        return tuple(one for letter, one in zip(order, marked, strict=True) if letter == SLOTS[kind])

    def before(self, mention: Mention) -> str:
        """The sentence's text before a mention, quotes blanked; the last `WINDOW` characters of it."""
        return self.plain[max(0, mention.start - self.start - WINDOW) : mention.start - self.start]

    def after(self, mention: Mention) -> str:
        """The sentence's text after a mention, quotes blanked; the first `WINDOW` characters of it."""
        return self.plain[mention.end - self.start : mention.end - self.start + WINDOW]

    def between(self, left: Mention, right: Mention) -> str:
        """The text between two mentions; empty when they overlap."""
        return self.text[left.end : right.start]

    def negated(self, mention: Mention) -> bool:
        """Whether a negation stands shortly before a mention, or shortly after it."""
        return bool(_NEGATION.search(self.before(mention)[-40:]) or _NEGATION.search(self.after(mention)[:25]))


def words_of(text: str) -> frozenset[str]:
    """Words of four letters or more and numbers, in lower case."""
    return frozenset(word.lower().strip("./-") for word in _WORD.findall(text))


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text with their mentions. What a more telling form has taken is no mention of another kind."""
    quotes = mentions.quotes(text)
    taken = list(quotes)
    found = {}
    for kind, finder in (
        ("lines", mentions.line_references),
        ("times", mentions.times),
        ("entities", mentions.entities),
        ("templates", mentions.template_references),
        ("counts", mentions.counts),
    ):
        found[kind] = finder(mentions.blank(text, taken))
        taken += found[kind]
    found["quotes"] = _unwrap(quotes, found)
    headings = [(one.start(), bool(_ADVICE_HEADING.search(one[0]))) for one in _HEADING.finditer(text)]
    heads = [place for place, _ in headings]
    starts = {kind: [one.start for one in of_kind] for kind, of_kind in found.items()}
    made = []
    for start, end in mentions.sentences(text, quotes):
        at = bisect_right(heads, start)
        inside = {
            kind: tuple(of_kind[bisect_left(starts[kind], start) : bisect_left(starts[kind], end)])
            for kind, of_kind in found.items()
        }
        made.append(Sentence(text, start, end, advised=at > 0 and headings[at - 1][1], **inside))
    return made


def _unwrap(quotes: list[Mention], found: dict[str, list[Mention]]) -> list[Mention]:
    """Move quotes that hold just an entity, a time or a line number to the mentions of that kind."""
    kept = []
    for quote in quotes:
        for kind, finder in (
            ("lines", mentions.line_references),
            ("times", mentions.times),
            ("entities", mentions.entities),
            ("templates", mentions.template_references),
        ):
            inner = finder(quote.value)
            if len(inner) == 1 and (inner[0].start, inner[0].end) == (0, len(quote.value)):
                one = inner[0]
                found[kind].append(Mention(quote.start, quote.end, one.kind, one.value, one.file, one.spans))
                break
        else:
            kept.append(quote)
    for of_kind in found.values():
        of_kind.sort(key=lambda mention: mention.start)
    return kept


def places_of(mention: Mention, index: LogIndex) -> tuple[Place, ...]:
    """Where in the log a subject stands."""
    if mention.kind in ("quote", "fence"):
        return index.find(mention.value)
    if mention.kind == "time":
        day, clock = mentions.split_time(mention.value)
        return index.find_time(day, clock)
    if mention.kind == "template":
        return index.of_template(mention.value)
    if mention.kind in ("pid", "port"):
        return index.find_number(mention.value)
    return index.find_entity(mention.value)


def claim(mention: Mention, kind: str, verdict: str, places: tuple[Place, ...] = (), actual: str = "") -> Claim:
    """A claim at a mention, decided by places of one source: the first that occurs."""
    source = places[0][0] if places else ""
    lines = tuple(line for where, line in places if where == source)[:MOST_LINES]
    return Claim(mention.start, mention.end, kind, source, verdict, lines, actual)
