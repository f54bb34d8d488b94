"""The task *conversation* in Japanese; see `analyst.conversation`."""

from loglore.synth.analyst.facts import Facts, Problem, shared_quote
from loglore.synth.analyst.japanese import root_cause, summary
from loglore.synth.analyst.japanese.telling import (
    about,
    concerned,
    extent,
    group_title,
    lines,
    mentions,
    place,
    title_of,
)
from loglore.synth.analyst.telling import mark
from loglore.synth.analyst.wording import Slots, Wording

Turn = tuple[str, str]

OPENERS = (
    "このログでは何が起きていますか?",
    "このログを見てください。何についてのものですか?",
    "このログに異常はありますか?",
    "これらの行から何が分かりますか?",
    "このログを確認してもらえますか?",
)
_WHEN = ("ログの時間の範囲は?", "いつからいつまでの記録ですか?")
_WHEN_ANSWERS = (
    "{first} から {last} までで、長さは {length}です。",
    "{first} に始まり、{last} に終わります({length})。",
)
_EVIDENCE = ("{title}の証拠はどこにありますか?", "どの行が{title}を示していますか?")
_EVIDENCE_ANSWERS = (
    "{quote} です。{count}にあります{place}。{meaning}",
    "{count}{place}にある {quote} がそれです。{meaning}",
)
_WHY = ("{title}の原因は何ですか?", "なぜ{title}が起きたのですか?")
_OFTEN = ("{title}は何件ありますか?", "{title}はどのくらい起きていますか?")
_OFTEN_ANSWERS = ("{events} 件の報告があります。{quote} という文言は {count}にあります。",)
_WHO = ("{title}に関係しているのは何ですか?", "{title}で名前が挙がっているのは誰ですか?")
_WHO_ANSWERS = ("{title}のメッセージが挙げているのは {who} です。",)
_LEVELS = ("メッセージの重要度は?", "ログレベルの内訳を教えてください。")
_LEVEL_ANSWERS = ("内訳は、{levels}です。",)
_COMMON = ("最も多いメッセージは何ですか?", "ログの大半を占めるのは何ですか?")
_COMMON_ANSWERS = ("最も多いのは {quote} で、{count}にあります{topic}。",)
_FIRST = ("ログの最初には何がありますか?", "ログはどう始まりますか?")
_FIRST_ANSWERS = ("最初の行は {quote} です。",)
_LAST = ("ログの最後には何がありますか?", "ログはどう終わりますか?")
_LAST_ANSWERS = ("最後の行は {quote} です。",)
_CLOSERS = ("どう対処すればよいですか?", "次に何をすべきですか?", "推奨する手順は?")
_CALM_CLOSERS = ("何か対応は必要ですか?", "心配する必要はありますか?")
_CALM_ENDS = ("いいえ、問題の報告はありません。{advice}", "いいえ、対応が必要な行はありません。{advice}")


def write(facts: Facts, words: Wording, turns: int) -> list[Turn]:
    """Up to `turns` (at least 2) question and answer pairs; fewer when the log answers fewer questions."""
    first = (words.say("opener", OPENERS, {}), _situation(facts, words))
    middle = _candidates(facts, words)
    on_problems = words.order("about", [name for name in middle if "/" in name])
    rest = words.order("rest", [name for name in middle if "/" not in name])
    chosen = sorted([*on_problems, *rest][: turns - 2], key=list(middle).index)
    return [first, *(middle[name] for name in chosen), _closing(facts, words)][:turns]


def _situation(facts: Facts, words: Wording) -> str:
    if not facts.problems:
        return summary.overview(facts, words)
    return root_cause.main_issues(facts, words) + root_cause.seen(facts, facts.problems[0], words)


def _closing(facts: Facts, words: Wording) -> Turn:
    if not facts.problems:
        advice = summary.calm_advice(facts, words, summary.CALM_ADVICE)
        return words.say("closer", _CALM_CLOSERS, {}), words.say("end", _CALM_ENDS, {"advice": advice})
    found = root_cause.steps(facts, words, 2)
    return words.say("closer", _CLOSERS, {}), " ".join(f"{number}. {text}" for number, text in enumerate(found, 1))


def _candidates(facts: Facts, words: Wording) -> dict[str, Turn]:
    """All questions between the first and the last that the log answers, by name; `name/kind` is about a problem."""
    turns: dict[str, Turn] = {}
    for problem in facts.problems[:3]:
        turns |= _of_problem(facts, problem, words)
    slots = extent(facts)
    if slots["last"] and slots["length"]:
        turns["when"] = (words.say("ask/when", _WHEN, {}), words.say("when", _WHEN_ANSWERS, slots))
    if slots["levels"]:
        turns["levels"] = (words.say("ask/levels", _LEVELS, {}), words.say("levels", _LEVEL_ANSWERS, slots))
    for name, questions, answers, line in (
        ("first", _FIRST, _FIRST_ANSWERS, facts.spoken[:1]),
        ("last", _LAST, _LAST_ANSWERS, facts.spoken[-1:]),
    ):
        if line and (facts.view is None or line[0].number in facts.view.lines):
            quote = mark(facts.group(shared_quote(line), line[0]))
            turns[name] = (words.say(f"ask/{name}", questions, {}), words.say(name, answers, {"quote": quote}))
    turns |= _common(facts, words)
    return turns


def _common(facts: Facts, words: Wording) -> dict[str, Turn]:
    groups = facts.groups
    complete = all(line.template in facts.known for line in facts.spoken)
    if not groups or not complete or any(other.count >= groups[0].count for other in groups[1:]):
        return {}
    topic = group_title(words, groups[0])
    own: Slots = {"quote": mark(groups[0]), "count": lines(groups[0].count), "topic": f"({topic})" if topic else ""}
    return {"common": (words.say("ask/common", _COMMON, {}), words.say("common", _COMMON_ANSWERS, own))}


def _of_problem(facts: Facts, problem: Problem, words: Wording) -> dict[str, Turn]:
    name, group = problem.kind.name, problem.group
    slots: dict[str, str | None] = {
        "title": title_of(words, problem),
        "quote": mark(group),
        "count": mentions(group),
        "events": str(len(problem.events)),
        "place": place(group.lines, facts.prefixed),
        "meaning": words.say(f"meaning/{name}", about(problem, "meanings"), {}),
        "who": concerned(problem),
    }
    asked = {
        "evidence": (_EVIDENCE, words.say(f"evidence/{name}", _EVIDENCE_ANSWERS, slots)),
        "why": (_WHY, root_cause.why(problem, words)),
        "often": (_OFTEN, words.say(f"often/{name}", _OFTEN_ANSWERS, slots)),
        "who": (_WHO, words.say(f"who/{name}", _WHO_ANSWERS, slots)),
    }
    return {
        f"{sort}/{name}": (words.say(f"ask/{sort}/{name}", questions, slots), said)
        for sort, (questions, said) in asked.items()
        if said
    }
