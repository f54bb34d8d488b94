"""The task *conversation*: question and answer pairs about one log, which stands in the first human turn alone.

Only questions that the log can answer are asked; which ones, and in which order, depends on the chunk. The first asks
for the situation, the last for what to do.
"""

from loglore.synth.analyst import repetition, root_cause, summary
from loglore.synth.analyst.facts import Facts, Group, Problem, shared_quote
from loglore.synth.analyst.knowledge import kinds
from loglore.synth.analyst.telling import extent, group_title, mark, mentions, place, source_of, times, title_of
from loglore.synth.analyst.wording import Wording, counted, duration, listed

Turn = tuple[str, str]

OPENERS = (
    "What is going on in this log?",
    "Can you tell me what happens here?",
    "What does this log show?",
    "Have a look at this log. What is it about?",
    "Is everything all right in this log?",
    "Please check this log for me.",
    "What should I know about these lines?",
    "Anything unusual here?",
)
_WHEN = (
    "Which time does the log cover?",
    "When was this?",
    "From when to when do the lines run?",
    "How long does it last?",
)
_WHEN_ANSWERS = (
    "It runs from {first} to {last}, which is {length}; {lines} in all.",
    "The {lines} start at {first} and end at {last}, {length} later.",
    "From {first} to {last}: {length} with {lines}.",
    "The first line is from {first}, the last from {last}, so {lines} within {length}.",
)
_EVIDENCE = (
    "Which line shows {title}?",
    "Where do you see {title}?",
    "What is the evidence for {title}?",
    "Show me the message behind {title}.",
)
_EVIDENCE_ANSWERS = (
    "Look for {quote}: it is in {count}{place}. {meaning}",
    "{Quote}, in {count}{place}. {meaning}",
    "The telling part is {quote} ({count}). {meaning}",
    "It is {quote}, which stands in {count}{place}. {meaning}",
)
_WHY = (
    "Why does this happen?",
    "What is the cause of {title}?",
    "Do we know the reason for {title}?",
    "What is behind {title}?",
)
_OFTEN = (
    "How often does {title} occur?",
    "How many messages report {title}?",
    "Is it a single case of {title}?",
    "What is the extent of {title}?",
)
_OFTEN_ANSWERS = (
    "Counted: {messages}{between}. The wording {quote} is in {count}.",
    "I count {messages}{between}; {quote} alone stands in {count}.",
    "It is reported in {messages}{between}, for example as {quote}.",
    "There are {several} of this kind{between}, such as {quote}.",
)
_WHO = (
    "Who or what is affected?",
    "Which address or user is involved?",
    "Where does it come from?",
    "Who is named in these messages?",
)
_WHO_ANSWERS = (
    "The messages about {title} name {who}. Their wording is {quote}.",
    "They name {who}; see {quote}.",
    "For {title} the log names {who}, in lines with {quote}.",
    "Named with {title}: {who}. A typical line has {quote}.",
)
_COMMON = (
    "What is the most frequent message?",
    "Which message dominates?",
    "What does the log repeat most?",
    "What fills most of the log?",
)
_COMMON_ANSWERS = (
    "Most frequent is {quote}: {count} of {all}{about}.",
    "{Quote} leads with {count} of {all}{about}.",
    "That is {quote}, found in {count} of {all}{about}.",
    "Of {all}, {count} contain {quote}{about}.",
)
_PARTS = ("Which components write to it?", "Who writes these lines?", "Which parts of the system are active?")
_PARTS_ANSWERS = (
    "Most active: {parts}, counted in events of this excerpt.",
    "The events come from {parts}.",
    "By number of events: {parts}.",
)
_LEVELS = ("What are the log levels?", "How severe are the messages?", "How are the levels distributed?")
_LEVEL_ANSWERS = (
    "By level: {levels}.",
    "The counts are {levels}.",
    "Counted by level there are {levels}.",
)
_PAUSE = ("Is there a pause?", "Are there silent periods?", "Does the log stop in between?")
_PAUSE_ANSWERS = (
    "Yes: after {at} nothing is logged for {gap}; it goes on at {then}.",
    "Yes, {gap} long, from {at} to {then}. All other gaps are shorter.",
    "There is one of {gap} between {at} and {then}.",
)
_RHYTHM = ("Does anything repeat at regular times?", "Is there a rhythm in it?", "Are there periodic messages?")
_RHYTHM_ANSWERS = (
    "Yes, {quote} returns every {gap}; it stands in {count}.",
    "{Quote} comes every {gap}, {times} in this excerpt.",
)
_ABSENT = ("Does it report {title}?", "Is there a sign of {title}?", "Could it be {title}?", "Do you see {title}?")
_ABSENT_YES = (
    "No. What these lines report is {other}, for example {quote}.",
    "No line reports that; the problem here is {other}, see {quote}.",
    "I see none. The messages concern {other}: {quote}.",
)
_ABSENT_NO = (
    "No, none of the {lines} reports that. One of them says {quote}.",
    "No. The log reports no such thing; what it has is, for example, {quote}.",
    "I see none in these {lines}, only messages such as {quote}.",
)
_FIRST = ("What comes first in the log?", "How does the log begin?", "What is the first event?")
_LAST = ("How does the log end?", "What is the last event?", "What comes last?")
_EDGE_ANSWERS = {
    "first": ("It begins with {quote}{at}.", "The first line says {quote}{at}.", "First comes {quote}{at}."),
    "last": ("It ends with {quote}{at}.", "The last line says {quote}{at}.", "The end is {quote}{at}."),
}
_CLOSERS = (
    "What should I do now?",
    "What do you recommend?",
    "Which steps come next?",
    "How do I fix it?",
    "What would you do first?",
)
_CALM_CLOSERS = ("Do I have to do anything?", "Is any action needed?", "Should I worry?", "Is there something to mend?")
_CALM_ENDS = (
    "No: none of the {lines} reports a problem. {advice}",
    "No, nothing in these {lines} calls for a step. {advice}",
    "No, the {lines} show ordinary work. {advice}",
    "No, the log reports no fault. {advice}",
)


