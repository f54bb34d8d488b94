r"""CEF and LEEF, the one-line formats of security appliances: a header cut by `|`, then `key=value` pairs.

CEF (ArcSight): `CEF:version|vendor|product|version|event class|name|severity|pairs cut by blanks`. LEEF (QRadar):
`LEEF:version|vendor|product|version|event id|pairs cut by tabs`; version 2 names the character that cuts before them.
Both usually stand behind a syslog header, whose time then counts. Severity 0–3 is info, 4–6 warning, 7–8 error, 9–10
fatal; it stays a field beside the level.

>>> read(r"CEF:0|Acme|Gate|1.0|100|worm \| stopped|8|src=10.0.0.1 msg=a\=b c")[1].fields["msg"]
'a=b c'
"""

import re

from loglore.logs.records import Record

# How such a line begins; a host that a plain syslog header could not tell from the message may stand before it.
LIKE = r"^(?:[0-9A-Za-z._-]+ )?(?:CEF:[0-9]|LEEF:[0-9.]+)\|"
_OPENING = re.compile(r"(?:([\w.-]+) )?(CEF|LEEF):([0-9.]+)\|")
_CEF_PART = re.compile(r"((?:[^|\\]|\\.)*)\|", re.DOTALL)
_CEF_KEY = re.compile(r"(?:^|\s)([\w.\[\]-]+)=")
_CEF_NAMES = ("deviceVendor", "deviceProduct", "deviceVersion", "deviceEventClassId", "name", "severity")
_LEEF_NAMES = ("vendor", "product", "version", "eventId")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r"}
_TIMES = ("rt", "end", "start", "devTime")
_WORDS = {"low": "info", "medium": "warning", "high": "error", "very-high": "fatal", "unknown": None}
_HIGHEST = ((3, "info"), (6, "warning"), (8, "error"), (10, "fatal"))


def read(line: str) -> tuple[str, Record] | None:
    """The layout (`cef`, `leef`) and the record of a line; None when it is neither."""
    opening = _OPENING.match(line)
    if opening is None:
        return None
    host, layout, version = opening[1], opening[2].lower(), opening[3]
    parts = _cef(line, opening.end()) if layout == "cef" else _leef(line, opening.end(), version)
    if parts is None:
        return None
    fields = {name: value for name, value in parts.items() if value}
    time = next((fields.pop(name) for name in _TIMES if name in fields), None)
    level = _level(fields.get("severity") or fields.get("sev"))
    message = fields.pop("name" if layout == "cef" else "msg", None) or fields.get("eventId")
    component = fields.pop("deviceProduct" if layout == "cef" else "product", None)
    named = fields.pop("dvchost" if layout == "cef" else "identHostName", None)
    return layout, Record(time, level, message, component, host or named, fields.pop("dvcpid", None), fields)


def _cef(line: str, start: int) -> dict[str, str] | None:
    parts: dict[str, str] = {}
    for name in _CEF_NAMES:
        found = _CEF_PART.match(line, start)
        if found is None:
            return None
        parts[name], start = _unescaped(found[1]), found.end()
    pairs = line[start:]
    keys = list(_CEF_KEY.finditer(pairs))
    ends = [key.start() for key in keys[1:]] + [len(pairs)]
    # A pair cannot take the place of a part of the header.
    return {key[1]: _unescaped(pairs[key.end() : end]).strip() for key, end in zip(keys, ends, strict=True)} | parts


def _leef(line: str, start: int, version: str) -> dict[str, str] | None:
    marked = version.startswith("2")
    *header, rest = line[start:].split("|", len(_LEEF_NAMES) + marked)
    if len(header) < len(_LEEF_NAMES) + marked:
        return None
    cut = _delimiter(header.pop()) if marked else "\t"
    pairs = (pair.partition("=") for pair in rest.split(cut))
    named = {key.strip(): value.strip() for key, equals, value in pairs if equals and key.strip()}
    return named | dict(zip(_LEEF_NAMES, header, strict=True))


def _delimiter(text: str) -> str:
    r"""What cuts the pairs: one character, or its number in hexadecimal (`x5E`, `0x5E`); a tab without either."""
    number = re.fullmatch(r"0?x([0-9A-Fa-f]{1,4})", text)
    return chr(int(number[1], 16)) if number else text[:1] or "\t"


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), text) if "\\" in text else text


def _level(severity: str | None) -> str | None:
    if severity is None:
        return None
    if severity.isdecimal() and severity.isascii():
        return next((level for highest, level in _HIGHEST if int(severity[:4]) <= highest), None)
    return _WORDS.get(severity.lower())
