"""Facts of a chunk, computed once and shared by all tasks: lines, groups of like lines, problems, times.

Everything that an answer states is read off here. A group is defined by a quotation: the lines of the chunk that
contain it, in upper or lower case, so that a reader can check every count with `grep -ciF`.
"""

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import polars as pl

from loglore.logs.lookup import fold
from loglore.synth.analyst import entities
from loglore.synth.analyst.knowledge import GENERAL, Kind, Topic, kind_of, topic_of
from loglore.synth.analyst.wording import SHORT_QUOTE, quotable, shortened, whole_seconds

# After a year and a colon in access logs, before a colon and milliseconds in some others.
_CLOCK = re.compile(r"(?:(?<![\d:])|(?<=\d{4}:))\d{1,2}:\d{2}:\d{2}(?!\d|:\d)|(?<![\d])\d{2}:\d{2}:\d{2}(?=:\d{3}\b)")
_EPOCH = re.compile(r"(?<!\d)1\d{9}(?!\d)")
_HEADER_SPAN = 110
LEAD_IN = 24
_PLAIN_WORD = re.compile(r"[a-z]+")
# What a process manager did, written where other programs write who they are: `exited: web (…)`, `success: web …`.
_ACTION = re.compile(r"[a-z]+(?:ed|ing)|success|spawnerr")
_DAEMONS = frozenset(["named", "keepalived", "memcached"])
# Bare numbers (a duration, a size) and punctuation at the start of a quotation tell nothing.
_LOOSE_START = re.compile(r"^(?:(?:[0-9]+|[:;,|-])\s+)+(?=\S)")
# A quotation with fewer letters may stand in lines of many kinds.
_TELLING = 9


@dataclass(frozen=True)
class Line:
    """A line of a chunk.

    Attributes:
        position: 1-based in the chunk; number: 1-based in its source.
        template: key of its template; pattern: the template's text with `<*>`.
        event: number of the first line of its event.
        clock: the time of day as it stands in the line, or its epoch second; None when the line shows neither.
        body: the longest end of the message that stands in the text in one piece (an access log has its client address
            before the time), so that every quotation from it is verbatim.
        folded: the text in lower case with single blanks, in which quotations are looked up.
        seen: whether the reader sees the line's number; False only where the reader has a digest of the log.
        hidden: whether the line shows a clock that the reader's digest does not have; `clock` is None then.
    """

    position: int
    number: int
    text: str
    message: str
    time: datetime.datetime | None
    level: str | None
    component: str | None
    template: str
    pattern: str
    event: int
    clock: str | None
    body: str
    folded: str
    seen: bool = True
    hidden: bool = False


@dataclass(frozen=True)
class View:
    """What a reader sees who has a digest of the log instead of its lines (`loglore.logs.evidence`).

    Attributes:
        text: the digest, folded.
        lines: numbers of the lines it shows; places: those and the numbers that its template table names.
        templates: keys of the templates that it counts.
    """

    text: str
    lines: frozenset[int]
    places: frozenset[int]
    templates: frozenset[str]


@dataclass(frozen=True)
class Group:
    """The lines of a chunk that contain `quote`, a verbatim part of a message.

    Attributes:
        pattern: the template text of the line that the quote was taken from.
        topic: what the message is about; None when unknown.
    """

    quote: str
    lines: tuple[Line, ...]
    pattern: str
    topic: Topic | None

    @property
    def count(self) -> int:
        """How many lines contain the quote, at least 1."""
        return len(self.lines)


@dataclass(frozen=True)
class Problem:
    """The events of one kind of problem.

    Attributes:
        events: the line of each event that shows the problem, in order.
        group: the lines that contain the problem's main quotation.
        stated: the cause as quoted from the log, None where the log names none.
        named: what the messages name, by sort (`ip`, `user` …), with the number of events that name it first.
    """

    kind: Kind
    events: tuple[Line, ...]
    group: Group
    stated: str | None
    named: dict[str, Counter[str]]