def write(facts: Facts, words: Wording, turns: int) -> list[Turn]:
    """Up to `turns` (at least 2) question and answer pairs; fewer when the log answers fewer questions."""
    opener = words.say("opener", OPENERS, {})
    first = (opener, _situation(facts, words))
    last = _closing(facts, words)
    middle = _candidates(facts, words)
    # Questions about the problems come before those about the log as a whole.
    about = words.order("about", [name for name in middle if "/" in name])
    rest = words.order("rest", [name for name in middle if "/" not in name])
    chosen = sorted([*about, *rest][: turns - 2], key=list(middle).index)
    return [first, *(middle[name] for name in chosen), last][:turns]


def _situation(facts: Facts, words: Wording) -> str:
    if not facts.problems:
        return summary.overview(facts, words)
    return f"{root_cause.main_issues(facts, words)} {root_cause.seen(facts, facts.problems[0], words)}"


def _closing(facts: Facts, words: Wording) -> Turn:
    if not facts.problems:
        slots = {**extent(facts), "advice": summary.calm_advice(facts, words, summary.CALM_ADVICE)}
        return words.say("closer", _CALM_CLOSERS, {}), words.say("end", _CALM_ENDS, slots)
    found = root_cause.steps(facts, words, 2)
    return words.say("closer", _CLOSERS, {}), " ".join(f"{number}. {text}" for number, text in enumerate(found, 1))


def _candidates(facts: Facts, words: Wording) -> dict[str, Turn]:
    """All questions between the first and the last that the log answers, by name; `name/kind` is about a problem."""
    turns: dict[str, Turn] = {}
    for problem in facts.problems[:3]:
        turns.update(_of_problem(facts, problem, words))
    turns.update(_of_whole(facts, words))
    turns.update(_of_groups(facts, words))
    return {name: turn for name, turn in turns.items() if turn[1]}


