"""The five NLPLog questions about a log event, answered from counts: grok, insight, root cause, components, forecast.

What cannot be computed is left out, up to the whole question: the text is for pretraining, where an invented cause
would be learned as a fact.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loglore.errors import InputError
from loglore.logs import grok
from loglore.synth.analyst import event_phrases as say
from loglore.synth.analyst.facts import component_of, whole_message
from loglore.synth.analyst.knowledge import Kind, kind_of, topic_of
from loglore.synth.analyst.occurrences import Event, Near, Occurrence
from loglore.synth.analyst.telling import times
from loglore.synth.analyst.wording import Wording, counted, duration, listed, quoted, shortened

MOST_EXAMPLES = 200
MOST_VARIABLES = 5
MOST_VALUES = 2
MOST_NEIGHBOURS = 2
LEAST_FORECAST = 3
TEMPLATE_LIMIT = 100

# How each of `loglore.logs.masking.TYPES` is called: one, many.
TYPES = {
    "path": ("a path", "paths"),
    "url": ("a URL", "URLs"),
    "email": ("a mail address", "mail addresses"),
    "uuid": ("a UUID", "UUIDs"),
    "mac": ("a hardware address", "hardware addresses"),
    "time": ("a time", "times"),
    "ip": ("an IP address", "IP addresses"),
    "host": ("a host name", "host names"),
    "id": ("an id", "ids"),
    "quoted": ("a quoted text", "quoted texts"),
    "hex": ("a hexadecimal number", "hexadecimal numbers"),
    "number": ("a number", "numbers"),
    "text": ("a word or text", "texts"),
}


@dataclass(frozen=True)
class Answer:
    """What is said about an event: the text and the keys of all templates that it speaks of."""

    text: str
    templates: tuple[str, ...]


def grok_pattern(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """A pattern that matches all of the event's lines (up to `MOST_EXAMPLES`), with the fields of one of them."""
    lines = [occurrence.text for occurrence in event.occurrences[:MOST_EXAMPLES]]
    line = example(event, number).text
    try:
        pattern = grok.from_template(event.template.text, lines)
    except InputError:
        return None
    fields = grok.match(pattern, line)
    if not fields:
        return None
    values = "; ".join(f"{name} = {value}" for name, value in fields.items())
    slots = {
        "pattern": pattern,
        "count": counted(len(fields), "field"),
        "names": listed(list(fields)),
        "values": values,
    }
    intro = words.say("grok", say.GROK, slots)
    return Answer(f"{intro}\n{words.say('fields', say.FIELDS, slots)}", (event.template.key,))