@dataclass(frozen=True)
class Facts:
    """A chunk as the analyst sees it.

    Attributes:
        lines: all lines in order, never empty.
        prefixed: whether the student sees `L<number>|` before each line, so that answers may cite line numbers.
        begun: events that began before the first line and are counted there, when this is a part of a chunk.
        view: None when the reader sees every line. Otherwise groups and problems are those that the view shows, with
            the counts of the whole log, which its template table tells; what it does not tell is left out.
    """

    lines: tuple[Line, ...]
    prefixed: bool = False
    begun: frozenset[int] = frozenset()
    view: View | None = None

    @cached_property
    def spoken(self) -> tuple[Line, ...]:
        """The lines that are not blank."""
        return tuple(line for line in self.lines if line.text.strip())

    @cached_property
    def heads(self) -> tuple[Line, ...]:
        """The first line of each event that begins here, blank ones left out."""
        first: dict[int, Line] = {}
        for line in self.spoken:
            first.setdefault(line.event, line)
        return tuple(line for event, line in first.items() if event not in self.begun)

    @cached_property
    def levels(self) -> Counter[str]:
        """Lines by level; lines without a level are left out."""
        if self.view is not None and "; levels: " not in self.view.text:
            return Counter()
        return Counter(line.level for line in self.lines if line.level)

    @cached_property
    def components(self) -> Counter[str]:
        """Events by component, those without one left out."""
        if self.view is not None:
            return Counter()
        return Counter(line.component for line in self.heads if line.component)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Groups of like lines; each first-of-event line is in one.

        The largest first, then by first appearance; those with a quotation too short to tell messages apart come last.
        """
        found: dict[str, Group] = {}
        by_template: dict[str, list[Line]] = {}
        for line in self.heads:
            by_template.setdefault(line.template, []).append(line)
        for members in by_template.values():
            quote = shared_quote(members)
            if quote and quote not in found:
                found[quote] = self.group(quote, members[0])
        shown = [group for group in found.values() if self.shows(group)]
        return tuple(sorted(shown, key=lambda group: (_is_vague(group), -group.count)))

    @cached_property
    def known(self) -> frozenset[str]:
        """Keys of the templates of which the reader can tell how many lines they have."""
        keys = {line.template for line in self.lines}
        if self.view is None:
            return frozenset(keys)
        partly = {line.template for line in self.lines if line.number not in self.view.lines}
        return frozenset(key for key in keys if key in self.view.templates or key not in partly)

    def shows(self, group: Group) -> bool:
        """Whether the reader can see the quotation and tell the count of a group."""
        if self.view is None:
            return True
        return fold(group.quote) in self.view.text and all(line.template in self.known for line in group.lines)

    @cached_property
    def tells_all(self) -> bool:
        """Whether every problem of the log is among those that the reader can see."""
        return self.view is None or {each.kind.name for each in self.problems} == set(self._by_kind)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Problems by severity, those of a known kind before general ones, then by events and first appearance."""
        problems = [self._problem(kind, lines) for kind, lines in self._by_kind.values() if self._counts(lines)]
        problems = [problem for problem in problems if self.shows(problem.group)]
        return tuple(sorted(problems, key=lambda one: (-one.kind.severity, one.kind.name in GENERAL, -len(one.events))))

    def _counts(self, lines: list[Line]) -> bool:
        return self.view is None or all(line.template in self.known for line in lines)

    @cached_property
    def _by_kind(self) -> dict[str, tuple[Kind, list[Line]]]:
        """The line of each event that shows a problem, by kind."""
        by_kind: dict[str, tuple[Kind, list[Line]]] = {}
        for head in self.heads:
            found = self._problem_of(head)
            if found:
                by_kind.setdefault(found[0].name, (found[0], []))[1].append(found[1])
        return by_kind

    @cached_property
    def seconds(self) -> int | None:
        """Whole seconds from the first to the last dated line; None with fewer than two or when time runs back."""
        return seconds_between(self.lines)

    def group(self, quote: str, line: Line) -> Group:
        """All lines of the chunk that contain `quote`, which stands in `line`."""
        wanted = fold(quote)
        members = tuple(each for each in self.lines if wanted in each.folded)
        return Group(quote, members or (line,), line.pattern, topic_of(line.message))

    def part(self, first: int, last: int) -> "Facts":
        """The facts of the lines at positions `first` to `last` alone."""
        begun = frozenset(line.event for line in self.lines[: first - 1])
        return Facts(self.lines[first - 1 : last], self.prefixed, begun)

    def _problem_of(self, head: Line) -> tuple[Kind, Line] | None:
        """The kind of an event and the line that shows it: the head's own, unless a later line says more."""
        own = kind_of(head.message, head.level)
        general = own is None or own.name in GENERAL
        if not general or (own is None and head.level is not None and head.level not in {"warning", "error", "fatal"}):
            return (own, head) if own else None
        rest = [line for line in self.spoken if line.event == head.event and line is not head]
        best = (own, head)
        for line in rest:
            kind = kind_of(line.message.strip(), None)
            if kind and (best[0] is None or kind.rank <= best[0].rank):
                best = (kind, line)
        return (best[0], best[1]) if best[0] else None

    def _problem(self, kind: Kind, lines: list[Line]) -> Problem:
        # A cause belongs to the message that states it, so that message is the one to quote.
        telling = [line for line in lines if kind.stated and kind.stated.search(line.message)] or lines
        sizes = Counter(line.template for line in telling)
        most = [line for line in telling if line.template == sizes.most_common(1)[0][0]]
        quote = shared_quote(most, kind.pattern)
        stated = next((match[0] for line in most if kind.stated and (match := kind.stated.search(line.message))), None)
        stated = stated and quotable(shortened(stated))
        return Problem(
            kind=kind,
            events=tuple(lines),
            group=self.group(quote, most[0]),
            stated=stated if self.view is None or (stated and fold(stated) in self.view.text) else None,
            named=self._named(lines),
        )

    def _named(self, lines: list[Line]) -> dict[str, Counter[str]]:
        """What the messages name; a digest tells it where it shows all the messages, or where all name one thing."""
        named = entities.common(line.message for line in lines)
        view = self.view
        if view is None or all(line.number in view.lines for line in lines):
            return named
        return {
            sort: counts
            for sort, counts in named.items()
            if len(counts) == 1 and counts.total() == len(lines) and fold(next(iter(counts))) in view.text
        }


