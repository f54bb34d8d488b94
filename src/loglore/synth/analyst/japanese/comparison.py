"""The task *comparison of halves* in Japanese; see `analyst.comparison`."""

from loglore.synth.analyst.comparison import events_of_trouble, only_in
from loglore.synth.analyst.facts import Facts, shared_quote
from loglore.synth.analyst.japanese import root_cause
from loglore.synth.analyst.japanese.telling import duration, extent, group_title, lines, listed, title_of
from loglore.synth.analyst.telling import mark
from loglore.synth.analyst.wording import Slots, Wording, quoted

_HEADS = (
    ("目的", "前半", "後半", "比較", "結論", "推奨事項"),
    ("目的", "前半の内容", "後半の内容", "違い", "結論", "推奨事項"),
)
_AIM = (
    "ログの前半 {a}と後半 {b}を比べます。",
    "前半の {a}から後半の {b}にかけて何が変わるかを調べます。",
)
_TROUBLE = ("{titles}についてのメッセージが {events} 件あります。例は {quote} です。",)
_WITHOUT = ("障害の報告はなく、{topic}が中心です。例は {quote} です。", "問題の報告はありません。例は {quote} です。")
_SPAN = ("{first} から {last} まで。", "時刻は {first} から {last} までです。")
_TREND = {
    "more": ("問題の報告は {one} 件から {two} 件に増えています。",),
    "less": ("問題の報告は {one} 件から {two} 件に減っています。",),
    "same": ("問題の報告は、どちらも {two} 件です。",),
    "none": ("どちらにも問題の報告はありません。", "問題を報告する行は、どちらにもありません。"),
}
_NEW = ("{quote} は後半だけにあります。", "後半だけに {quote} があります。")
_GONE = ("{quote} は前半だけにあります。", "前半だけに {quote} があります。")
_PACE = ("かかった時間は、先の部分が {one}、後の部分が {two}です。",)
_END = {
    "more": ("状況は悪くなっており、注目すべきは{title}です。", "後になって{title}が目立ちます。"),
    "less": ("状況は落ち着いており、{title}は先の部分に集中しています。",),
    "same": ("問題は続いており、中心は{title}です。",),
    "changed": ("問題は続いていますが、種類は{title}に変わっています。",),
    "none": ("どちらも通常の動作で、対応が必要な変化はありません。", "違いは内容だけで、状態は変わっていません。"),
}
_CALM_STEPS = (
    "{quote} の頻度が変わらないか見守ってください。",
    "対応は必要ありません。通常の動作の参考として残してください。",
)
_SINGLE = ("一行だけのログなので、比べる前半と後半がありません。内容は {quote} です。",)


def write(facts: Facts, words: Wording) -> str:
    """The answer, in Markdown with six bold headings; one sentence for a log of a single line."""
    if len(facts.lines) < 2:
        return words.say("single", _SINGLE, {"quote": quoted(shared_quote(facts.lines))})
    middle = len(facts.lines) // 2
    first, second = facts.part(1, middle), facts.part(middle + 1, len(facts.lines))
    trend = _trend(first, second)
    texts = (
        words.say("aim", _AIM, {"a": lines(middle), "b": lines(len(facts.lines) - middle)}),
        _half(first, words, "first"),
        _half(second, words, "second"),
        _difference(first, second, trend, words),
        _conclusion(first, second, trend, words),
    )
    heads = _HEADS[words.number("heads", len(_HEADS))]
    sections = [f"**{head}**\n{text}" for head, text in zip(heads, texts, strict=False)]
    calm: Slots = {"quote": mark(facts.groups[0]) if facts.groups else None}
    advice = root_cause.steps(facts, words, 2) if facts.problems else [words.say("advice", _CALM_STEPS, calm)]
    return "\n\n".join([*sections, f"**{heads[-1]}**\n" + "\n".join(f"- {text}" for text in advice)])


def _trend(first: Facts, second: Facts) -> str:
    one, two = events_of_trouble(first), events_of_trouble(second)
    if not one and not two:
        return "none"
    return "same" if one == two else ("more" if two > one else "less")


def _half(half: Facts, words: Wording, name: str) -> str:
    slots = extent(half)
    span = words.say(f"{name}/span", _SPAN, slots) if slots["last"] else ""
    if half.problems:
        titles = listed([title_of(words, problem) for problem in half.problems][:2])
        own: Slots = {"titles": titles, "events": str(events_of_trouble(half)), "quote": mark(half.problems[0].group)}
        return span + words.say(f"{name}/trouble", _TROUBLE, own)
    if not half.groups:
        return span + "空行だけです。"
    group = half.groups[0]
    return span + words.say(f"{name}/calm", _WITHOUT, {"topic": group_title(words, group), "quote": mark(group)})


def _difference(first: Facts, second: Facts, trend: str, words: Wording) -> str:
    counts: Slots = {"one": str(events_of_trouble(first)), "two": str(events_of_trouble(second))}
    parts = [words.say("trend", _TREND[trend], counts)]
    new, gone = only_in(second, first), only_in(first, second)
    if new:
        parts.append(words.say("new", _NEW, {"quote": mark(new)}))
    if gone:
        parts.append(words.say("gone", _GONE, {"quote": mark(gone)}))
    if first.seconds and second.seconds:
        parts.append(words.say("pace", _PACE, {"one": duration(first.seconds), "two": duration(second.seconds)}))
    return "".join(parts)


def _conclusion(first: Facts, second: Facts, trend: str, words: Wording) -> str:
    worse = {"more": second, "same": second, "less": first, "none": None}[trend]
    if trend == "same" and first.problems[0].kind is not second.problems[0].kind:
        trend = "changed"
    return words.say("end", _END[trend], {"title": title_of(words, worse.problems[0]) if worse else None})
