"""The task *root cause*: summary of the main issues, an analysis of each, steps to take.

The cause is quoted where the log states it. Otherwise it is a hypothesis and called one: rules cannot infer more, and a
student must not learn to assert what it cannot see.
"""

from loglore.synth.analyst import shape
from loglore.synth.analyst.facts import Facts, Problem
from loglore.synth.analyst.telling import (
    extent,
    group_title,
    mark,
    mentions,
    more_points,
    place,
    slots_of,
    source_of,
    title_of,
)
from loglore.synth.analyst.wording import Slots, Wording, counted, duration, listed, quoted, raised, whole_seconds

MOST_ISSUES = 2
MOST_STEPS = 3

_HEADS = (
    ("Summary of main issues", "Detailed analysis", "Recommended steps"),
    ("Main issues", "Analysis", "Next steps"),
    ("Summary of the main issues", "Analysis per issue", "Recommended steps"),
    ("What went wrong", "Detailed analysis", "What to do"),
)
_MAIN = (
    "The {lines} from {first} to {last} point to {titles}.",
    "Between {first} and {last} the log shows {titles}.",
    "{Several} of this log ({lines}) report trouble: {titles}.",
    "These {lines} show {titles}.",
    "Main finding in {lines}: {titles}.",
    "The log reports {titles} within {length}.",
    "What stands out in these {lines}: {titles}.",
    "The log shows {titles}.",
    "In {length} of log, {several} tell of {titles}.",
    "The trouble here is {titles}, seen in {messages}.",
)
_ORDER = (
    "It starts with {one} at {at}, followed {gap} later by {two}.",
    "The first sign is {one} ({at}), {gap} before {two}.",
    "First, at {at}, the log has {one}; then, after {gap}, {two}.",
    "At {at} it begins with {one}, and {gap} later turns to {two}.",
)
_WHAT = (
    "{Quote} stands in {count}{place}.",
    "{Count}{place} contain{s} {quote}.",
    "The message {quote} appears in {count}{place}.",
    "{Quote} is logged {times}{place}.",
    "The evidence is {quote}: {count}{place}.",
    "Seen in {count}{place}: {quote}.",
)
_WHO = (
    "It concerns {who}.",
    "Affected: {who}.",
    "The lines name {who}.",
    "Named there: {who}.",
)
_STATED = (
    "The log names the cause: {stated}.",
    "Cause as logged: {stated}.",
    "The reason is in the message itself: {stated}.",
    "{Stated} is the reason the log gives.",
    "As the log says, {stated}.",
)
_HYPOTHESIS = (
    "The log does not state the cause; a likely one is that {hypothesis}.",
    "Hypothesis: {hypothesis}.",
    "Probable cause, not proven by these lines: {hypothesis}.",
    "Presumably {hypothesis}; the lines do not prove it.",
    "It may be that {hypothesis}.",
    "One explanation to check is that {hypothesis}.",
)
_STEP_TAILS = (
    "{step}",
    "{step}",
    "{step} Start at {at}.",
    "{step} The first message to look at is from {at}.",
    "Regarding {title}: {lower}",
)
_CALM = (
    "No error or failure is reported in these {lines}.",
    "These {lines} contain no sign of a problem.",
    "Nothing in these {lines} points to a failure.",
    "There is no issue to explain: the {lines} from {first} to {last} report no error.",
    "The {lines} show ordinary work and no fault.",
    "The log reports no fault.",
)
_CALM_WHAT = (
    "The log tells of {topic}: {quote} is in {count}{place}.",
    "{Topic} can be seen: {quote}, in {count}{place}.",
    "What it shows is {topic}, such as {quote} in {count}{place}.",
    "{Quote} stands in {count}{place}.",
    "Among the messages is {quote}, in {count}{place}.",
)
_CALM_CAUSE = (
    "A root cause can't be derived from lines that report no fault.",
    "Without a symptom in the log there is no cause to look for here.",
    "If something did fail, its trace lies outside of these {lines}.",
    "An outage seen elsewhere would need other logs than these {lines}.",
    "Without a symptom there is no cause to name.",
)
_CALM_STEPS = (
    "No action is needed on the basis of these {lines}.",
    "Look before {first} or after {last} if users reported trouble.",
    "Take {count} with {quote} in {length} as the normal rate to compare with.",
    "Search other sources for the same time, {first} to {last}.",
    "Keep {quote} as a sign of normal work.",
    "Widen the search to warnings outside of these {lines}.",
    "Look at the lines before and after this excerpt if users reported trouble.",
)


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown: three bold headings, numbered issues, numbered steps."""
    heads = _HEADS[words.number("heads", len(_HEADS))]
    if not facts.problems:
        return _assemble(heads, *_calm(facts, words))
    more = more_points(facts)
    issues = facts.problems[: MOST_ISSUES + more]
    analysis = [f"**{raised(title_of(words, issue))}**: {issue_text(facts, issue, words)}" for issue in issues]
    return _assemble(
        heads,
        main_issues(facts, words),
        analysis,
        steps(facts, words, MOST_STEPS if len(issues) == 1 else MOST_STEPS - 1 + more),
    )


def main_issues(facts: Facts, words: Wording) -> str:
    """One or two sentences: which problems, how much of the log, in which order."""
    titles = [title_of(words, problem) for problem in facts.problems]
    named = titles[:3] if len(titles) <= 3 else [*titles[:2], f"{len(titles) - 2} further kinds of trouble"]
    events = sum(len(problem.events) for problem in facts.problems)
    messages = counted(events, "message")
    slots: dict[str, str | None] = {**extent(facts), "titles": listed(named), "messages": messages}
    slots["several"] = messages if events > 1 else None
    text = words.say("main", _MAIN, slots)
    order = _order(facts, words)
    return f"{text} {order}" if order else text


def issue_text(facts: Facts, problem: Problem, words: Wording) -> str:
    """What was seen, whom it concerns, and why: the logged reason or a hypothesis."""
    name = problem.kind.name
    parts = [seen(facts, problem, words)]
    if problem is facts.problems[0]:
        parts.append(words.say(f"meaning/{name}", problem.kind.meanings, {}))
        parts.append(concerned(problem, words))
    parts.append(why(problem, words))
    return " ".join(part for part in parts if part)


def seen(facts: Facts, problem: Problem, words: Wording) -> str:
    """The problem's quotation with its count and place."""
    group = problem.group
    slots = {
        "quote": mark(group),
        "count": mentions(group),
        "s": "s" if group.count == 1 else None,
        "times": f"{group.count} times" if group.count > 1 else "once",
        "place": place(words, f"seen/{problem.kind.name}", group.lines, facts.prefixed),
    }
    return words.say(f"seen/{problem.kind.name}", _WHAT if group.count == 1 else _plural(_WHAT), slots)