def insight(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """What the constant part says and what the variables hold, with values from the log."""
    kind = _kind(event)
    topic = None if kind else topic_of(example(event, 0).message)
    about = kind or topic
    slots = {
        **_slots(event),
        "title": words.say("title", about.titles, {}) if about else None,
        "meaning": words.say("meaning", about.meanings, {}) if about else None,
    }
    parts = [words.say("constant", say.CONSTANT, slots)]
    if about:
        parts.append(words.say("about", say.ABOUT, slots))
    variables = _variables(event, words)
    if variables:
        parts.append(
            words.say("variables", say.VARIABLES, {"count": counted(len(event.template.variables), "variable part")})
        )
        parts += variables
    elif not event.template.variables:
        parts.append(words.say("fixed", say.FIXED, slots))
    parts.append(words.say("seen", say.SEEN, slots))
    return Answer(" ".join(part for part in parts if part), (event.template.key,))


def root_cause(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """Kind and level of a problem, the cause as logged or as a hypothesis, and what came before it."""
    kind = _kind(event)
    before = _frequent(event.before, len(event.occurrences), number, 0.5)
    if kind is None and not (before and len(event.occurrences) >= LEAST_FORECAST):
        return None
    slots = _slots(event)
    parts = []
    if kind:
        parts.append(words.say("kind", say.KIND, {**slots, "title": words.say("title", kind.titles, {})}))
        parts.append(words.say("meaning", kind.meanings, {}))
        parts.append(_cause(event, kind, words))
    else:
        parts.append(words.say("harmless", say.HARMLESS, slots))
    parts += _neighbour_sentences(event, event.before, before, others, words, say.BEFORE)
    if kind:
        parts.append(words.say("step", [step for step in kind.steps if "{" not in step], {}))
    return Answer(" ".join(part for part in parts if part), (event.template.key, *before))


def components(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """Which other events stand near it, from which components, in how many cases."""
    near = Counter(
        {
            key: max(event.before.counts[key], event.after.counts[key])
            for key in {**event.before.counts, **event.after.counts}
        }
    )
    ranked = sorted(near, key=lambda key: (-near[key], others[key].template.first, key))
    keys = ranked[number * MOST_NEIGHBOURS : (number + 1) * MOST_NEIGHBOURS]
    if not keys:
        return None
    parts = [words.say("opening", say.TOGETHER, {**_slots(event), "count": counted(len(near), "other event")})]
    for key in keys:
        ahead, behind = event.before.counts[key], event.after.counts[key]
        other = others[key]
        slots = {
            "other": _constant(other),
            "where": _where(ahead, behind, len(event.occurrences)),
            "from": _component(other),
        }
        parts.append(words.say(f"near/{key}", say.NEAR_FROM if slots["from"] else say.NEAR, slots))
    own, theirs = _component(event), {_component(others[key]) for key in keys} - {None}
    if own and theirs:
        phrases = say.SAME_COMPONENT if theirs == {own} else say.OTHER_COMPONENT
        names = listed(sorted(name for name in theirs if name and name != own)) or None
        parts.append(words.say("relation", phrases, {"own": own, "theirs": names}))
    return Answer(" ".join(part for part in parts if part), (event.template.key, *keys))


def forecast(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """Which failures followed it in the log, how often and how soon; or that none did, where it is frequent enough."""
    total = len(event.occurrences)
    failures = [key for key in event.after.counts if _kind(others[key])]
    failures.sort(key=lambda key: (-event.after.counts[key], others[key].template.first, key))
    keys = failures[number * MOST_NEIGHBOURS : (number + 1) * MOST_NEIGHBOURS]
    slots = {**_slots(event), "total": counted(total, "occurrence")}
    if not keys:
        if failures or number or total < LEAST_FORECAST:
            return None
        return Answer(words.say("none", say.NO_FAILURE, slots), (event.template.key,))
    parts = _neighbour_sentences(event, event.after, keys, others, words, say.AFTER)
    kind = _kind(others[keys[0]])
    if kind:
        title = words.say("title", kind.titles, {})
        share = event.after.counts[keys[0]] / total
        phrases = say.LIKELY if share >= 0.5 and total >= LEAST_FORECAST else say.UNCERTAIN
        parts.append(words.say("outlook", phrases, {**slots, "title": title}))
    return Answer(" ".join(parts), (event.template.key, *keys))


def _neighbour_sentences(
    event: Event, near: Near, keys: Sequence[str], others: Mapping[str, Event], words: Wording, phrases: Sequence[str]
) -> list[str]:
    sentences = []
    for key in keys:
        low, high = near.seconds.get(key, (None, None))
        gap = None if low is None else (f"{low} to {high} s" if low != high else duration(low))
        slots = {
            "other": _constant(others[key]),
            "share": _share(near.counts[key], len(event.occurrences)),
            "window": event.window,
            "gap": gap,
        }
        sentences.append(words.say(f"near/{key}", phrases, slots))
    return sentences


def _share(count: int, total: int) -> str:
    return "its only case" if total == 1 else f"{count} of {total} cases"


def _where(ahead: int, behind: int, total: int) -> str:
    """`before it in 3 and after it in 2 of 4 cases`, `before it in its only case`."""
    if total == 1:
        sides = "before and after" if ahead and behind else ("before" if ahead else "after")
        return f"{sides} it in its only case"
    sides = listed(
        [side for side in (f"before it in {ahead}" * bool(ahead), f"after it in {behind}" * bool(behind)) if side]
    )
    return f"{sides} of {total} cases"


def _frequent(near: Near, total: int, number: int, share: float) -> list[str]:
    """Keys of neighbours that are there in at least `share` of the cases, the most frequent first; a page of them."""
    keys = sorted(near.counts, key=lambda key: (-near.counts[key], key))
    keys = [key for key in keys if near.counts[key] >= share * total]
    return keys[number * MOST_NEIGHBOURS : (number + 1) * MOST_NEIGHBOURS]


def _cause(event: Event, kind: Kind, words: Wording) -> str:
    message = example(event, 0).message
    stated = kind.stated.search(message) if kind.stated else None
    if stated:
        return words.say("stated", say.STATED, {"stated": quoted(stated[0].strip())})
    hypothesis = words.say("hypothesis", [each for each in kind.hypotheses if "{" not in each], {})
    return words.say("unstated", say.UNSTATED, {"hypothesis": hypothesis or None})


def _variables(event: Event, words: Wording) -> list[str]:
    """One sentence for each of the first variables: its type and values from the log."""
    rows = [event.template.values(occurrence.message.rstrip()) for occurrence in event.occurrences[:MOST_EXAMPLES]]
    known = [row for row in rows if row]
    if not known:
        return []
    sentences = []
    constants = event.template.text.split("<*>")
    for place, kind in enumerate(event.template.variables[:MOST_VARIABLES]):
        values = list(dict.fromkeys(row[place][1] for row in known))
        before = constants[place].split()[-1:]
        slots = {
            "ordinal": str(place + 1),
            "a": TYPES[kind][0],
            "many": TYPES[kind][1],
            "after": quoted(before[0]) if before else None,
            "values": listed([shortened(value, 40) or value[:40] for value in values[:MOST_VALUES]]),
            "count": str(len(values)),
            "span": _span(kind, values),
        }
        if len(values) == 1:
            phrases: Sequence[str] = say.ONE_VALUE
        else:
            phrases = say.RANGE if slots["span"] else (say.FEW_VALUES if len(values) <= MOST_VALUES else say.VALUES)
        sentences.append(words.say(f"variable/{place}", phrases, slots))
    return sentences


def _span(kind: str, values: Sequence[str]) -> str | None:
    if kind != "number" or not all(value.isdigit() for value in values) or len(values) < 3:
        return None
    return f"{min(map(int, values))} and {max(map(int, values))}"


def _slots(event: Event) -> dict[str, str | None]:
    levels = Counter(occurrence.level for occurrence in event.occurrences if occurrence.level)
    sources = dict.fromkeys(occurrence.source for occurrence in event.occurrences)
    return {
        "constant": _constant(event),
        "level": levels.most_common(1)[0][0] if len(levels) == 1 else None,
        "component": _component(event),
        "domain": event.domain,
        "times": times(len(event.occurrences)),
        "total": counted(len(event.occurrences), "line"),
        "logs": counted(len(sources), "log") if len(sources) > 1 else None,
        "window": event.window,
    }


def _kind(event: Event) -> Kind | None:
    first = event.occurrences[0]
    return kind_of(whole_message(first.text, first.message, first.component), first.level)


def _component(event: Event) -> str | None:
    names = {component_of(one.text, one.message, one.component) for one in event.occurrences}
    return next(iter(names)) if len(names) == 1 else None


def _constant(event: Event) -> str:
    return quoted(shortened(event.template.text.strip(), TEMPLATE_LIMIT))


def example(event: Event, number: int) -> Occurrence:
    """The line that variant `number` of a question shows: spread over the occurrences, the first one for 0."""
    return event.occurrences[number * len(event.occurrences) // 7 % len(event.occurrences)]


Writer = Callable[[Event, Wording, int, Mapping[str, Event]], Answer | None]
QUESTIONS: dict[str, Writer] = {
    "grok": grok_pattern,
    "insight": insight,
    "root_cause": root_cause,
    "components": components,
    "forecast": forecast,
}