def facts_of(
    table: pl.DataFrame, patterns: Mapping[str, str], prefixed: bool = False, view: View | None = None
) -> Facts:
    """Facts of a chunk, or of a whole log of which the reader has a digest.

    Args:
        table: the chunk's rows of a mined log table (`loglore.logs.templates.mine`): one source, at least one row.
        patterns: template text by key.
        prefixed: whether the student's prompt numbers the lines.
        view: what the digest shows; None when the reader sees the lines themselves.
    """
    names = ("line", "text", "message", "time", "level", "component", "key", "event")
    lines = []
    for position, row in enumerate(table.select(names).iter_rows(named=True), 1):
        key = row["key"] or ""
        message = whole_message(row["text"], row["message"], row["component"])
        lines.append(
            Line(
                position=position,
                number=row["line"],
                text=row["text"],
                message=message,
                time=row["time"],
                level=row["level"],
                component=component_of(row["text"], row["message"], row["component"]),
                template=key,
                pattern=patterns.get(key, row["message"]),
                event=row["event"],
                clock=clock_of(row["text"], row["time"]),
                body=_body(row["text"], message),
                folded=fold(row["text"]),
            )
        )
    if view is not None:
        lines = [_as_seen(line, view) for line in lines]
    return Facts(tuple(lines), prefixed, view=view)


