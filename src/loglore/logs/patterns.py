r"""The standard grok patterns, by their usual names, written so that two engines run them.

Python's `re` runs them for grok, and Polars (Rust `regex`: linear time, but no look-around and no back-references) for
the header layouts of the reader. The price is that a pattern cannot look at its surroundings: word borders are `\b`.
Names and meaning follow Logstash's grok library; the expressions are our own.
"""

import re

from loglore.errors import InputError

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_H16 = r"[0-9A-Fa-f]{1,4}"

PATTERNS: dict[str, str] = {
    "WORD": r"\b\w+\b",
    "NOTSPACE": r"\S+",
    "SPACE": r"\s*",
    "DATA": r".*?",
    "GREEDYDATA": r".*",
    "INT": r"[+-]?[0-9]+",
    "POSINT": r"\b[1-9][0-9]*\b",
    "NONNEGINT": r"\b[0-9]+\b",
    "NUMBER": r"[+-]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)",
    "BASE16NUM": r"[+-]?(?:0[xX])?[0-9A-Fa-f]+",
    "QUOTEDSTRING": r"(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')",
    "QS": r"%{QUOTEDSTRING}",
    "UUID": r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
    "MAC": r"[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}",
    "IPV4": rf"\b(?:{_OCTET}\.){{3}}{_OCTET}\b",
    "IPV6": (
        rf"(?:(?:{_H16}:){{7}}{_H16}|(?:{_H16}:){{1,6}}(?::{_H16}){{1,6}}|(?:{_H16}:){{1,7}}:"
        rf"|::(?:{_H16}:){{0,6}}{_H16}|::)"
    ),
    "IP": r"(?:%{IPV4}|%{IPV6})",
    "HOSTNAME": r"\b[0-9A-Za-z](?:[0-9A-Za-z_-]{0,62})(?:\.[0-9A-Za-z_-]{1,63})*\.?",
    "IPORHOST": r"(?:%{IP}|%{HOSTNAME})",
    "HOSTPORT": r"%{IPORHOST}:%{POSINT}",
    "USERNAME": r"[A-Za-z0-9._@+$-]+",
    "USER": r"%{USERNAME}",
    "EMAILADDRESS": r"[A-Za-z0-9._%+-]+@%{HOSTNAME}",
    "UNIXPATH": r"/[^\s\"'<>|;,()\[\]]*",
    "WINPATH": r"(?:[A-Za-z]+:|\\)(?:\\[^\\?*\s\"']+)+",
    "PATH": r"(?:%{UNIXPATH}|%{WINPATH})",
    "URI": r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+",
    "URIPATH": r"/[^\s?#\"]*",
    "URIPARAM": r"\?[^\s#\"]*",
    "URIPATHPARAM": r"%{URIPATH}(?:%{URIPARAM})?",
    "PROG": r"[\x21-\x39\x3b-\x5a\x5c\x5e-\x7e]+",
    "SYSLOGPROG": r"%{PROG:program}(?:\[%{POSINT:pid}\])?",
    "LOGLEVEL": (
        r"(?:[Tt]race|TRACE|TRAC|[Dd]ebug[0-9]?|DEBUG[0-9]?|DEBG|[Vv]erbose|VERBOSE|[Nn]otice|NOTICE|[Nn]ote|NOTE"
        r"|[Ii]nfo(?:rmation)?|INFO(?:RMATION)?|[Ll]og|LOG|[Ww]arn(?:ing)?|WARN(?:ING)?|[Ee]rr(?:or?)?|ERR(?:OR?)?"
        r"|[Ff]ailure|FAILURE|[Ss]evere|SEVERE|[Cc]rit(?:ical)?|CRIT(?:ICAL)?|[Ff]atal|FATAL|[Aa]lert|ALERT"
        r"|[Pp]anic|PANIC|[Ee]merg(?:ency)?|EMERG(?:ENCY)?)"
    ),
    "MONTH": _MONTH,
    "DAY": r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}",
    "YEAR": r"[0-9]{4}",
    "MONTHNUM": r"(?:0?[1-9]|1[0-2])",
    "MONTHDAY": r"(?:0[1-9]|[12][0-9]|3[01]|[1-9])",
    "HOUR": r"(?:2[0-3]|[01]?[0-9])",
    "MINUTE": r"[0-5][0-9]",
    "SECOND": r"(?:[0-5][0-9]|60)(?:[.,][0-9]+)?",
    "TIME": r"%{HOUR}:%{MINUTE}:%{SECOND}",
    "ISO8601_TIMEZONE": r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)",
    "TZ": r"[A-Z]{3,4}",
    "TIMESTAMP_ISO8601": r"%{YEAR}-[0-9]{2}-[0-9]{2}[T ]%{HOUR}:%{MINUTE}:%{SECOND}"
    r"(?: ?(?:Z|[+-][0-9]{2}:?[0-9]{2})|[+-][0-9]{2}\b)?",
    "SYSLOGTIMESTAMP": r"%{MONTH} +%{MONTHDAY} (?:%{YEAR} )?%{TIME}",
    "HTTPDATE": r"%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME} %{INT}",
    "HTTPDERROR_DATE": r"%{DAY} %{MONTH} +%{MONTHDAY} %{TIME} %{YEAR}",
    "DATE_EU": r"%{MONTHDAY}[./-]%{MONTHNUM}[./-]%{YEAR}",
    # Not in Logstash; named after the program whose log they date.
    "SLASHTIMESTAMP": r"(?:%{YEAR}|[0-9]{2})/[0-9]{2}/[0-9]{2} %{TIME}",
    "REDISTIMESTAMP": r"%{MONTHDAY} %{MONTH} (?:%{YEAR} )?%{TIME}",
    "HAPROXYDATE": r"%{MONTHDAY}/%{MONTH}/%{YEAR}:%{TIME}",
    "BINDTIMESTAMP": r"%{MONTHDAY}-%{MONTH}-%{YEAR} %{TIME}",
    "DJANGOTIMESTAMP": r"%{MONTHDAY}/%{MONTH}/%{YEAR} %{TIME}",
    "DOTTEDTIMESTAMP": r"%{YEAR}\.[0-9]{2}\.[0-9]{2} %{TIME}",
    "EPOCH": r"1[0-9]{9}(?:\.[0-9]+|[0-9]{3})?",
    "MONTHDAYTIMESTAMP": r"[01][0-9][-.][0-3][0-9] %{TIME}",
    "COMPACTTIMESTAMP": r"[0-9]{6} +(?:[0-9]{6}|%{TIME})",
    "HEALTHTIMESTAMP": r"[0-9]{8}-[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,3}",
    "BGLTIMESTAMP": r"%{YEAR}-[0-9]{2}-[0-9]{2}-[0-9]{2}\.[0-9]{2}\.[0-9]{2}\.[0-9]+",
    "KLOGTIMESTAMP": r"(?:20[0-9]{2})?[01][0-9][0-3][0-9] %{TIME}",
    "DOTTEDDAYTIMESTAMP": r"[0-3]?[0-9]\.[01]?[0-9]\.%{YEAR},? %{TIME}",
    "CLOCKTIME": r"%{TIME}",
    # Java's own, in English: before Java 9, since then, and since Java 20 (with a narrow no-break space).
    "JULTIMESTAMP": r"%{MONTH} %{MONTHDAY}, %{YEAR},? (?:1[0-2]|0?[1-9]):[0-5][0-9]:[0-5][0-9][ \u202f][AP]M",
}

