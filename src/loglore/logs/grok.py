r"""Grok patterns: build one for a template, compile it, match it.

A pattern describes the *whole* line (Logstash searches; here nothing may be left over), so that a pattern built from
a template can be checked: it is returned only if it matches every example, header included.

>>> pattern = from_template("Failed password for <*> from <*>", ["Failed password for eve from 10.0.0.7"])
>>> pattern
'Failed password for %{WORD:word} from %{IP:ip}'
>>> match(pattern, "Failed password for bob from 10.0.0.9")
{'word': 'bob', 'ip': '10.0.0.9'}
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from loglore.errors import InputError
from loglore.logs.layouts import LAYOUTS, expression
from loglore.logs.masking import WILDCARD
from loglore.logs.patterns import PATTERNS, conversions, expand

LONGEST = 20_000
MOST_VARIABLES = 100
# Narrow before wide: the first that matches all values of a variable is taken.
_CANDIDATES = (
    "INT",
    "NUMBER",
    "UUID",
    "MAC",
    "IP",
    "TIMESTAMP_ISO8601",
    "TIME",
    "URI",
    "EMAILADDRESS",
    "UNIXPATH",
    "WINPATH",
    "QUOTEDSTRING",
    "HOSTPORT",
    "WORD",
    "NOTSPACE",
    "GREEDYDATA",
)
_OF_FIELD = {"level": ("LOGLEVEL", *_CANDIDATES), "host": ("IPORHOST", *_CANDIDATES), "port": ("POSINT", *_CANDIDATES)}
_FIELD_NAMES = {
    "INT": "number",
    "TIMESTAMP_ISO8601": "time",
    "EMAILADDRESS": "email",
    "UNIXPATH": "path",
    "WINPATH": "path",
    "QUOTEDSTRING": "quoted",
    "NOTSPACE": "value",
    "GREEDYDATA": "text",
}
# The word that names the variable after it: `uid=`, `port `, `user: "`.
_KEY = re.compile(r"(?:^|[\s,;({\[\"'])([A-Za-z_][A-Za-z0-9_]*)(?:=|:\s|\s)[\"'(\[<]?$")
_KEYS = (
    "port user pid uid gid euid size line code status table relation database process thread session connection "
    "error errno signal version worker host client server role column key id time duration length count"
)
_KEY_WORDS = frozenset(_KEYS.split())


@dataclass(frozen=True)
class _Part:
    """A stretch of the examples: constant text (as it stands in a pattern) or a variable with its values."""

    constant: str = ""
    name: str = ""
    values: tuple[str, ...] = ()


def from_template(template_text: str, examples: Sequence[str]) -> str:
    """Build a grok pattern for a template.

    Args:
        template_text: constant text with `<*>` for variables (see `templates.Template.text`).
        examples: whole lines of that template, with their header, or bare messages; the more, the better typed.

    Returns:
        A pattern that matches every example as a whole.

    Raises:
        InputError: no example, an example that is not of the template, or a template or an example beyond `LONGEST`
            characters or `MOST_VARIABLES` variables (Python's engine would take minutes).
    """
    if not examples:
        raise InputError(f"grok: no example line for template {template_text!r}")
    distinct = list(dict.fromkeys(examples))
    longest = max(len(template_text), *map(len, distinct))
    variables = template_text.count(WILDCARD)
    if longest > LONGEST or variables > MOST_VARIABLES:
        raise InputError(
            f"grok: a pattern for {longest:,} characters with {variables:,} variables is too large; "
            f"at most {LONGEST:,} and {MOST_VARIABLES}"
        )
    parts = _parts(template_text, distinct)
    loose = [replace(part, constant=part.constant.replace(" ", r"\s+")) for part in parts]
    for stretch, candidates in ((parts, _CANDIDATES), (loose, _CANDIDATES), (loose, ("NOTSPACE", "DATA"))):
        pattern = _render(stretch, candidates)
        if all(match(pattern, example) is not None for example in distinct):
            return pattern
    raise InputError(f"grok: no pattern for template {template_text!r} matches all of {len(distinct)} lines")


@lru_cache(maxsize=1024)
def compile(pattern: str) -> re.Pattern[str]:  # the field's word; used as grok.compile
    """Compile a grok pattern to a regular expression with named groups (see `patterns.expand`).

    Raises:
        InputError: an unknown pattern name, or text around the names that is no regular expression.
    """
    try:
        return re.compile(expand(pattern), re.DOTALL)
    except re.error as fault:
        raise InputError(f"grok pattern {pattern!r}: {fault}") from None


def match(pattern: str, line: str) -> dict[str, str | int | float] | None:
    """The named fields of a line, or None when the pattern does not describe the whole line.

    Fields declared `:int` or `:float` are numbers; optional fields that are absent are left out.
    """
    found = compile(pattern).fullmatch(line)
    if found is None:
        return None
    kinds = conversions(pattern)
    fields: dict[str, str | int | float] = {}
    for name, value in found.groupdict().items():
        if value is not None:
            fields[name] = kinds[name](value) if name in kinds else value
    return fields


def _parts(template_text: str, examples: list[str]) -> list[_Part]:
    """The examples as constant and variable parts: before the time (access logs), header, message."""
    for name in LAYOUTS:
        found = [re.match(expression(name), example, re.DOTALL) for example in examples]
        matches = [one for one in found if one]
        if len(matches) < len(examples):
            continue
        leads = [one["lead"] or "" if "lead" in one.groupdict() else "" for one in matches]
        before, after = _split_tokens(template_text, len(leads[0].split()))
        lead = _body(before, leads)
        message = _body(after, [one["message"] for one in matches])
        if lead is not None and message is not None:
            return [*_header(name, matches, before_lead=True), *lead, *_header(name, matches), *message]
    whole = _body(template_text, examples) or _mixed(template_text, examples)
    if whole is None:
        raise InputError(f"grok: the lines, such as {examples[0]!r}, are not of template {template_text!r}")
    return whole


def _mixed(template_text: str, examples: list[str]) -> list[_Part] | None:
    """Parts when the examples have different headers: one unnamed-kind `header` before the message."""
    messages = []
    for example in examples:
        found = (re.match(expression(name), example, re.DOTALL) for name in LAYOUTS)
        candidates = [one["message"] for one in found if one] + [example]
        fitting = [message for message in candidates if _body(template_text, [message]) is not None]
        if not fitting:
            return None
        messages.append(fitting[0])
    body = _body(template_text, messages)
    return None if body is None else [_Part(constant="%{DATA:header}"), *body]


def _split_tokens(text: str, count: int) -> tuple[str, str]:
    found = re.match(rf"(?:\S+\s+){{{count}}}", text)
    return (found[0], text[found.end() :]) if found else ("", text)


def _body(text: str, messages: list[str]) -> list[_Part] | None:
    """Parts of messages (or leads) by their template text; None when a message is not of it."""
    constants = text.lstrip().split(WILDCARD)
    indents = {message[: len(message) - len(message.lstrip())] for message in messages}
    literal = [re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(constant)) for constant in constants]
    for wildcard in (r"(\S+?)", r"(.+?)"):
        whole = re.compile(r"\s*" + wildcard.join(literal) + r"\s*", re.DOTALL)
        found = [whole.fullmatch(message) for message in messages]
        values = [one.groups() for one in found if one]
        if len(values) == len(messages):
            break
    else:
        return None
    indent = _quote(next(iter(indents))) if len(indents) == 1 else r"\s*"
    parts = [_Part(constant=indent + _quote(constants[0]))]
    for number, constant in enumerate(constants[1:]):
        name = _name(constants[number], parts[-2] if number else None, tuple(value[number - 1] for value in values))
        parts.append(_Part(name=name, values=tuple(value[number] for value in values)))
        parts.append(_Part(constant=_quote(constant)))
    loose = not constants[-1][-1:].isspace() and any(message != message.rstrip() for message in messages)
    return [*parts, _Part(constant=r"\s*")] if loose else parts


def _name(before: str, previous: _Part | None, previous_values: tuple[str, ...]) -> str:
    """A name for a variable from the text before it; "" when that tells none."""
    if before == ":" and previous and all(_whole("IPORHOST").fullmatch(value) for value in previous_values):
        return "port"
    key = _KEY.search(before)
    if key and (before.rstrip()[-1:] in "=:\"'([<" or key[1].lower() in _KEY_WORDS):
        return key[1].lower()
    return "http_version" if before.endswith(" HTTP/") else ""


def _header(layout: str, matches: list[re.Match[str]], *, before_lead: bool = False) -> list[_Part]:
    """Parts of the header from the end of the lead to the start of the message, or else those before the lead."""
    has_lead = "lead" in matches[0].re.groupindex and matches[0]["lead"] is not None
    if before_lead and not has_lead:
        return []
    final = "lead" if before_lead else "message"
    begin = [0 if before_lead or not has_lead else one.end("lead") for one in matches]
    names = [
        name
        for name in matches[0].re.groupindex
        if name not in ("lead", "message")
        and all(
            one[name] is not None and start <= one.start(name) < one.start(final)
            for one, start in zip(matches, begin, strict=True)
        )
    ]
    parts = []
    for name in names:
        parts.append(_gap([one.string[start : one.start(name)] for one, start in zip(matches, begin, strict=True)]))
        kind = LAYOUTS[layout].time if name == "time" else None
        values = tuple(one[name] for one in matches)
        parts.append(_Part(constant=f"%{{{kind}:timestamp}}") if kind else _Part(name=name, values=values))
        begin = [one.end(name) for one in matches]
    parts.append(_gap([one.string[start : one.start(final)] for one, start in zip(matches, begin, strict=True)]))
    return parts


def _gap(texts: list[str]) -> _Part:
    """Header text between fields: its digits vary from line to line; what varies otherwise is unnamed data."""
    shapes = {re.sub(r"[0-9]+", "0", text) for text in texts}
    if len(shapes) > 1 or any(re.search(r"[A-Za-z][0-9]|[0-9][A-Za-z]", text) and len(text) > 40 for text in texts):
        return _Part(constant="%{DATA}")
    return _Part(constant="%{INT}".join(_quote(piece) for piece in re.split(r"[0-9]+", texts[0])))


def _quote(text: str) -> str:
    """Constant text in a pattern: escaped where it must be, runs of white space of any length."""
    escaped = re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", text)
    return re.sub(r"\s{2,}|[^\S ]", r"\\s+", escaped)


def _render(parts: list[_Part], candidates: tuple[str, ...]) -> str:
    used: dict[str, int] = {}
    texts = []
    for part in parts:
        if not part.values:
            texts.append(part.constant)
            continue
        wanted = _OF_FIELD.get(part.name, candidates) if candidates is _CANDIDATES else candidates
        kind = next((name for name in wanted if all(_whole(name).fullmatch(value) for value in part.values)), "DATA")
        name = part.name or _FIELD_NAMES.get(kind, kind.lower())
        used[name] = used.get(name, 0) + 1
        field = name if used[name] == 1 else f"{name}{used[name]}"
        texts.append(f"%{{{kind}:{field}}}")
    return "".join(texts)


@cache
def _whole(name: str) -> re.Pattern[str]:
    return re.compile(expand(PATTERNS[name]), re.DOTALL)