def concerned(problem: Problem, words: Wording) -> str:
    """The addresses, users or endpoints that the problem's messages name, "" when they name none."""
    events = len(problem.events)
    named = problem.named
    nouns = {"endpoint": "endpoints", "user": "users", "ip": "addresses", "name": "objects", "path": "paths"}
    found = [source_of(named[sort], events, noun) for sort, noun in nouns.items() if sort in named]
    if "endpoint" in named and "ip" in named and set(named["ip"]) <= {each.split(":")[0] for each in named["endpoint"]}:
        found = [each for each in found if each != source_of(named["ip"], events, "addresses")]
    who = listed([each for each in found[:2] if each])
    return words.say(f"who/{problem.kind.name}", _WHO, {"who": who or None})


def why(problem: Problem, words: Wording) -> str:
    """The cause as logged, or a hypothesis that is called one."""
    name = problem.kind.name
    if problem.stated:
        return words.say(f"stated/{name}", _STATED, {"stated": quoted(problem.stated)})
    hypothesis = words.say(f"hypothesis/{name}", problem.kind.hypotheses, slots_of(problem))
    return words.say(f"why/{name}", _HYPOTHESIS, {"hypothesis": hypothesis or None})


def steps(facts: Facts, words: Wording, most: int) -> list[str]:
    """Up to `most` things to do, taken in turn from the problems by severity."""
    found: dict[str, str] = {}
    for turn in range(most + 2):
        for problem in facts.problems[: MOST_ISSUES + more_points(facts)]:
            step = _step(problem, words, turn)
            # Some steps exist with and without a name in them; one of the two is enough.
            beginning = " ".join(step.removeprefix(f"Regarding {title_of(words, problem)}: ").split()[:3]).lower()
            if step and len(found) < most:
                found.setdefault(beginning, step)
    return list(found.values())


def _plural(phrases: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(phrase.replace("{s}", "") for phrase in phrases)


def _step(problem: Problem, words: Wording, turn: int) -> str:
    name = f"step/{problem.kind.name}/{turn}"
    slots = slots_of(problem)
    step = words.say(name, problem.kind.steps, slots)
    if not step:
        return ""
    lower = step[:1].lower() + step[1:]
    tail: Slots = {
        "step": step,
        "lower": lower,
        "at": problem.events[0].clock,
        "title": title_of(words, problem),
    }
    usable = _STEP_TAILS[:2] if turn else _STEP_TAILS
    return words.say(f"{name}/tail", usable, tail)


def _order(facts: Facts, words: Wording) -> str:
    """Which of the two main problems came first and by how much, "" when the times do not tell."""
    if len(facts.problems) < 2:
        return ""
    one, two = sorted(facts.problems[:2], key=lambda problem: problem.events[0].position)
    first, second = one.events[0], two.events[0]
    if not (first.time and second.time and first.clock) or whole_seconds(first.time, second.time) < 1:
        return ""
    slots = {
        "one": title_of(words, one),
        "two": title_of(words, two),
        "at": first.clock,
        "gap": duration(whole_seconds(first.time, second.time)),
    }
    return words.say("order", _ORDER, slots)


def _calm(facts: Facts, words: Wording) -> tuple[str, list[str], list[str]]:
    slots = extent(facts)
    groups = facts.groups
    analysis = []
    for number, group in enumerate(groups[: 2 + more_points(facts)]):
        own = {
            "topic": group_title(words, group),
            "quote": mark(group),
            "count": mentions(group),
            "place": place(words, f"calm/{number}", group.lines, facts.prefixed),
        }
        analysis.append(words.say(f"calm/{number}", _CALM_WHAT, own))
        if number == 0:
            slots = {**slots, **own}
    analysis += shape.points(facts, words)[:1]
    cause = words.say("calm/cause", _CALM_CAUSE, slots)
    steps_found = [words.say(f"calm/step/{turn}", _CALM_STEPS, slots) for turn in range(2)]
    return f"{words.say('calm', _CALM, slots)} {cause}", analysis or [cause], steps_found


def _assemble(heads: tuple[str, str, str], main: str, analysis: list[str], steps_found: list[str]) -> str:
    numbered = [f"{number}. {text}" for number, text in enumerate(analysis, 1)]
    orders = [f"{number}. {text}" for number, text in enumerate(steps_found, 1)]
    parts = [f"**{heads[0]}**", main, "", f"**{heads[1]}**", *numbered, "", f"**{heads[2]}**", *orders]
    return "\n".join(parts)
