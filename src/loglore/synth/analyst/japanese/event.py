"""The five NLPLog questions about a log event in Japanese; the facts are those of `analyst.event`."""

from collections import Counter
from collections.abc import Mapping, Sequence

from loglore.errors import InputError
from loglore.logs import grok
from loglore.synth.analyst.event import (
    LEAST_FORECAST,
    MOST_EXAMPLES,
    MOST_NEIGHBOURS,
    MOST_VALUES,
    Answer,
    Writer,
    component_name,
    constant_of,
    example,
    frequent,
    kind_of_event,
    variables_of,
)
from loglore.synth.analyst.japanese.telling import duration, kind_title, phrases
from loglore.synth.analyst.knowledge import Kind, topic_of
from loglore.synth.analyst.occurrences import WINDOW_LINES, WINDOW_S, Event, Near
from loglore.synth.analyst.wording import Wording, quoted

# How each of `loglore.logs.masking.TYPES` is called.
TYPES = {
    "path": "パス",
    "url": "URL",
    "email": "メールアドレス",
    "uuid": "UUID",
    "mac": "ハードウェアアドレス",
    "time": "時刻",
    "ip": "IP アドレス",
    "host": "ホスト名",
    "id": "ID",
    "quoted": "引用された文字列",
    "hex": "十六進数",
    "number": "数値",
    "text": "単語または文字列",
}
_GROK = (
    "このイベントの grok パターンは次のとおりです:\n{pattern}",
    "次のパターンが行全体に一致します:\n{pattern}",
    "このイベントは次のパターンで解析できます:\n{pattern}",
)
_FIELDS = ("取り出せるフィールドは次のとおりです: {values}。", "この行からは {names} が得られます: {values}。")
_CONSTANT = (
    "メッセージの固定部分は {constant} です。",
    "変数を除くと、このイベントは {constant} です。",
    "テンプレートは {constant} です。",
)
_ABOUT = ("{title}に関するものです。{meaning}", "{domain} では{title}を示します。{meaning}")
_VARIABLES = ("変数は {count} 個で、<*> と書かれています。", "行ごとに変わるのは {count} か所です。")
_FIXED = ("変数はなく、毎回同じ文です。",)
_ONE_VALUE = ("{ordinal} 番目の変数は{a}で、どの行でも {values} です。",)
_FEW_VALUES = ("{ordinal} 番目の変数は{a}で、値は {values} です。",)
_VALUES = ("{ordinal} 番目の変数は{a}で、{count} 種類の値があり、例えば {values} です。",)
_RANGE = ("{ordinal} 番目の変数は {low} から {high} までの{a}です。",)
_SEEN = ("{domain} のログに {times} 回現れます。", "{domain} では {times} 回記録されています。")
_KIND = ("このイベントは{title}を報告しています。", "{domain} における{title}の記録です。")
_STATED = ("原因は行の中に {stated} と書かれています。", "記録された理由は {stated} です。")
_UNSTATED = (
    "原因は行に書かれていませんが、{hypothesis}可能性があります。",
    "理由は記録されていません。考えられるのは、{hypothesis}ことです。",
)
_HARMLESS = ("このイベントはエラーではありません。", "{domain} の通常の動作の一部です。")
_BEFORE = (
    "{share}で、{other} が {gap}前にあります。",
    "{share}で、前の {window}以内に {other} があります。",
)
_TOGETHER = (
    "このイベントの {window}以内に、ほかに {count} 種類のイベントがあります。",
    "{window}以内の近くに、ほかのイベントが {count} 種類あります。",
)
_NEAR = ("{other} が{where}にあります。", "時間的に近いのは {other} で、これが{where}にあります。")
_SAME = ("どれも {own} が書いています。",)
_OTHER = ("このイベントは {own} のもので、他は {theirs} のものです。",)
_AFTER = (
    "{share}で、{gap}後に {other} が続きました。",
    "{share}で、{window}以内に {other} が続きました。",
)
_LIKELY = ("したがって、このイベントの後には{title}が予想されます。", "これは{title}の前触れと考えられます。")
_UNCERTAIN = ("{title}を予測するには少なすぎますが、注意する価値はあります。",)
_NO_FAILURE = ("{total} 回の出現のどれにも、{window}以内に障害は続いていません。",)


