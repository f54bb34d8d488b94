"""Masking: variables with a recognisable form become one private-use character of their type, before mining.

Single characters keep tokens apart from words, cannot collide with later rules (no digit, no letter) and cost one byte
class in a regular expression. The rules run in order, most specific first, in Polars (Rust regex: linear time, but no
look-around, so a border that must not be masked is captured and put back). The status of an HTTP answer stays, behind
a `GUARD`: it says what happened, so answers of different status are different kinds of message.
"""

from dataclasses import dataclass
from functools import cache

import polars as pl

WILDCARD = "<*>"
_FIRST_MARK = 0xE000


# Written into the text while rules run, and gone afterwards: `_` becomes a non-word character, so that `\b` sees the
# number in `blk_38`; a sign becomes part of its number. The guard ends in a letter, so that no number begins behind it.
# The border of a word of ASCII letters and digits. Rust's own `\\b` knows all letters, which keeps it from its fast
# engine wherever a message is not ASCII, as every message with a mark is: masking took three times as long.
BORDER = r"(?-u:\b)"
_UNDERSCORE, _PLUS, _MINUS = "\ue0f0", "\ue0f1", "\ue0f2"
GUARD = "\U00016f00G"


@dataclass(frozen=True)
class Rule:
    """One expression for a type of variable; `{}` in the replacement stands for the type's mark."""

    type: str
    expression: str
    replacement: str = "{}"


