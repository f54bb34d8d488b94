r"""Structured lines in Polars: JSON objects, logfmt, CEF and LEEF to columns of the log table, the rest to `fields`.

`fields` is a JSON object in a string column, null on other lines. A struct column would need every key of the whole log
before the first row is written and would change with each shard of a stream; a string has one type for every file, and
both Polars (`str.json_path_match`) and SQLite (`json_extract`) look into it. Decoding is a Python call a line (orjson):
about 100,000 lines of 200 bytes a second, a fifth of the speed of plain text.

>>> parse(pl.Series(['{"time":"2026-11-22T10:00:00Z","level":"WARN","msg":"slow","http":{"status":503}}'])).row(0)[1:3]
('slow', datetime.datetime(2026, 11, 22, 10, 0))
"""

import json
import re
from typing import Any

import orjson
import polars as pl

from loglore.logs import cef, records, timestamps

# A line may be an object; cheap to ask of every line.
JSON_LIKE = r"^\s*\{\s*[\"}]"
# A line may be logfmt: it begins with a pair and has a key that logs have. Linux audit lines are not (a layout).
LOGFMT_LIKE = r"^\s*[A-Za-z_@][\w.@/-]*=(?:[^\s]|\s|$)"
_KNOWN_KEY = r"(?:^|\s)(?:level|lvl|severity|msg|message|time|ts|t|timestamp|at)="
_PAIR = re.compile(r"([^\s=\"]+)=(?:\"([^\"\\]*(?:\\.[^\"\\]*)*)\"|([^\s\"]*))(?:\s+|$)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
SCHEMA: dict[str, Any] = {
    "layout": pl.String,
    "message": pl.String,
    "time": pl.Datetime("us"),
    "yearless": pl.Boolean,
    "level": pl.String,
    "component": pl.String,
    "host": pl.String,
    "pid": pl.String,
    "fields": pl.String,
    "shown": pl.String,
}
_NAMES = ("layout", "message", "when", "level", "component", "host", "pid", "fields", "shown")
_Row = tuple[str | None, ...]
_NOTHING: _Row = (None,) * len(_NAMES)


def candidates(text: pl.Expr, *, behind_header: bool = False) -> pl.Expr:
    """Whether lines may be JSON objects, logfmt, CEF or LEEF; what `parse` then does not accept is an ordinary line.

    behind_header: the texts are messages; then pairs need no key that only logs have.
    """
    pairs = text.str.contains(LOGFMT_LIKE)
    if not behind_header:
        paired = pl.when(pairs).then(text)
        pairs = paired.str.contains(_KNOWN_KEY) & ~paired.str.contains(" msg=audit(", literal=True)
    return text.str.contains(JSON_LIKE) | pairs.fill_null(value=False) | text.str.contains(cef.LIKE)


def parse(text: pl.Series) -> pl.DataFrame:
    """Read structured lines.

    Args:
        text: lines, of any content.

    Returns:
        One row a line with the columns of `SCHEMA`. `layout` is `json`, `docker` (a json-file line: `message` is the
        program's own line), `logfmt`, `cef` or `leef`; null where a line is none of them, or an object without a time,
        a level and a message: then only `fields` is set, if anything. `message` is the record's message on one line,
        null where it has none; then `shown` is its remaining fields as `key=value`. `time` is in UTC.
    """
    columns = zip(*map(_row, text), strict=True) if len(text) else [()] * len(_NAMES)
    frame = pl.DataFrame([pl.Series(name, one, dtype=pl.String) for name, one in zip(_NAMES, columns, strict=True)])
    return frame.with_columns(timestamps.parse_any(frame["when"])).select(*SCHEMA)


def _row(line: str) -> _Row:
    stripped = line.strip()
    if stripped[:1] == "{" and stripped[-1:] == "}":
        return _json_row(stripped)
    if (found := cef.read(stripped)) is not None:
        return _columns(*found)
    pairs = logfmt(stripped)
    if pairs is None or len(pairs) < 2:
        return _NOTHING
    return _columns("logfmt", records.read(pairs))


def _json_row(line: str) -> _Row:
    value = _decode(line)
    if value is None:
        return _NOTHING
    docker = value.keys() == {"log", "stream", "time"} or value.keys() == {"log", "stream", "attrs", "time"}
    try:
        return _columns("docker" if docker else "json", records.read(value))
    except TypeError:  # orjson: nested too deeply to be written again
        return _NOTHING


def _decode(line: str) -> dict[str, Any] | None:
    """The object of a line; None when it is no JSON, or holds what no column can (a lone surrogate)."""
    try:
        value = orjson.loads(line)
    except ValueError:
        if "NaN" not in line and "Infinity" not in line:
            return None
        try:  # Python's own writer has these three; no other reader takes them
            value = json.loads(line, parse_constant=str)
            orjson.dumps(value)
        except (ValueError, TypeError, RecursionError):
            return None
    return value if type(value) is dict else None


def _columns(layout: str, record: records.Record) -> _Row:
    fields = orjson.dumps(record.fields).decode() if record.fields else None
    if not record.header:
        return *_NOTHING[:7], fields, None
    shown = None
    if record.message is None:
        shown = " ".join(f"{key}={_shown(value)}" for key, value in record.fields.items())
    names = (record.component, record.host, record.pid)
    return layout, record.message, record.time, record.level, *names, fields, shown


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return json.dumps(text, ensure_ascii=False) if not text or re.search(r"[\s\"=]", text) else text


def logfmt(line: str) -> dict[str, str] | None:
    r"""The pairs of a line that is nothing but `key=value` and `key="quoted value"`; None for any other line.

    >>> logfmt('level=info msg="two words" took=3ms')
    {'level': 'info', 'msg': 'two words', 'took': '3ms'}
    """
    pairs: dict[str, str] = {}
    position = 0
    while position < len(line):
        found = _PAIR.match(line, position)
        if found is None:
            return None
        quoted = found[2]
        if quoted is not None and "\\" in quoted:
            quoted = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), quoted, flags=re.DOTALL)
        pairs[found[1]] = found[3] if quoted is None else quoted
        position = found.end()
    return pairs
