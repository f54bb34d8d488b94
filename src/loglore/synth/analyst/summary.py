"""The task *summary*: an overview, numbered points with bold titles, recommendations."""

from collections.abc import Sequence

from loglore.synth.analyst import root_cause, shape
from loglore.synth.analyst.facts import Facts, Group
from loglore.synth.analyst.telling import extent, group_title, mark, mentions, more_points, place, title_of
from loglore.synth.analyst.wording import Wording, listed, raised

MOST_POINTS = 3
MOST_PROBLEMS = 2

_HEADS = (
    ("Overview", "Key points", "Recommendations"),
    ("Overview", "Points", "Recommendations"),
    ("Summary", "Main points", "Recommendations"),
    ("In short", "Details", "Recommended actions"),
)
_OPENING = (
    "The {lines} cover {length}, from {first} to {last}.",
    "This excerpt of {lines} runs from {first} to {last} ({length}).",
    "{Lines}, {first} to {last}.",
    "From {first} to {last} the log has {lines}.",
    "The log has {lines}, all at {only}.",
    "All {lines} date from {only}.",
    "The log consists of {lines}.",
    "{Lines} of log are at hand.",
    "The log is a single line.",
)
_ABOUT = (
    "They tell of {topics}.",
    "Its content: {topics}.",
    "What happens: {topics}.",
    "There are {topics} in it.",
    "It is about {topics}.",
)
_TROUBLE = (
    "Trouble: {titles}.",
    "Of note: {titles}.",
    "It reports {titles}.",
    "The important part: {titles}.",
    "Attention belongs to {titles}.",
)
_TROUBLE_LEVELS = (
    "With {severe}, it reports {titles}.",
    "It holds {severe}; the subject: {titles}.",
    "It has {severe}, about {titles}.",
)
_QUIET = (
    "None of the {lines} reports a problem.",
    "It reports no failure, but for example {quote}.",
    "Nothing in it is an error.",
    "All {lines} look like normal operation.",
    "No line points to a fault; one says {quote}.",
    "There is no failure between {first} and {last}.",
    "Whatever is logged, such as {quote}, is routine.",
)
_POINT = (
    "{quote} in {count}{place}",
    "{count} with {quote}{place}",
    "{quote} is logged in {count}{place}",
    "{count}{place}, for example {quote}",
)
_OTHER = ("Other messages", "Also logged", "Repeated message", "Further messages")
_OTHER_ONE = ("Also logged", "Further event", "One more message", "Single message")
CALM_ADVICE = (
    "Keep the rate of {quote} ({count} here) as a reference.",
    "Alert when {quote} stops to appear.",
    "If users report trouble at {first}, look into other logs of the same time.",
)
_CALM = (
    *CALM_ADVICE,
    "Nothing has to be done; {quote} can serve as a sign of normal operation.",
    "No action follows from these {lines}; watch for the first warning.",
    "No step follows from this excerpt.",
)


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown: bold headings, numbered points with bold titles, a list of recommendations."""
    heads = _HEADS[words.number("heads", len(_HEADS))]
    points = [f"{number}. {point}" for number, point in enumerate(_points(facts, words), 1)]
    advice = root_cause.steps(facts, words, 2) if facts.problems else [calm_advice(facts, words)]
    lines = [f"**{heads[0]}**", overview(facts, words), "", f"**{heads[1]}**", *points, "", f"**{heads[2]}**"]
    return "\n".join([*lines, *(f"- {text}" for text in advice)])


def overview(facts: Facts, words: Wording) -> str:
    """Size and time of the log, what it is about, and whether it reports trouble."""
    slots = extent(facts)
    slots["quote"] = mark(facts.groups[0]) if facts.groups else None
    single = len(facts.lines) == 1
    opening = words.say("opening", _OPENING[-1:] if single else _OPENING[:-1], slots)
    titles = [title_of(words, problem) for problem in facts.problems]
    about = [] if titles else topics(facts, words)[:2]
    parts = [opening, words.say("about", _ABOUT, {"topics": listed(about) or None})]
    if titles:
        phrases = _TROUBLE_LEVELS if slots["severe"] else _TROUBLE
        parts.append(words.say("trouble", phrases, {**slots, "titles": listed(titles[:3])}))
    else:
        parts.append(words.say("quiet", _QUIET, slots))
    return " ".join(part for part in parts if part)


def topics(facts: Facts, words: Wording) -> list[str]:
    """Titles of what the log is about, by number of lines."""
    return list(dict.fromkeys(title for group in facts.groups if (title := group_title(words, group))))


def ordinary(facts: Facts) -> list[Group]:
    """The groups that no problem quotes, largest first."""
    troubled = {line.position for problem in facts.problems for line in problem.events}
    return [group for group in facts.groups if not any(line.position in troubled for line in group.lines)]


def group_text(facts: Facts, group: Group, words: Wording, name: str) -> str:
    """A group as one sentence with its count and place."""
    where = place(words, name, group.lines, facts.prefixed)
    text = words.say(name, _POINT, {"quote": mark(group), "count": mentions(group), "place": where})
    return raised(f"{text}.")


def _points(facts: Facts, words: Wording) -> list[str]:
    points = []
    more = more_points(facts)
    for problem in facts.problems[: MOST_PROBLEMS + more]:
        title = raised(title_of(words, problem))
        text = group_text(facts, problem.group, words, f"point/{problem.kind.name}")
        reason = f" {root_cause.why(problem, words)}" if problem is facts.problems[0] else ""
        points.append(f"**{title}**: {text}{reason}")
    calm = not facts.problems
    for number, group in enumerate(ordinary(facts)[: (3 if calm else 1) + more]):
        fallback = words.say(f"title/other/{number}", _OTHER if group.count > 1 else _OTHER_ONE, {})
        title = raised(group_title(words, group) or fallback)
        points.append(f"**{title}**: {group_text(facts, group, words, f'point/{number}')}")
    return points + shape.points(facts, words)[: max(MOST_POINTS + more - len(points), 0)]


def calm_advice(facts: Facts, words: Wording, phrases: Sequence[str] = _CALM) -> str:
    """One piece of advice for a log without problems, with its own figures."""
    slots = extent(facts)
    if facts.groups:
        slots = {**slots, "quote": mark(facts.groups[0]), "count": mentions(facts.groups[0])}
    return words.say("advice", phrases, slots)