_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?"
_START = r"(^|[\s=:,;|'\"(\[<>{@#])"
# Names end in these; more two-letter ones exist, but they are words or file types too (`in`, `is`, `rs`, `py`).
_TOP = (
    "com|net|org|edu|gov|mil|info|biz|io|dev|cloud|local|localdomain|internal|lan|home|corp|test|example|invalid|arpa"
    "|ar|au|br|ca|ch|cl|cn|co|cz|de|dk|es|eu|fi|fr|gr|hk|hu|ir|jp|kr|mx|nl|nz|om|pk|pt|ro|ru|se|sg"
    "|th|tr|tw|ua|uk|us|vn|za"
)
RULES = (
    # What Python draws under the failing part of a line in a traceback.
    Rule("text", r"^\s+[~^]+$", "  {}"),
    Rule("path", r"\"([A-Z]+) [^\s\"]+ HTTP/([0-9.]+)\"", '"${1} {} HTTP/${2}"'),
    Rule("url", r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>,;)\]]+"),
    Rule("email", r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"),
    Rule("uuid", r"\b[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\b"),
    Rule("mac", r"\b[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}\b"),
    Rule(
        "time",
        rf"\b[0-9]{{1,2}}[/-]{_MONTH}[/-][0-9]{{4}}[: ]{_CLOCK}(?: [+-][0-9]{{4}}\b)?",
    ),
    Rule(
        "time",
        rf"\b(?:{_DAY},? +)?{_MONTH} +[0-9]{{1,2}} +{_CLOCK}(?: [A-Z]{{3,4}})?(?: [0-9]{{4}}\b)?",
    ),
    Rule(
        "time",
        rf"\b[0-9]{{4}}[-/][0-9]{{1,2}}[-/][0-9]{{1,2}}(?:[T :-]{_CLOCK})?(?: ?(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})\b)?",
    ),
    # How Java prints an address: name/number.
    Rule("ip", _START + r"[A-Za-z0-9][A-Za-z0-9_.-]*/(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b", "${1}{}"),
    Rule("ip", r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b"),
    Rule(
        "ip",
        r"(^|[\s\[(=,])(?:(?:[0-9A-Fa-f]{1,4}:){3,7}[0-9A-Fa-f]{1,4}|(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}|(?:[0-9A-Fa-f]{1,4}:){3,7}:|::1)([\s\]),]|$)",
        "${1}{}${2}",
    ),
    Rule("host", r"(?-u:\b)(?:[a-z0-9][a-z0-9-]*\.){2,}[a-z]{2,}(:[0-9]{2,5})(?-u:\b)", "{}${1}"),
    Rule(
        "host",
        _START + r"(?:[A-Za-z0-9][A-Za-z0-9_-]*\.)+(?:" + _TOP + r")([\s=:,;|'\")\]>}]|\.(?:\s|$)|$)",
        "${1}{}${2}",
    ),
    Rule("time", rf"\b{_CLOCK}\b"),
    Rule("path", _START + r"(?:[A-Za-z]:\\|\\\\\?\\)[^\s\"',;)\]]*", "${1}{}"),
    Rule("path", _START + r"(?:\.{0,2}|~)/[\w.@+%~-][^\s\"'<>|;,()\[\]:{}=]*", "${1}{}"),
    # Ids of jobs, tasks, applications: a word and at least two numbers; what kind of thing it is stays.
    Rule("id", r"\b([A-Za-z]+)_[0-9]{4,}(?:_(?:[a-z]_)?[0-9]+)+", "${1}_{}"),
    Rule("hex", r"\b0[xX][0-9A-Fa-f]+\b"),
    Rule("number", r"[\x{e0f1}\x{e0f2}]?\b[0-9]+(?:\.[0-9]+)*(?:ms|us|ns|s|m|h|d|[kKMGT]i?[Bb]?|B)?\b"),
    # ASCII borders: marks are no ASCII; with borders of Unicode words among them this rule took a fifth of the time.
    Rule("hex", r"(?-u:\b)(?:[0-9a-f]{8,}|[0-9A-F]{6,})(?-u:\b)"),
    # What is left in quotes when nothing in them has a form of its own; a name before a colon is a key.
    Rule(
        "quoted",
        _START + r"\"[^\"\s\x{e000}-\x{e0ff}\x{16f00}][^\"\x{e000}-\x{e0ff}\x{16f00}]{0,200}\"([^:\w]|$)",
        '${1}"{}"${2}',
    ),
    Rule(
        "quoted",
        _START + r"'[^'\s\x{e000}-\x{e0ff}\x{16f00}][^'\x{e000}-\x{e0ff}\x{16f00}]{0,200}'([\s.,:;)\]]|$)",
        "${1}'{}'${2}",
    ),
)
TYPES = tuple(dict.fromkeys(rule.type for rule in RULES))
MARKS = {kind: chr(_FIRST_MARK + number) for number, kind in enumerate(TYPES)}
TYPE_OF = {mark: kind for kind, mark in MARKS.items()}
_PREPARE = (
    # The status of an answer in access logs, in HAProxy's, in Squid's (TCP_MISS/503) and in W3C's.
    (
        r"(HTTP/[0-9.]+\"? |[0-9]+(?:/[0-9+-]+){4} |\b(?:TCP|UDP|NONE|TAG)_[A-Z_]+/|sc-status=)([0-5][0-9]{2})\b",
        "${1}" + GUARD + "${2}",
    ),
    # Kubernetes' klog puts what it says in quotes before its pairs: that is no variable.
    (r"^\"([A-Za-z][^\"=]*)\" ([A-Za-z][\w.]*=)", '"' + GUARD + '${1}" ${2}'),
    # What a client sends in a W3C log; referrer and user agent of an access log.
    (r"(cs-(?:username|uri-query)=|cs\((?:User-Agent|Referer|Cookie)\)=)\S+", f"${{1}}{MARKS['text']}"),
    (r"(HTTP/[0-9.]+\" [^\s]+ (?:[0-9]+|-)) \"[^\"]*\" \"[^\"]*\"", f'${{1}} "{MARKS["text"]}" "{MARKS["text"]}"'),
)
_BEFORE_NUMBERS = (
    ("_", _UNDERSCORE),
    (r"(^|[\s=:,;(\[<>{/\x{e0f0}])\+([0-9])", "${1}" + _PLUS + "${2}"),
    (r"(^|[\s=:,;(\[<>{/\x{e0f0}])-([0-9])", "${1}" + _MINUS + "${2}"),
)
_RESTORE = ((_UNDERSCORE, "_"), (_PLUS, "+"), (_MINUS, "-"))
# A list of one type, without blanks, is one variable.
_LISTS = (
    "|".join(f"({mark})(?:,{mark})+" for mark in MARKS.values()),
    "".join(f"${{{number}}}" for number in range(1, len(MARKS) + 1)),
)


@cache
def steps() -> tuple[tuple[str, str], ...]:
    """All replacements in order: a regular expression and what stands for its match (`${1}` is a group)."""
    found: list[tuple[str, str]] = [*_PREPARE]
    prepared = False
    for rule in RULES:
        if rule.type == "number" and not prepared:
            found += _BEFORE_NUMBERS
            prepared = True
        found.append((rule.expression, rule.replacement.replace("{}", MARKS[rule.type], 1)))
    found += [*_RESTORE, _LISTS]
    return tuple((expression.replace(r"\b", BORDER), replacement) for expression, replacement in found)


def mask(message: pl.Expr) -> pl.Expr:
    """Messages with their variables replaced by the marks of their types.

    >>> pl.select(mask(pl.lit("took 12ms at 10.0.0.1"))).item() == f"took {MARKS['number']} at {MARKS['ip']}"
    True
    """
    for expression, replacement in steps():
        message = message.str.replace_all(expression, replacement)
    return message
