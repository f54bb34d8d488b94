"""The task *patterns* in Japanese; see `analyst.patterns`."""

from loglore.synth.analyst import repetition
from loglore.synth.analyst.facts import Facts
from loglore.synth.analyst.japanese import root_cause
from loglore.synth.analyst.japanese.telling import (
    duration,
    extent,
    group_title,
    lines,
    listed,
    mentions,
    place,
    title_of,
)
from loglore.synth.analyst.patterns import MOST_PATTERNS, MOST_VALUES
from loglore.synth.analyst.telling import mark, more_points
from loglore.synth.analyst.wording import Slots, Wording

_HEADS = (
    ("見つかったパターン", "結論", "推奨事項"),
    ("パターン", "結論", "推奨事項"),
    ("繰り返しのパターン", "その意味", "推奨される対応"),
)
_SORTS = {
    "ip": "アドレス",
    "user": "ユーザー",
    "endpoint": "接続先",
    "path": "パス",
    "name": "名前",
    "port": "ポート",
}
_TEXTS = {
    "repeat": (
        "{quote} が {count}にあります{place}。",
        "{count}が {quote} を含んでいます{place}。",
        "{quote} が繰り返され、{count}に出ています{place}。",
    ),
    "interval": ("{quote} は {gap}の間隔で現れ、{count}にあります。", "{quote} のある {count}は {gap}おきです。"),
    "sequence": ("{quote} の次の行に {second} が来ることが繰り返されています。",),
    "varied": ("{quote} の行では{sort}が変わり、{values}です。",),
    "burst": ("{count}が同じ時刻 {at} に集中しています。",),
    "pause": ("{at} の後、{gap}は何も記録されていません。",),
    "address": ("{address} が {count}に出ています。",),
    "levels": ("{levels}あります。",),
    "single": ("同じメッセージの繰り返しはなく、例えば {quote} が一度だけ出ています。",),
}
_TITLES = {
    "repeat": ("繰り返し", "同じメッセージ"),
    "interval": ("一定の間隔",),
    "sequence": ("決まった順序",),
    "varied": ("変化する値",),
    "burst": ("集中",),
    "pause": ("空白の時間",),
    "address": ("特定のアドレス",),
    "levels": ("重要度の分布",),
    "single": ("繰り返しなし",),
}
_TROUBLE = ("これらのパターンは{titles}を示しています。", "背景にあるのは{titles}です。")
_CALM = (
    "通常の動作のパターンで、内容は{topics}です。",
    "障害はパターンに含まれていません。",
    "これらの {lines}は通常の処理の範囲です。",
)
_CALM_STEPS = (
    "{quote} が普段より長く出ないときに知らせるように設定してください。",
    "このパターンに対する対応は必要ありません。",
    "{quote} が一時間に何回出るか数えてください。",
    "{first} の前と {last} の後にも同じパターンがあるか調べてください。",
)


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown: numbered patterns with bold titles, a conclusion, a list of recommendations."""
    heads = _HEADS[words.number("heads", len(_HEADS))]
    items = [
        f"{number}. {text}" for number, text in enumerate(_found(facts, words)[: MOST_PATTERNS + more_points(facts)], 1)
    ]
    head = [f"**{heads[0]}**", *items, "", f"**{heads[1]}**", _conclusion(facts, words), "", f"**{heads[2]}**"]
    return "\n".join([*head, *(f"- {text}" for text in _advice(facts, words))])


def _found(facts: Facts, words: Wording) -> list[str]:
    found = [*_of_groups(facts, words), *_of_whole(facts, words)]
    if found or not facts.groups:
        return found or [_item("levels", words, extent(facts))]
    return [_item("single", words, {"quote": mark(facts.groups[0])})]


def _of_groups(facts: Facts, words: Wording) -> list[str]:
    items = []
    for group in [group for group in facts.groups if group.count > 1][: 2 + more_points(facts)]:
        slots: Slots = {"quote": mark(group), "count": mentions(group), "place": place(group.lines, facts.prefixed)}
        items.append(_item("repeat", words, slots))
    for each in repetition.intervals(facts)[:1]:
        gap = duration(each.shortest)
        if each.shortest != each.longest:
            gap = f"{each.shortest} から {each.longest} 秒"
        items.append(_item("interval", words, {"quote": mark(each.group), "gap": gap, "count": mentions(each.group)}))
    for pair in repetition.sequences(facts)[:1]:
        items.append(_item("sequence", words, {"quote": mark(pair.first), "second": mark(pair.second)}))
    for change in repetition.varied(facts)[:1]:
        rest = " など" if len(change.values) > MOST_VALUES else ""
        values = f"{'、'.join(change.values[:MOST_VALUES])}{rest}の {len(change.values)} 種類"
        items.append(
            _item("varied", words, {"quote": mark(change.group), "sort": _SORTS[change.sort], "values": values})
        )
    return items


def _of_whole(facts: Facts, words: Wording) -> list[str]:
    items = []
    crowd = repetition.burst(facts)
    if crowd:
        items.append(_item("burst", words, {"at": crowd[0], "count": lines(crowd[1])}))
    gap = repetition.pause(facts)
    if gap:
        items.append(_item("pause", words, {"at": gap.before.clock, "gap": duration(gap.seconds)}))
    address = repetition.dominant_address(facts)
    if address:
        items.append(_item("address", words, {"address": address[0], "count": lines(address[1])}))
    if extent(facts)["levels"]:
        items.append(_item("levels", words, extent(facts)))
    return items


def _item(sort: str, words: Wording, slots: Slots) -> str:
    return f"**{words.say(f'title/{sort}', _TITLES[sort], {})}**: {words.say(sort, _TEXTS[sort], slots)}"


def _conclusion(facts: Facts, words: Wording) -> str:
    if facts.problems:
        titles = listed([title_of(words, problem) for problem in facts.problems][:3])
        return words.say("conclusion", _TROUBLE, {"titles": titles}) + root_cause.why(facts.problems[0], words)
    topics = list(dict.fromkeys(title for group in facts.groups if (title := group_title(words, group))))
    return words.say("conclusion", _CALM, {**extent(facts), "topics": listed(topics[:2]) or None})


def _advice(facts: Facts, words: Wording) -> list[str]:
    if facts.problems:
        return root_cause.steps(facts, words, 2)
    slots = {**extent(facts), "quote": mark(facts.groups[0]) if facts.groups else None}
    return [words.say(f"advice/{turn}", _CALM_STEPS, slots) for turn in range(2)]
