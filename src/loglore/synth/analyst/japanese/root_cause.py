"""The task *root cause* in Japanese; see `analyst.root_cause`."""

from loglore.synth.analyst.facts import Facts, Problem
from loglore.synth.analyst.japanese.telling import (
    about,
    concerned,
    duration,
    extent,
    group_title,
    listed,
    mentions,
    place,
    title_of,
)
from loglore.synth.analyst.telling import mark, more_points, slots_of
from loglore.synth.analyst.wording import Slots, Wording, quoted, whole_seconds

MOST_ISSUES = 2
MOST_STEPS = 3

_HEADS = (
    ("主な問題の要約", "詳細な分析", "推奨手順"),
    ("主な問題", "問題ごとの分析", "推奨される手順"),
    ("何が起きたか", "詳細な分析", "推奨される対処"),
)
_MAIN = (
    "{first} から {last} までの {lines}には、{titles}が記録されています。",
    "このログの主な問題は、{titles}です。",
    "{lines}のログに{titles}が見られ、該当するメッセージは {events} 件です。",
    "このログ({lines})は、{titles}を示しています。",
    "{length}の間に、{titles}が起きています。",
)
_ORDER = (
    "最初は {at} の{one}で、{gap}後に{two}が続きます。",
    "{at} に{one}が始まり、その {gap}後に{two}が現れます。",
)
_SEEN = (
    "{quote} が {count}にあります{place}。",
    "証拠は {quote} で、{count}に出ています{place}。",
    "{quote} は {count}に記録されています{place}。",
    "{count}{place}に {quote} があります。",
)
_WHO = ("関係するのは {who} です。", "メッセージが挙げているのは {who} です。", "対象は {who} です。")
_STATED = (
    "ログに書かれた原因は {stated} です。",
    "原因はメッセージ自体に {stated} と書かれています。",
    "ログが示す理由は {stated} です。",
)
_HYPOTHESIS = (
    "原因はログに書かれていませんが、{hypothesis}可能性があります。",
    "仮説としては、{hypothesis}可能性があります。",
    "これらの行だけでは証明できませんが、{hypothesis}と考えられます。",
)
_CALM = (
    "この {lines}に、エラーや障害の報告はありません。",
    "このログ({lines})に問題の兆候は見られません。",
    "この {lines}は通常の動作を示しており、障害はありません。",
)
_CALM_CAUSE = (
    "症状がないため、原因として挙げられるものもありません。",
    "障害が起きていたとしても、その跡はこの {lines}の外にあります。",
    "障害の報告がない行から根本原因を導くことはできません。",
)
_CALM_SEEN = (
    "{topic}が見られます。{quote} は {count}にあります{place}。",
    "{quote} が {count}にあります{place}。",
    "メッセージの一つは {quote} で、{count}に出ています{place}。",
)
_CALM_STEPS = (
    "この {lines}に基づく対応は必要ありません。",
    "利用者から障害の報告があれば、{first} の前と {last} の後の行を調べてください。",
    "{quote} を通常の動作の目安として残してください。",
    "この {lines}の外に警告がないか調べてください。",
)


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown: three bold headings, numbered issues, numbered steps."""
    heads = _HEADS[words.number("heads", len(_HEADS))]
    if facts.problems:
        more = more_points(facts)
        issues = facts.problems[: MOST_ISSUES + more]
        main = main_issues(facts, words)
        analysis = [f"**{title_of(words, issue)}**: {issue_text(facts, issue, words)}" for issue in issues]
        orders = steps(facts, words, MOST_STEPS if len(issues) == 1 else MOST_STEPS - 1 + more)
    else:
        main, analysis, orders = _calm(facts, words)
    numbered = [f"{number}. {text}" for number, text in enumerate(analysis, 1)]
    todo = [f"{number}. {text}" for number, text in enumerate(orders, 1)]
    return "\n".join([f"**{heads[0]}**", main, "", f"**{heads[1]}**", *numbered, "", f"**{heads[2]}**", *todo])


def main_issues(facts: Facts, words: Wording) -> str:
    """One or two sentences: which problems, how much of the log, in which order."""
    titles = [title_of(words, problem) for problem in facts.problems]
    named = titles if len(titles) <= 3 else [*titles[:2], f"ほか {len(titles) - 2} 種類の問題"]
    events = sum(len(problem.events) for problem in facts.problems)
    text = words.say("main", _MAIN, {**extent(facts), "titles": listed(named), "events": str(events)})
    return text + _order(facts, words)


def issue_text(facts: Facts, problem: Problem, words: Wording) -> str:
    """What was seen, whom it concerns, and why: the logged reason or a hypothesis."""
    name = problem.kind.name
    parts = [seen(facts, problem, words)]
    if problem is facts.problems[0]:
        parts.append(words.say(f"meaning/{name}", about(problem, "meanings"), {}))
        parts.append(words.say(f"who/{name}", _WHO, {"who": concerned(problem)}))
    return "".join([*parts, why(problem, words)])


def seen(facts: Facts, problem: Problem, words: Wording) -> str:
    """The problem's quotation with its count and place."""
    group = problem.group
    slots = {"quote": mark(group), "count": mentions(group), "place": place(group.lines, facts.prefixed)}
    return words.say(f"seen/{problem.kind.name}", _SEEN, slots)


def why(problem: Problem, words: Wording) -> str:
    """The cause as logged, or a hypothesis that is called one."""
    name = problem.kind.name
    if problem.stated:
        return words.say(f"stated/{name}", _STATED, {"stated": quoted(problem.stated)})
    hypothesis = words.say(f"hypothesis/{name}", about(problem, "hypotheses"), slots_of(problem))
    return words.say(f"why/{name}", _HYPOTHESIS, {"hypothesis": hypothesis})


def steps(facts: Facts, words: Wording, most: int) -> list[str]:
    """Up to `most` things to do, taken in turn from the problems by severity."""
    found: dict[str, None] = {}
    for turn in range(most + 2):
        for problem in facts.problems[: MOST_ISSUES + more_points(facts)]:
            name = f"step/{problem.kind.name}/{turn}"
            step = words.say(name, about(problem, "steps"), slots_of(problem))
            if step and len(found) < most:
                found.setdefault(step)
    return list(found)


def _order(facts: Facts, words: Wording) -> str:
    """Which of the two main problems came first and by how much, "" when the times do not tell."""
    if len(facts.problems) < 2:
        return ""
    one, two = sorted(facts.problems[:2], key=lambda problem: problem.events[0].position)
    first, second = one.events[0], two.events[0]
    if not (first.time and second.time and first.clock) or whole_seconds(first.time, second.time) < 1:
        return ""
    gap = duration(whole_seconds(first.time, second.time))
    slots = {"one": title_of(words, one), "two": title_of(words, two), "at": first.clock, "gap": gap}
    return words.say("order", _ORDER, slots)


def _calm(facts: Facts, words: Wording) -> tuple[str, list[str], list[str]]:
    slots: dict[str, str | None] = {**extent(facts)}
    analysis = []
    for number, group in enumerate(facts.groups[: 2 + more_points(facts)]):
        own: Slots = {
            "topic": group_title(words, group),
            "quote": mark(group),
            "count": mentions(group),
            "place": place(group.lines, facts.prefixed),
        }
        analysis.append(words.say(f"calm/{number}", _CALM_SEEN, own))
        slots = {**own, **slots}
    cause = words.say("calm/cause", _CALM_CAUSE, slots)
    orders = [words.say(f"calm/step/{turn}", _CALM_STEPS, slots) for turn in range(2)]
    return words.say("calm", _CALM, slots) + cause, analysis or [cause], orders