def _as_seen(line: Line, view: View) -> Line:
    """The line without what a reader of the digest does not see: number, clock, component."""
    hidden = line.clock is not None and line.number not in view.lines and fold(line.clock) not in view.text
    component = line.component if line.component and fold(line.component) in view.text else None
    clock = None if hidden else line.clock
    return replace(line, seen=line.number in view.places, hidden=hidden, clock=clock, component=component)


def whole_message(text: str, message: str, component: str | None) -> str:
    """The message with the word before it that a reader may have taken for a component: `exited: web (status 1)`."""
    whole = f"{component}: {message}"
    return whole if component and _PLAIN_WORD.fullmatch(component) and text.endswith(whole) else message


def component_of(text: str, message: str, component: str | None) -> str | None:
    """The component that a line names, None where the reader took what was done for it (`exited: web (status 1)`)."""
    if component is None or component in _DAEMONS or not _ACTION.fullmatch(component):
        return component
    return None if whole_message(text, message, component) != message else component


def clock_of(text: str, time: datetime.datetime | None) -> str | None:
    """The time of day as it stands in the header of a line, where it is the line's own time."""
    if time is None:
        return None
    for match in _CLOCK.finditer(text[:_HEADER_SPAN]):
        if match[0].split(":")[1:] == time.strftime("%M:%S").split(":"):
            return match[0]
    epoch = _EPOCH.search(text[:40])
    return epoch[0] if epoch else None


def _body(text: str, message: str) -> str:
    starts = [0, *(match.end() for match in re.finditer(r"\s+", message))]
    return next(
        (message[start:].strip() for start in starts if message[start:] and message[start:] in text), text.strip()
    )


def shared_quote(lines: Sequence[Line], around: re.Pattern[str] | None = None) -> str:
    """A part of the first line's message that all the lines contain, of at most about 64 characters.

    The longest constant run of the template; when `around` matches only beyond the quotation's end, the part with the
    match is taken instead. Where no run has the match (a status between numbers), the first line's part with it is
    taken, which the other lines need not contain: a quotation that shows nothing of the matter is no evidence.
    """
    message = lines[0].body or lines[0].text.strip()
    runs = [message] if len({line.body for line in lines}) == 1 else _runs(lines)
    best = max(runs, key=lambda run: (bool(around and around.search(run)), _letters(run)), default="")
    match = around.search(best) if around else None
    if around and not match and (own := around.search(message)):
        best, match = message, own
    start = _lead_in(best, match.start()) if match and match.end() > SHORT_QUOTE else 0
    quote = _LOOSE_START.sub("", shortened(best, SHORT_QUOTE, start))
    return quotable(quote if _letters(quote) >= 3 else shortened(message, SHORT_QUOTE))


def _lead_in(text: str, place: int) -> int:
    """Where to begin a quotation so that it leads in to `place`: after a comma shortly before, else a word or two."""
    clause = text.rfind(", ", max(place - LEAD_IN, 0), place)
    if clause >= 0:
        return clause + 2
    word = text.find(" ", max(place - LEAD_IN, 0), place)
    return word + 1 if word >= 0 else place


def _is_vague(group: Group) -> bool:
    """Whether the quotation is a short word that lines of several kinds have: `exit` in `exiting` and `exited`."""
    return _letters(group.quote) < _TELLING and len({line.template for line in group.lines}) > 1


def _letters(text: str) -> int:
    return sum(character.isalpha() for character in text)


def _runs(lines: Sequence[Line]) -> list[str]:
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


def seconds_between(lines: Sequence[Line]) -> int | None:
    """Whole seconds from the first to the last of the lines that have a time; None with fewer than two or run back."""
    times = [line.time for line in lines if line.time is not None]
    if len(times) < 2:
        return None
    length = whole_seconds(times[0], times[-1])
    return length if length >= 0 else None