def _of_problem(facts: Facts, problem: Problem, words: Wording) -> dict[str, Turn]:
    kind, group = problem.kind, problem.group
    clocks = [line.clock for line in problem.events if line.clock]
    if problem.events[0].hidden or problem.events[-1].hidden:
        clocks = []
    between = f" between {clocks[0]} and {clocks[-1]}" if clocks and clocks[0] != clocks[-1] else ""
    slots: dict[str, str | None] = {
        "title": title_of(words, problem),
        "quote": mark(group),
        "count": mentions(group),
        "messages": counted(len(problem.events), "message"),
        "several": counted(len(problem.events), "message") if len(problem.events) > 1 else None,
        "place": place(words, f"evidence/{kind.name}", group.lines, facts.prefixed),
        "meaning": words.say(f"meaning/{kind.name}", kind.meanings, {}),
        "between": between or (f" at {clocks[0]}" if clocks else ""),
    }
    reason = f"{root_cause.why(problem, words)} {words.say(f'meaning/{kind.name}', kind.meanings, {})}"
    turns = {
        f"evidence/{kind.name}": (
            words.say(f"ask/evidence/{kind.name}", _EVIDENCE, slots),
            words.say(f"evidence/{kind.name}", _EVIDENCE_ANSWERS, slots),
        ),
        f"why/{kind.name}": (words.say(f"ask/why/{kind.name}", _WHY, slots), reason),
        f"often/{kind.name}": (
            words.say(f"ask/often/{kind.name}", _OFTEN, slots),
            words.say(f"often/{kind.name}", _OFTEN_ANSWERS, slots),
        ),
    }
    sorts = {"ip": "addresses", "user": "users", "endpoint": "endpoints", "name": "objects", "path": "paths"}
    named = [
        source_of(problem.named[sort], len(problem.events), noun)
        for sort, noun in sorts.items()
        if sort in problem.named
    ]
    if named:
        who = {**slots, "who": listed([each for each in named[:2] if each])}
        turns[f"who/{kind.name}"] = (
            words.say(f"ask/who/{kind.name}", _WHO, slots),
            words.say(f"who/{kind.name}", _WHO_ANSWERS, who),
        )
    return turns


def _of_whole(facts: Facts, words: Wording) -> dict[str, Turn]:
    slots = extent(facts)
    turns = {}
    if slots["last"] and slots["length"]:
        turns["when"] = (words.say("ask/when", _WHEN, {}), words.say("when", _WHEN_ANSWERS, slots))
    if slots["parts"]:
        turns["parts"] = (words.say("ask/parts", _PARTS, {}), words.say("parts", _PARTS_ANSWERS, slots))
    if slots["levels"]:
        turns["levels"] = (words.say("ask/levels", _LEVELS, {}), words.say("levels", _LEVEL_ANSWERS, slots))
    gap = repetition.pause(facts)
    if gap:
        own = {"at": gap.before.clock, "then": gap.after.clock, "gap": duration(gap.seconds)}
        turns["pause"] = (words.say("ask/pause", _PAUSE, {}), words.say("pause", _PAUSE_ANSWERS, own))
    for name, questions, line in (("first", _FIRST, facts.spoken[:1]), ("last", _LAST, facts.spoken[-1:])):
        if line and (facts.view is None or line[0].number in facts.view.lines):
            group = facts.group(shared_quote(line), line[0])
            own = {"quote": mark(group), "at": f" at {line[0].clock}" if line[0].clock else ""}
            turns[name] = (words.say(f"ask/{name}", questions, {}), words.say(name, _EDGE_ANSWERS[name], own))
    return turns


def _of_groups(facts: Facts, words: Wording) -> dict[str, Turn]:
    turns = {}
    slots = {"all": counted(len(facts.lines), "line"), "lines": extent(facts)["lines"]}
    if facts.groups:
        group = facts.groups[0]
        topic = group_title(words, group)
        own = {**slots, "quote": mark(group), "count": str(group.count), "about": f" ({topic})" if topic else ""}
        complete = all(line.template in facts.known for line in facts.spoken)
        if complete and all(other.count < group.count for other in facts.groups[1:]):
            turns["common"] = (words.say("ask/common", _COMMON, {}), words.say("common", _COMMON_ANSWERS, own))
        if complete:
            turns["absent"] = _absent(facts, group, slots, words)
    for each in repetition.intervals(facts)[:1]:
        gap = duration(each.shortest) if each.shortest == each.longest else f"{each.shortest} to {each.longest} s"
        own = {"quote": mark(each.group), "gap": gap, "count": mentions(each.group), "times": times(each.group.count)}
        turns["rhythm"] = (words.say("ask/rhythm", _RHYTHM, {}), words.say("rhythm", _RHYTHM_ANSWERS, own))
    return turns


def _absent(facts: Facts, group: Group, slots: dict[str, str | None], words: Wording) -> Turn:
    """A question about a problem that the log does not report, with what it reports instead."""
    present = {problem.kind.name for problem in facts.problems} | {"failure", "warning", "hardware"}
    others = [kind for kind in kinds() if kind.name not in present]
    kind = others[words.number("absent/kind", len(others))]
    title = kind.titles[words.number("absent/title", len(kind.titles))]
    question = words.say("ask/absent", _ABSENT, {"title": title})
    if facts.problems:
        problem = facts.problems[0]
        own = {"other": title_of(words, problem), "quote": mark(problem.group)}
        return question, words.say("absent", _ABSENT_YES, own)
    return question, words.say("absent", _ABSENT_NO, {**slots, "quote": mark(group)})
