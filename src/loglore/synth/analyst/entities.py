"""Things named in messages that an operator would look up: addresses, endpoints, ports, users, paths, objects.

A handful of regular expressions instead of a parser per service: what they find stands verbatim in the line, and what
they miss only leaves a phrase unused.
"""

import re
from collections import Counter
from collections.abc import Iterable

# Not the beginning of a host name (`10.0.0.7.example.net`) or of a longer number.
_IP = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\w)"
# The first expression that matches wins: the more specific ones stand first.
_SHAPES: dict[str, tuple[re.Pattern[str], ...]] = {
    "ip": (
        re.compile(rf"(?:client|from|rhost|host)[:=]? ?\"?({_IP})", re.IGNORECASE),
        re.compile(rf"({_IP})"),
    ),
    "endpoint": (
        re.compile(rf"(?:upstream|to|server|master)[:=]? ?\"?(?:https?://)?({_IP}:\d{{2,5}})\b", re.IGNORECASE),
        re.compile(rf"({_IP}:\d{{2,5}})\b"),
        re.compile(r"(?<![\w./-])((?:[a-z][a-z0-9-]*\.)*[a-z][a-z0-9-]*:[1-9]\d{1,4})\b(?![.:])"),
    ),
    "port": (
        re.compile(r"\bport[ :=]+(\d{2,5})\b", re.IGNORECASE),
        re.compile(r"(?:bind|listen)\S*.*?:(\d{2,5})\b", re.IGNORECASE),
    ),
    "user": (
        re.compile(
            r"\b(?:invalid user|user name|username|user|role|account)[ :=]+[\"'<]?([A-Za-z_][\w@.-]*\w)", re.IGNORECASE
        ),
        re.compile(r"\b(?:password|publickey) for (?:invalid user )?([A-Za-z_][\w@.-]*\w)"),
    ),
    "path": (re.compile(r"(?<![\w/:.])(/(?:[\w.@+-]+/)*[\w.@+-]*\w)"),),
    "name": (
        re.compile(
            r"\b(?:constraint|relation|table|database|key|column|zone|index|topic)[ :]+[\"'`]([^\"'`]{2,60})[\"'`]",
            re.IGNORECASE,
        ),
        re.compile(r"\b(?:exited|gave up|spawned|stopped|success|INFO|spawnerr):? '?([A-Za-z][\w-]{1,40})'? \("),
        re.compile(r"\b(?:exited|gave up): ([A-Za-z][\w:-]{1,40}) "),
    ),
    "pid": (re.compile(r"\b(?:pid|process)[ :=]*\(?(?:PID )?(\d{2,7})\b", re.IGNORECASE),),
    "status": (re.compile(r"\"[A-Z]+ [^\"]*\" (\d{3})\b"),),
}
_NOT_USERS = {
    "name",
    "unknown",
    "is",
    "not",
    "for",
    "request",
    "by",
    "from",
    "authentication",
    "does",
    "was",
    "the",
    "root_dir",
}


def find(message: str) -> dict[str, str]:
    """The first thing of each sort that a message names; sorts that it does not name are left out.

    >>> find("Failed password for root from 10.0.0.7 port 4022 ssh2")
    {'ip': '10.0.0.7', 'port': '4022', 'user': 'root'}
    """
    found = {}
    for sort, shapes in _SHAPES.items():
        for shape in shapes:
            match = shape.search(message)
            if match and not (sort == "user" and match[1].lower() in _NOT_USERS):
                found[sort] = match[1]
                break
    return found


def common(messages: Iterable[str]) -> dict[str, Counter[str]]:
    """For each sort, how many messages name which thing first, in order of appearance."""
    counts: dict[str, Counter[str]] = {}
    for message in messages:
        for sort, value in find(message).items():
            counts.setdefault(sort, Counter())[value] += 1
    return counts