_REFERENCE = re.compile(r"%\{(\w+)(?::([A-Za-z_]\w*))?(?::(int|float))?\}")
_MALFORMED = re.compile(r"%\{[^}]*\}?")


def expand(pattern: str) -> str:
    """Turn a grok pattern into a regular expression with `(?P<name>…)` groups, valid in Python and in Rust.

    A name that occurs twice is numbered from its second occurrence on: `ip`, `ip_2`. Names of patterns inside other
    patterns (`%{SYSLOGPROG}` has `program` and `pid`) count as well.

    Raises:
        InputError: an unknown pattern name, or `%{…}` that is not `%{NAME}`, `%{NAME:field}` or
            `%{NAME:field:int|float}`.

    >>> expand("%{YEAR:y}")
    '(?P<y>[0-9]{4})'
    """
    seen: dict[str, int] = {}

    def replace(found: re.Match[str]) -> str:
        name, field = found[1], found[2]
        if name not in PATTERNS:
            raise InputError(f"grok pattern {pattern!r}: unknown name %{{{name}}}")
        inner = _REFERENCE.sub(replace, PATTERNS[name])
        if field is None:
            return f"(?:{inner})" if "|" in inner else inner
        seen[field] = seen.get(field, 0) + 1
        group = field if seen[field] == 1 else f"{field}_{seen[field]}"
        return f"(?P<{group}>{inner})"

    without = _REFERENCE.sub("", pattern)
    fault = _MALFORMED.search(without)
    if fault:
        raise InputError(f"grok pattern {pattern!r}: {fault[0]!r} is not %{{NAME}} or %{{NAME:field}}")
    return _REFERENCE.sub(replace, pattern)


def conversions(pattern: str) -> dict[str, type[int] | type[float]]:
    """The fields that a grok pattern declares as `:int` or `:float` (`%{NUMBER:seconds:float}`)."""
    kinds: dict[str, type[int] | type[float]] = {"int": int, "float": float}
    return {found[2]: kinds[found[3]] for found in _REFERENCE.finditer(pattern) if found[3]}
