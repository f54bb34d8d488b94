"""The task *summary* in Japanese; see `analyst.summary`."""

from collections.abc import Sequence

from loglore.synth.analyst.facts import Facts, Group
from loglore.synth.analyst.japanese import root_cause
from loglore.synth.analyst.japanese.telling import extent, group_title, listed, mentions, place, title_of
from loglore.synth.analyst.summary import MOST_POINTS, MOST_PROBLEMS, ordinary
from loglore.synth.analyst.telling import mark, more_points
from loglore.synth.analyst.wording import Wording

_HEADS = (
    ("概要", "要点", "推奨事項"),
    ("まとめ", "主な内容", "推奨事項"),
    ("概要", "詳細", "推奨される対応"),
)
_OPENING = (
    "{first} から {last} までの {length}間のログで、{lines}あります。",
    "このログは {lines}で、{first} から {last} までを記録しています。",
    "{lines}のログで、時刻は {only} です。",
    "このログは {lines}です。",
)
_ABOUT = ("内容は{topics}です。", "主に{topics}が記録されています。")
_TROUBLE = ("問題として{titles}が報告されています。", "注意すべき点は{titles}です。", "重要なのは{titles}です。")
_QUIET = (
    "問題を報告している行はありません。",
    "障害の報告はなく、例えば {quote} のような行があります。",
    "どの行も通常の動作を示しています。",
)
_POINT = (
    "{quote} が {count}にあります{place}。",
    "{quote} は {count}に記録されています{place}。",
    "{count}に {quote} が出ています{place}。",
)
_OTHER = ("その他のメッセージ", "ほかの記録")
CALM_ADVICE = (
    "{quote} の頻度(ここでは {count})を目安として残してください。",
    "{quote} が出なくなったら知らせるように設定してください。",
    "{first} ごろに障害の報告があれば、同じ時刻の他のログを調べてください。",
)
_CALM = (*CALM_ADVICE, "このログに基づく対応は必要ありません。")


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown: bold headings, numbered points with bold titles, a list of recommendations."""
    heads = _HEADS[words.number("heads", len(_HEADS))]
    points = [f"{number}. {point}" for number, point in enumerate(_points(facts, words), 1)]
    advice = root_cause.steps(facts, words, 2) if facts.problems else [calm_advice(facts, words)]
    head = [f"**{heads[0]}**", overview(facts, words), "", f"**{heads[1]}**", *points, "", f"**{heads[2]}**"]
    return "\n".join([*head, *(f"- {text}" for text in advice)])


def overview(facts: Facts, words: Wording) -> str:
    """Size and time of the log, what it is about, and whether it reports trouble."""
    slots = extent(facts)
    slots["quote"] = mark(facts.groups[0]) if facts.groups else None
    opening = words.say("opening", _OPENING, slots)
    titles = [title_of(words, problem) for problem in facts.problems]
    if titles:
        return opening + words.say("trouble", _TROUBLE, {"titles": listed(titles[:3])})
    topics = list(dict.fromkeys(title for group in facts.groups if (title := group_title(words, group))))
    told = words.say("about", _ABOUT, {"topics": listed(topics[:2]) or None})
    return opening + told + words.say("quiet", _QUIET, slots)


def group_text(facts: Facts, group: Group, words: Wording, name: str) -> str:
    """A group as one sentence with its count and place."""
    slots = {"quote": mark(group), "count": mentions(group), "place": place(group.lines, facts.prefixed)}
    return words.say(name, _POINT, slots)


def calm_advice(facts: Facts, words: Wording, phrases: Sequence[str] = _CALM) -> str:
    """One piece of advice for a log without problems, with its own figures."""
    slots = extent(facts)
    if facts.groups:
        slots |= {"quote": mark(facts.groups[0]), "count": mentions(facts.groups[0])}
    return words.say("advice", phrases, slots)


def _points(facts: Facts, words: Wording) -> list[str]:
    points = []
    more = more_points(facts)
    for problem in facts.problems[: MOST_PROBLEMS + more]:
        text = group_text(facts, problem.group, words, f"point/{problem.kind.name}")
        reason = root_cause.why(problem, words) if problem is facts.problems[0] else ""
        points.append(f"**{title_of(words, problem)}**: {text}{reason}")
    for number, group in enumerate(ordinary(facts)[: (1 if facts.problems else MOST_POINTS) + more]):
        title = group_title(words, group) or words.say(f"title/other/{number}", _OTHER, {})
        points.append(f"**{title}**: {group_text(facts, group, words, f'point/{number}')}")
    slots = extent(facts)
    if len(points) < MOST_POINTS + more and slots["levels"]:
        points.append(f"**重要度**: {slots['levels']}あります。")
    return points
