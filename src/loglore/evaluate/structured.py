r"""Answers that have a form: JSON objects, templates, labels. What of them is right, as counts that can be summed.

A row that is not of the kind gives None, never a zero: a summary has no JSON to be wrong about. An answer that cannot
be read counts as wrong wherever the truth asks for something.

    >>> templates("Failed <*> from <*>", "Failed password from <*>")
    (1.0, 0.0)
    >>> anomalies("normal\nabnormal", "1. Abnormal\n2. abnormal")
    (1.0, 1.0, 0.0)
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Counts = tuple[float, ...]
Path = tuple[str, ...]

_FENCED = re.compile(r"^\s*```[a-z]*\s*\n(.*?)\n?```\s*$", re.DOTALL)
_LABEL = re.compile(
    r"(?P<abnormal>\bnot normal\b|\babnormal\b|\banomal(?:y|ies|ous)\b|異常|正常ではない)|(?P<normal>\bnormal\b|正常)",
    re.IGNORECASE,
)


def json_object(text: str) -> dict[str, Any] | None:
    """The one JSON object that a text is, a code fence around it taken off; None if it is something else."""
    fenced = _FENCED.match(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def json_valid(truth: str, output: str) -> Counts | None:
    """(1, valid): whether the output is one JSON object with all fields of the truth, each of the same JSON type."""
    wanted = json_object(truth)
    if wanted is None:
        return None
    found = json_object(output)
    return 1.0, float(found is not None and _same_shape(wanted, found))


def json_fields(truth: str, output: str) -> Counts | None:
    """(fields, right ones) among the truth's fields that are numbers, booleans or lists of them; texts are left out.

    Numbers are right when equal, lists when they hold the same values in any order.
    """
    wanted = json_object(truth)
    fields = dict(_fields(wanted)) if wanted is not None else {}
    if not fields:
        return None
    found = dict(_fields(json_object(output) or {}))
    return float(len(fields)), float(sum(_equal(found.get(path), value) for path, value in fields.items()))


def alert_decision(truth: str, output: str) -> Counts | None:
    """(1, right): whether `should_alert_user` is as in the truth."""
    wanted = _alert(truth)
    if wanted is None:
        return None
    return 1.0, float((json_object(output) or {}).get("should_alert_user") is wanted["should_alert_user"])


def alert_risk_error(truth: str, output: str) -> Counts | None:
    """(1, |difference of risk scores| / 100); None also where the output has no risk score to compare."""
    wanted = _alert(truth)
    found: Any = (json_object(output) or {}).get("risk_score")
    if wanted is None or not _is_number(found) or not 0 <= found <= 100:
        return None
    return 1.0, abs(found - wanted["risk_score"]) / 100


def alert_lines(truth: str, output: str) -> Counts | None:
    """(hits, false alarms, misses) over the (kind, line number) pairs under `messages`; None where no side has any."""
    wanted = _alert(truth)
    if wanted is None:
        return None
    return _overlap(_lines(wanted), _lines(json_object(output) or {}))


def templates(truth: str, output: str) -> Counts | None:
    """(lines, right ones): templates that equal the truth's line by line, blanks and code marks aside."""
    wanted, found = _template_lines(truth), _template_lines(output)
    if not wanted:
        return None
    found += [""] * (len(wanted) - len(found))
    return float(len(wanted)), float(sum(ours == theirs for ours, theirs in zip(found, wanted, strict=False)))


def anomalies(truth: str, output: str) -> Counts | None:
    """(hits, false alarms, misses) of abnormal lines; None where truth and output know nothing but normal ones."""
    wanted, found = _labels(truth), _labels(output)
    if not wanted:
        return None
    found += [""] * (len(wanted) - len(found))
    pairs = list(zip(wanted, found, strict=False))
    hits = sum(pair == ("abnormal", "abnormal") for pair in pairs)
    alarms = sum(pair == ("normal", "abnormal") for pair in pairs)
    misses = sum(want == "abnormal" != said for want, said in pairs)
    return (float(hits), float(alarms), float(misses)) if hits + alarms + misses else None


def labels(truth: str, output: str) -> Counts | None:
    """(entries, right ones): log entries called normal or abnormal as in the truth; no label is wrong."""
    wanted, found = _labels(truth), _labels(output)
    if not wanted:
        return None
    found += [""] * (len(wanted) - len(found))
    return float(len(wanted)), float(sum(want == said for want, said in zip(wanted, found, strict=False)))


def _labels(text: str) -> list[str]:
    """`normal` or `abnormal` of every line that has a label, the first one in it."""
    found = (_LABEL.search(line) for line in text.split("\n"))
    return [str(match.lastgroup) for match in found if match]


def _template_lines(text: str) -> list[str]:
    fenced = _FENCED.match(text)
    lines = (fenced[1] if fenced else text).split("\n")
    return [" ".join(line.strip().strip("`").split()) for line in lines if line.strip()]


def _alert(text: str) -> dict[str, Any] | None:
    value = json_object(text)
    if value is None or not isinstance(value.get("should_alert_user"), bool):
        return None
    return value if _is_number(value.get("risk_score")) else None


def _lines(alert: Mapping[str, Any]) -> set[tuple[str, int]]:
    messages = alert.get("messages")
    named = messages.items() if isinstance(messages, dict) else ()
    return {
        (kind, number)
        for kind, numbers in named
        if isinstance(numbers, list)
        for number in numbers
        if isinstance(number, int)
    }


def _overlap(wanted: set[Any], found: set[Any]) -> Counts | None:
    counts = len(wanted & found), len(found - wanted), len(wanted - found)
    return tuple(map(float, counts)) if any(counts) else None


def _same_shape(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            name in found and _same_shape(value, found[name]) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        kinds = {_kind(value) for value in wanted}
        return isinstance(found, list) and (not kinds or {_kind(value) for value in found} <= kinds)
    return _kind(wanted) == _kind(found)


def _kind(value: Any) -> str:
    return "number" if _is_number(value) else type(value).__name__


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fields(value: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Path and value of every field that is exact: no text, no list that holds texts or objects."""
    for name, part in value.items():
        here = (*above, name)
        if isinstance(part, dict):
            yield from _fields(part, here)
        elif isinstance(part, list):
            if all(_is_exact(one) for one in part):
                yield here, part
        elif _is_exact(part):
            yield here, part


def _is_exact(value: Any) -> bool:
    return isinstance(value, bool) or _is_number(value)


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return isinstance(found, list) and sorted(map(repr, found)) == sorted(map(repr, wanted))
    return (
        type(found) is bool and found is wanted if isinstance(wanted, bool) else _is_number(found) and found == wanted
    )
