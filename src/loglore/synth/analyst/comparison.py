"""The task *comparison of halves*: objective, findings per half, comparison, conclusion, recommendations.

The halves are the first and the last lines of the chunk, the middle line of an odd number going to the second.
"""

from loglore.logs.lookup import fold
from loglore.synth.analyst import root_cause
from loglore.synth.analyst.facts import Facts, Group, shared_quote
from loglore.synth.analyst.telling import extent, group_title, mark, mentions, title_of
from loglore.synth.analyst.wording import Slots, Wording, counted, duration, listed, quoted, raised

_HEADS = (
    ("Objective", "First half", "Second half", "Comparison", "Conclusion", "Recommendations"),
    ("Objective", "Findings, first half", "Findings, second half", "Comparison", "Conclusion", "Recommendations"),
    ("Aim", "First part", "Second part", "Differences", "Conclusion", "Recommendations"),
)
_AIM = (
    "Compare the first {a} of the log with the last {b}.",
    "See what changes between the first {a} and the {b} after them.",
    "Set the first {a} against the {b} that follow.",
    "Find out whether the last {b} differ from the first {a}.",
)
_HALF_SPAN = (
    "From {first} to {last}: {content}.",
    "{first} to {last}: {content}.",
    "Between {first} and {last}: {content}.",
)
_HALF_AT = ("At {only}: {content}.", "All at {only}: {content}.")
_HALF_TIMELESS = ("{Content}.", "It has {content}.")
_WITH_TROUBLE = ("{messages} of trouble ({titles})", "{titles}, in {messages}", "{messages} about {titles}")
_WITHOUT = (
    "no trouble but {topic}, such as {quote}",
    "ordinary lines like {quote}",
    "{topic} and no failure, for example {quote}",
    "nothing wrong; one message is {quote}",
)
_MORE = (
    "Trouble grows from {one} to {two}.",
    "The second half has more trouble: {two} after {one} in the first.",
    "Trouble rises from {one} to {two}.",
)
_LESS = (
    "Trouble falls from {one} to {two}.",
    "The second half has less trouble: {two} after {one} in the first.",
    "Trouble drops from {one} to {two}.",
)
_SAME = (
    "Both halves report the same amount of trouble: {two} each.",
    "The amount of trouble stays the same, with {two} in each half.",
    "With {two} in either half, the amount of trouble does not change.",
)
_NONE = (
    "Neither half reports trouble.",
    "No half contains a failure, neither the first {a} nor the last {b}.",
    "Both halves are free of problem messages.",
    "In health the halves are alike: no failure in {a}, none in {b}.",
    "Of {a} and {b}, no line reports a failure.",
)
_NEW = (
    "Only the second half has {quote}.",
    "New in the second half is {quote}.",
    "{quote} appears only after the middle.",
)
_GONE = (
    "Only the first half has {quote}.",
    "{quote} does not return in the second half.",
    "{quote} ends with the first half.",
)
# When the message is the one already quoted for its half.
_NEW_SAME = (
    "The message quoted for the second half ({count}, from {first}) is new there.",
    "The quoted message of the second half, {count} from {first} on, was not in the first.",
    "From {first} on the second half has a message that the first lacks, in {count}.",
    "The first half lacks what the second quotes ({count}).",
    "New there is what the second half quotes: {count}, the first at {first}.",
    "What the second half quotes, {count} of it, has no counterpart in the first half.",
)
_GONE_SAME = (
    "The message quoted for the first half ({count}, last at {last}) does not return.",
    "After {last} the message of the first half is not seen again; it had {count}.",
    "What the first half quotes ends at {last}, after {count}.",
    "What the first half quotes, {count} of it, has no counterpart in the second half.",
)
_BOTH = ("Both have {quote}.", "{quote} goes on in both halves.", "Common to both is {quote}.")
_PACE = (
    "The first takes {one}, the second {two}.",
    "The same number of lines takes {one} first and {two} then.",
    "In time they last {one} and {two}.",
)
_END = {
    "more": (
        "The situation gets worse; what to look at is {title}.",
        "The trouble begins or grows in the second half, with {title} in front.",
        "Towards the end {title} dominates.",
    ),
    "less": (
        "The situation calms down after {title} in the first half.",
        "The worst, {title}, lies in the first half.",
        "After the middle the log is quieter; {title} came before.",
    ),
    "changed": (
        "Trouble goes on, but of another kind: {title}.",
        "The amount stays, the kind changes to {title}.",
        "What went wrong first is followed by {title}.",
    ),
    "same": (
        "The problem persists through the whole excerpt: {title}.",
        "Nothing is solved between the halves: {title} goes on.",
        "{Title}: the state does not change from one half to the other.",
    ),
    "none": (
        "The system works steadily in both halves.",
        "The halves differ in content, not in health.",
        "There is no change that needs attention.",
        "The change is one of routine work ({topic}).",
        "From {early} to {late}: a change of routine work, not of health.",
        "The log moves from {early} to {late}, without trouble.",
        "It ends with {late} as it should.",
    ),
}
_CALM_STEPS = (
    "Watch whether {quote} keeps its rate.",
    "No action follows; keep {quote} as a reference for normal work.",
    "Compare with an excerpt from another hour before drawing conclusions.",
    "Look at what triggers {quote} if its absence would matter.",
)
_SINGLE = (
    "A single line has no halves; it says {quote}.",
    "With one line only, {quote}, there is nothing to compare.",
)


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown with six bold headings; one sentence for a log of a single line."""
    if len(facts.lines) < 2:
        return words.say("single", _SINGLE, {"quote": quoted(shared_quote(facts.lines))})
    middle = len(facts.lines) // 2
    first, second = facts.part(1, middle), facts.part(middle + 1, len(facts.lines))
    trend = _trend(first, second)
    slots: dict[str, str | None] = {"a": counted(middle, "line"), "b": counted(len(facts.lines) - middle, "line")}
    texts = (
        words.say("aim", _AIM, slots),
        _half(first, words, "first"),
        _half(second, words, "second"),
        _difference(first, second, trend, words, slots),
        _conclusion(first, second, trend, words),
    )
    heads = _HEADS[words.number("heads", len(_HEADS))]
    sections = [f"**{head}**\n{text}" for head, text in zip(heads, texts, strict=False)]
    advice = root_cause.steps(facts, words, 2) if facts.problems else [_calm_advice(facts, words)]
    sections.append(f"**{heads[-1]}**\n" + "\n".join(f"- {text}" for text in advice))
    return "\n\n".join(sections)


def events_of_trouble(facts: Facts) -> int:
    """Number of events that report a problem."""
    return sum(len(problem.events) for problem in facts.problems)


def _trend(first: Facts, second: Facts) -> str:
    one, two = events_of_trouble(first), events_of_trouble(second)
    if not one and not two:
        return "none"
    return "same" if one == two else ("more" if two > one else "less")


def _half(half: Facts, words: Wording, name: str) -> str:
    if half.problems:
        titles = [title_of(words, problem) for problem in half.problems][:2]
        trouble = {"messages": counted(events_of_trouble(half), "message"), "titles": listed(titles)}
        content = words.say(f"{name}/trouble", _WITH_TROUBLE, trouble)
        content += f": {mark(half.problems[0].group)}"
    elif half.groups:
        group = half.groups[0]
        content = words.say(f"{name}/calm", _WITHOUT, {"topic": group_title(words, group), "quote": mark(group)})
    else:
        content = "nothing but blank lines"
    span = extent(half)
    phrases = _HALF_SPAN if span["last"] else (_HALF_AT if span["only"] else _HALF_TIMELESS)
    return raised(words.say(f"{name}/half", phrases, {**span, "content": content}))


def _difference(first: Facts, second: Facts, trend: str, words: Wording, sizes: Slots) -> str:
    one, two = events_of_trouble(first), events_of_trouble(second)
    phrases = {"more": _MORE, "less": _LESS, "same": _SAME, "none": _NONE}[trend]
    parts = [words.say("trend", phrases, {**sizes, "one": str(one), "two": counted(two, "message")})]
    new, gone, both = only_in(second, first), only_in(first, second), _in_both(first, second)
    new_phrases = _NEW_SAME if new and new == _main_group(second) else _NEW
    gone_phrases = _GONE_SAME if gone and gone == _main_group(first) else _GONE
    for name, phrases, group in (("new", new_phrases, new), ("gone", gone_phrases, gone), ("both", _BOTH, both)):
        if group and len(parts) < 2:
            own = {
                "quote": mark(group),
                "count": mentions(group),
                "first": group.lines[0].clock,
                "last": group.lines[-1].clock,
            }
            parts.append(raised(words.say(name, phrases, own)))
    if first.seconds and second.seconds:
        parts.append(words.say("pace", _PACE, {"one": duration(first.seconds), "two": duration(second.seconds)}))
    return " ".join(part for part in parts if part)


def _main_group(half: Facts) -> Group | None:
    """The group that the findings of a half quote."""
    if half.problems:
        return half.problems[0].group
    return half.groups[0] if half.groups else None


def only_in(half: Facts, other: Facts) -> Group | None:
    """What stands in one half alone: a problem's group before an ordinary one."""
    groups = [*(problem.group for problem in half.problems), *half.groups]
    return next((group for group in groups if not any(fold(group.quote) in line.folded for line in other.lines)), None)


def _in_both(first: Facts, second: Facts) -> Group | None:
    return next(
        (group for group in first.groups if any(fold(group.quote) in line.folded for line in second.lines)), None
    )


def _conclusion(first: Facts, second: Facts, trend: str, words: Wording) -> str:
    worse = {"more": second, "same": second, "less": first, "none": None}[trend]
    title = title_of(words, worse.problems[0]) if worse else None
    topic = group_title(words, second.groups[0]) if second.groups else None
    early = group_title(words, first.groups[0]) if first.groups else None
    late = topic if topic != early else None
    if trend == "same" and first.problems[0].kind is not second.problems[0].kind:
        trend = "changed"
    return words.say("end", _END[trend], {"title": title, "topic": topic, "early": early, "late": late})


def _calm_advice(facts: Facts, words: Wording) -> str:
    return words.say("advice", _CALM_STEPS, {"quote": mark(facts.groups[0]) if facts.groups else None})