def grok_pattern(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """A pattern that matches all of the event's lines (up to `MOST_EXAMPLES`), with the fields of one of them."""
    try:
        pattern = grok.from_template(event.template.text, [one.text for one in event.occurrences[:MOST_EXAMPLES]])
    except InputError:
        return None
    fields = grok.match(pattern, example(event, number).text)
    if not fields:
        return None
    values = "; ".join(f"{name} = {value}" for name, value in fields.items())
    slots = {"pattern": pattern, "names": "、".join(fields), "values": values}
    said = f"{words.say('grok', _GROK, slots)}\n{words.say('fields', _FIELDS, slots)}"
    return Answer(said, (event.template.key,))


def insight(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """What the constant part says and what the variables hold, with values from the log."""
    slots = _slots(event)
    parts = [words.say("constant", _CONSTANT, slots), _about(event, words)]
    variables = _variables(event, words)
    if variables:
        parts += [words.say("variables", _VARIABLES, {"count": str(len(event.template.variables))}), *variables]
    elif not event.template.variables:
        parts.append(words.say("fixed", _FIXED, {}))
    parts.append(words.say("seen", _SEEN, slots))
    return Answer("".join(parts), (event.template.key,))


def root_cause(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """The kind of a problem, the cause as logged or as a hypothesis, and what came before it."""
    kind = kind_of_event(event)
    before = frequent(event.before, len(event.occurrences), number, 0.5)
    if kind is None and not (before and len(event.occurrences) >= LEAST_FORECAST):
        return None
    slots = _slots(event)
    if kind is None:
        parts = [words.say("harmless", _HARMLESS, slots)]
    else:
        told = phrases("problems.toml")[kind.name]
        parts = [
            words.say("kind", _KIND, {**slots, "title": kind_title(words, kind.name)}),
            words.say("meaning", told["meanings"], {}),
            _cause(event, kind, words),
        ]
    parts += _neighbours(event, event.before, before, others, words, _BEFORE)
    if kind is not None:
        parts.append(words.say("step", told["steps"], {}))
    return Answer("".join(parts), (event.template.key, *before))


def components(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """Which other events stand near it, from which components, in how many cases."""
    ahead, behind = event.before.counts, event.after.counts
    near = Counter({key: max(ahead[key], behind[key]) for key in {**ahead, **behind}})
    ranked = sorted(near, key=lambda key: (-near[key], others[key].template.first, key))
    keys = ranked[number * MOST_NEIGHBOURS : (number + 1) * MOST_NEIGHBOURS]
    if not keys:
        return None
    parts = [words.say("opening", _TOGETHER, {**_slots(event), "count": str(len(near))})]
    for key in keys:
        where = _where(ahead[key], behind[key], len(event.occurrences))
        parts.append(words.say(f"near/{key}", _NEAR, {"other": constant_of(others[key]), "where": where}))
    own, theirs = component_name(event), {component_name(others[key]) for key in keys} - {None}
    if own and theirs:
        names = "、".join(sorted(name for name in theirs if name and name != own)) or None
        parts.append(words.say("relation", _SAME if theirs == {own} else _OTHER, {"own": own, "theirs": names}))
    return Answer("".join(parts), (event.template.key, *keys))


def forecast(event: Event, words: Wording, number: int, others: Mapping[str, Event]) -> Answer | None:
    """Which failures followed it in the log, how often and how soon; or that none did, where it is frequent enough."""
    total = len(event.occurrences)
    failures = [key for key in event.after.counts if kind_of_event(others[key])]
    failures.sort(key=lambda key: (-event.after.counts[key], others[key].template.first, key))
    keys = failures[number * MOST_NEIGHBOURS : (number + 1) * MOST_NEIGHBOURS]
    slots = {**_slots(event), "total": str(total)}
    if not keys:
        if failures or number or total < LEAST_FORECAST:
            return None
        return Answer(words.say("none", _NO_FAILURE, slots), (event.template.key,))
    parts = _neighbours(event, event.after, keys, others, words, _AFTER)
    kind = kind_of_event(others[keys[0]])
    if kind:
        likely = 2 * event.after.counts[keys[0]] >= total >= LEAST_FORECAST
        title = kind_title(words, kind.name)
        parts.append(words.say("outlook", _LIKELY if likely else _UNCERTAIN, {"title": title}))
    return Answer("".join(parts), (event.template.key, *keys))


def _about(event: Event, words: Wording) -> str:
    kind = kind_of_event(event)
    topic = None if kind else topic_of(example(event, 0).message)
    known = kind or topic
    if known is None:
        return ""
    told = phrases("problems.toml" if kind else "topics.toml")[known.name]
    meaning = words.say("meaning", told["meanings"], {})
    return words.say(
        "about", _ABOUT, {**_slots(event), "title": words.say("title", told["titles"], {}), "meaning": meaning}
    )


def _variables(event: Event, words: Wording) -> list[str]:
    """One sentence for each of the first variables: its type and values from the log."""
    sentences = []
    for variable in variables_of(event):
        count, span = len(variable.values), variable.span
        slots = {
            "ordinal": str(variable.place),
            "a": TYPES[variable.kind],
            "values": "、".join(variable.shown),
            "count": str(count),
            "low": str(span[0]) if span else None,
            "high": str(span[1]) if span else None,
        }
        several = _RANGE if span else (_FEW_VALUES if count <= MOST_VALUES else _VALUES)
        sentences.append(words.say(f"variable/{variable.place}", _ONE_VALUE if count == 1 else several, slots))
    return sentences


def _cause(event: Event, kind: Kind, words: Wording) -> str:
    stated = kind.stated.search(example(event, 0).message) if kind.stated else None
    if stated:
        return words.say("stated", _STATED, {"stated": quoted(stated[0].strip())})
    hypothesis = words.say("hypothesis", phrases("problems.toml")[kind.name]["hypotheses"], {})
    return words.say("unstated", _UNSTATED, {"hypothesis": hypothesis})


def _neighbours(
    event: Event, near: Near, keys: Sequence[str], others: Mapping[str, Event], words: Wording, texts: Sequence[str]
) -> list[str]:
    sentences = []
    for key in keys:
        low, high = near.seconds.get(key, (None, None))
        gap = None if low is None else (f"{low} から {high} 秒" if low != high else duration(low))
        slots = {
            "other": constant_of(others[key]),
            "share": _share(near.counts[key], len(event.occurrences)),
            "window": _window(event),
            "gap": gap,
        }
        sentences.append(words.say(f"near/{key}", texts, slots))
    return sentences


def _share(count: int, total: int) -> str:
    return "唯一の例" if total == 1 else f"{total} 例中 {count} 例"


def _where(ahead: int, behind: int, total: int) -> str:
    """` 4 例中、前に 3 例、後に 2 例の割合で近く`; a word that counts cases, not lines with the quotation beside it."""
    if total == 1:
        return "前後" if ahead and behind else ("前" if ahead else "後")
    sides = [f"前に {ahead} 例"] * bool(ahead) + [f"後に {behind} 例"] * bool(behind)
    return f" {total} 例中、{'、'.join(sides)}の割合で近く"


def _window(event: Event) -> str:
    return f"{WINDOW_S} 秒" if event.timed else f"{WINDOW_LINES} 行"


def _slots(event: Event) -> dict[str, str | None]:
    return {
        "constant": constant_of(event),
        "domain": event.domain,
        "times": str(len(event.occurrences)),
        "window": _window(event),
    }


QUESTIONS: dict[str, Writer] = {
    "grok": grok_pattern,
    "insight": insight,
    "root_cause": root_cause,
    "components": components,
    "forecast": forecast,
}
