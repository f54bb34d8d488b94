"""The task *patterns*: regularities with their counts, a conclusion, recommendations."""

from loglore.synth.analyst import repetition, root_cause
from loglore.synth.analyst.facts import Facts
from loglore.synth.analyst.telling import extent, group_title, mark, mentions, more_points, place, times, title_of
from loglore.synth.analyst.wording import Slots, Wording, counted, duration, listed, raised

MOST_PATTERNS = 3
MOST_VALUES = 3
_PLURALS = {
    "ip": "addresses",
    "user": "users",
    "endpoint": "endpoints",
    "path": "paths",
    "name": "names",
    "port": "ports",
}

_HEADS = (
    ("Patterns identified", "Conclusion", "Recommendations"),
    ("Patterns", "Conclusion", "Recommendations"),
    ("Recurring patterns", "What they mean", "Recommendations"),
    ("Patterns found", "Conclusion", "What to do"),
)
_TITLES = {
    "repeat": ("Repetition", "Repeated message", "Recurring event"),
    "interval": ("Regular interval", "Fixed rhythm", "Periodic message"),
    "sequence": ("Sequence", "Pair of messages", "Fixed order"),
    "varied": ("Changing values", "Same message, different values", "Variation"),
    "burst": ("Burst", "Many lines at once", "Concentration in time"),
    "pause": ("Pause", "Silent time", "Gap"),
    "address": ("One address", "Dominant source", "Concentration on one address"),
    "parts": ("Components", "Distribution over components", "Who logs"),
    "levels": ("Mixed levels", "Severity", "Distribution of levels"),
    "single": ("Single events", "No repetition", "Different messages"),
}
_TEXTS = {
    "repeat": (
        "{quote} is in {count}{place}.",
        "{count} contain {quote}{place}.",
        "the same message returns in {count}{place}: {quote}.",
        "{quote} repeats: {count}{place}.",
    ),
    "interval": (
        "{quote} returns every {gap}, {times} in all.",
        "between two lines with {quote} lie {gap}; there are {count}.",
        "{quote} comes at steps of {gap} ({count}).",
    ),
    "sequence": (
        "{quote} is directly followed by {second} {times}.",
        "{times} the line after {quote} has {second}.",
        "after {quote} comes {second}, {times}.",
    ),
    "varied": (
        "{quote} comes with {values}.",
        "the lines with {quote} differ in {values}.",
        "in {quote} the changing part is {values}.",
    ),
    "burst": ("{count} share the time {at}.", "{count} fall on {at} alone.", "at {at} alone {count} are written."),
    "pause": (
        "after {at} nothing is logged for {gap}.",
        "{gap} pass between {at} and {then} without a line.",
        "the longest silence lasts {gap}, from {at} to {then}.",
    ),
    "address": ("{address} is in {count}.", "{count} name {address}.", "{address} is behind {count}."),
    "parts": ("the events come from {parts}.", "by component: {parts}.", "most active are {parts}."),
    "levels": ("{levels}.", "the levels are {levels}.", "counted by level: {levels}."),
    "single": (
        "none of the {lines} repeats another; the first says {quote}.",
        "each message occurs once, beginning with {quote}.",
        "the log has no recurring message; one of them is {quote}.",
    ),
}
_TROUBLE = (
    "The patterns point to {titles}.",
    "What stands behind it: {titles}, in {messages}.",
    "Taken together the lines tell of {titles}.",
    "What shows here is a problem: {titles}.",
    "{Several} belong to {titles}.",
)
_CALM = (
    "The pattern is one of normal operation: {topics}.",
    "Nothing irregular shows; it is {topics}.",
    "What shows is routine work: {topics}.",
    "No failure is part of the pattern.",
    "It consists of {topics} and the like, and no line reports an error.",
    "All {lines} fit ordinary work.",
)
_CALM_STEPS = (
    "Use {count} with {quote} in {length} as the baseline for an alert.",
    "Alert when {quote} is missing for longer than usual.",
    "Group lines with {quote} in dashboards instead of showing each one.",
    "Compare {count} with {quote} to what a busy hour shows.",
    "Look for the same pattern before {first} and after {last}.",
    "Read the lines between two {quote} when something is missing.",
    "Nothing has to be done; the pattern of these {lines} is a reference for later.",
    "Count how often {quote} comes per hour.",
    "No action follows from this pattern.",
    "Filter {quote} out when you search for rare messages.",
)


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown: numbered patterns with bold titles, a conclusion, a list of recommendations."""
    heads = _HEADS[words.number("heads", len(_HEADS))]
    items = [
        f"{number}. {text}"
        for number, text in enumerate(found_patterns(facts, words)[: MOST_PATTERNS + more_points(facts)], 1)
    ]
    lines = [f"**{heads[0]}**", *items, "", f"**{heads[1]}**", _conclusion(facts, words), "", f"**{heads[2]}**"]
    return "\n".join([*lines, *(f"- {text}" for text in _advice(facts, words))])


def found_patterns(facts: Facts, words: Wording) -> list[str]:
    """All regularities as numbered-list items, the telling ones first."""
    found = [*_of_groups(facts, words), *_of_times(facts, words), *_of_sources(facts, words)]
    if not found:
        slots = {**extent(facts), "quote": mark(facts.groups[0]) if facts.groups else None}
        found = [_item("single", "single", words, slots)]
    return found


def _of_groups(facts: Facts, words: Wording) -> list[str]:
    items = []
    repeated = [group for group in facts.groups if group.count > 1]
    for number, group in enumerate(repeated[: 2 + more_points(facts)]):
        where = place(words, f"repeat/{number}", group.lines, facts.prefixed)
        slots = {"quote": mark(group), "count": mentions(group), "place": where}
        items.append(_item("repeat", f"repeat/{number}", words, slots))
    for each in repetition.intervals(facts)[:1]:
        gap = duration(each.shortest) if each.shortest == each.longest else f"{each.shortest} to {each.longest} s"
        slots = {"quote": mark(each.group), "gap": gap, "count": mentions(each.group), "times": times(each.group.count)}
        items.append(_item("interval", "interval", words, slots))
    for pair in repetition.sequences(facts)[:1]:
        slots = {"quote": mark(pair.first), "second": mark(pair.second), "times": times(pair.count)}
        items.append(_item("sequence", "sequence", words, slots))
    for change in repetition.varied(facts)[:1]:
        values = f"{len(change.values)} {_PLURALS[change.sort]}: {listed(change.values[:MOST_VALUES])}"
        if len(change.values) > MOST_VALUES:
            values = f"{len(change.values)} {_PLURALS[change.sort]}, among them {listed(change.values[:MOST_VALUES])}"
        items.append(_item("varied", "varied", words, {"quote": mark(change.group), "values": values}))
    return items


def _of_times(facts: Facts, words: Wording) -> list[str]:
    items = []
    crowd = repetition.burst(facts)
    if crowd:
        items.append(_item("burst", "burst", words, {"at": crowd[0], "count": counted(crowd[1], "line")}))
    gap = repetition.pause(facts)
    if gap:
        slots = {"at": gap.before.clock, "then": gap.after.clock, "gap": duration(gap.seconds)}
        items.append(_item("pause", "pause", words, slots))
    return items


def _of_sources(facts: Facts, words: Wording) -> list[str]:
    slots = extent(facts)
    items = []
    address = repetition.dominant_address(facts)
    if address:
        items.append(_item("address", "address", words, {"address": address[0], "count": counted(address[1], "line")}))
    if slots["parts"]:
        items.append(_item("parts", "parts", words, slots))
    if len(facts.levels) > 1:
        items.append(_item("levels", "levels", words, slots))
    return items


def _item(sort: str, name: str, words: Wording, slots: Slots) -> str:
    title = words.say(f"title/{name}", _TITLES[sort], {})
    return f"**{title}**: {raised(words.say(name, _TEXTS[sort], slots))}"


def _conclusion(facts: Facts, words: Wording) -> str:
    slots = extent(facts)
    if facts.problems:
        events = sum(len(problem.events) for problem in facts.problems)
        titles = listed([title_of(words, problem) for problem in facts.problems][:3])
        messages = counted(events, "message")
        own = {**slots, "titles": titles, "messages": messages, "several": messages if events > 1 else None}
        text = words.say("conclusion", _TROUBLE, own)
        return f"{text} {root_cause.why(facts.problems[0], words)}"
    topics = dict.fromkeys(title for group in facts.groups if (title := group_title(words, group)))
    return words.say("conclusion", _CALM, {**slots, "topics": listed(list(topics)[:2]) or None})


def _advice(facts: Facts, words: Wording) -> list[str]:
    if facts.problems:
        return root_cause.steps(facts, words, 2)
    slots = extent(facts)
    if facts.groups:
        group = facts.groups[0]
        slots = {**slots, "quote": mark(group), "count": mentions(group) if group.count > 1 else None}
    return [words.say(f"advice/{turn}", _CALM_STEPS, slots) for turn in range(2)]
