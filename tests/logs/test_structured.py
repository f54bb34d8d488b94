"""JSON lines and logfmt: every family's time, level, message, component; the rest against a flattening of our own."""

import datetime
import json
import re
import shlex
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loglore.logs.headers import parse
from loglore.logs.reader import split_lines, table_of
from loglore.logs.structured import logfmt

OTEL = {
    "timeUnixNano": "1795377908123456789",
    "severityNumber": 17,
    "body": {"stringValue": "order failed"},
    "attributes": [
        {"key": "http.status", "value": {"intValue": "500"}},
        {"key": "tags", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"boolValue": True}]}}},
    ],
    "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
}
BATCH = {
    "resourceLogs": [
        {
            "resource": OTEL["resource"],
            "scopeLogs": [
                {
                    "logRecords": [
                        {"timeUnixNano": "1795377908000000000", "severityNumber": 9, "body": {"stringValue": "one"}},
                        {"timeUnixNano": "1795377909000000000", "severityNumber": 18, "body": {"stringValue": "two"}},
                    ]
                }
            ],
        }
    ]
}
# The line (an object or a text), then time, level, component, message, fields.
AT = "2026-11-22 20:05:08.123"
SHAPES: dict[str, tuple[Any, str | None, str | None, str | None, str, dict[str, Any] | None]] = {
    "slog": (
        {"time": "2026-11-22T20:05:08.123456789Z", "level": "INFO", "msg": "served", "http": {"status": 200, "t": [1]}},
        "2026-11-22 20:05:08.123456", "info", None, "served", {"http.status": 200, "http.t": [1]},
    ),
    "otel": (
        OTEL, "2026-11-22 20:05:08.123456", "error", "shop", "order failed",
        {"http.status": 500, "tags": ["a", True]},
    ),
    "otel batch": (BATCH, "2026-11-22 20:05:08", "error", "shop", "one | two", {"records": 2}),
    "otel console": (
        {"body": "hi", "severity_text": "WARN", "timestamp": "2026-11-22T20:05:08.123Z", "attributes": {"n": 1}},
        AT, "warning", None, "hi", {"attributes.n": 1},
    ),
    "bunyan": (
        {"name": "api", "hostname": "web", "pid": 7, "level": 40, "msg": "hi", "time": "2026-11-22T20:05:08.123Z",
         "v": 0},
        AT, "warning", "api", "hi", {"v": 0},
    ),
    "pino": ({"level": 60, "time": 1795377908123, "msg": "hi"}, AT, "fatal", None, "hi", None),
    "zap": (
        {"level": "dpanic", "ts": 1795377908.123, "logger": "srv", "caller": "a.go:4", "msg": "hi"},
        AT, "fatal", "srv", "hi", {"caller": "a.go:4"},
    ),
    "python-json-logger": (
        {"asctime": "2026-11-22 20:05:08,123", "levelname": "CRITICAL", "name": "shop.cart", "message": "hi"},
        AT, "fatal", "shop.cart", "hi", None,
    ),
    "python levelno": (
        {"created": 1795377908.123, "levelno": 50, "name": "shop", "message": "hi"}, AT, "fatal", "shop", "hi", None,
    ),
    "structlog": (
        {"event": "hi", "level": "warning", "timestamp": "2026-11-22T20:05:08.123Z", "user": None},
        AT, "warning", None, "hi", {"user": None},
    ),
    "ecs dotted": (
        {"@timestamp": "2026-11-22T20:05:08.123Z", "log.level": "ERROR", "message": "hi", "service.name": "cart"},
        AT, "error", "cart", "hi", None,
    ),
    "ecs nested": (
        {"@timestamp": "2026-11-22T20:05:08.123Z", "log": {"level": "warn", "logger": "a.B"}, "message": "hi"},
        AT, "warning", "a.B", "hi", None,
    ),
    "cloudwatch": (
        {"timestamp": 1795377908123, "message": "hi", "ingestionTime": 1795377909000},
        AT, None, None, "hi", {"ingestionTime": 1795377909000},
    ),
    "gcp": (
        {"severity": "ALERT", "textPayload": "hi", "timestamp": "2026-11-22T20:05:08.123Z", "insertId": "x"},
        AT, "fatal", None, "hi", {"insertId": "x"},
    ),
    "gcp nested": (
        {"severity": "NOTICE", "jsonPayload": {"message": "hi"},
         "timestamp": {"seconds": 1795377908, "nanos": 123000000}},
        AT, "info", None, "hi", None,
    ),
    "caddy": (
        {"level": "error", "ts": 1795377908.123, "logger": "http", "msg": "hi", "request": {"remote_ip": "10.0.0.1"}},
        AT, "error", "http", "hi", {"request.remote_ip": "10.0.0.1"},
    ),
    "journald": (
        {"__REALTIME_TIMESTAMP": "1795377908123456", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "sshd", "MESSAGE": "hi"},
        "2026-11-22 20:05:08.123456", "error", "sshd", "hi", None,
    ),
    "journald bytes": (
        {"__REALTIME_TIMESTAMP": "1795377908123456", "PRIORITY": "6", "MESSAGE": [104, 105, 255]},
        "2026-11-22 20:05:08.123456", "info", None, "hi\ufffd", None,
    ),
    "mongodb": (
        {"t": {"$date": "2026-11-22T20:05:08.123+00:00"}, "s": "W", "c": "NETWORK", "msg": "hi", "attr": {"n": 1}},
        AT, "warning", "NETWORK", "hi", {"attr.n": 1},
    ),
    "log4j2": (
        {"instant": {"epochSecond": 1795377908, "nanoOfSecond": 123000000}, "level": "WARN", "loggerName": "a.B",
         "message": "hi"},
        AT, "warning", "a.B", "hi", None,
    ),
    "serilog": (
        {"@t": "2026-11-22T20:05:08.123Z", "@mt": "User {Name}", "@l": "Warning", "Name": "eve"},
        AT, "warning", None, "User {Name}", {"Name": "eve"},
    ),
    "monolog": (
        {"message": "hi", "level": 550, "channel": "app", "datetime": "2026-11-22T20:05:08.123+00:00"},
        AT, "fatal", "app", "hi", None,
    ),
    "gelf": (
        {"version": "1.1", "host": "web", "short_message": "hi", "timestamp": 1795377908.123, "level": 4},
        AT, "warning", None, "hi", {"version": "1.1"},
    ),
    "docker": (
        {"log": "2026-11-22 20:05:07,000 WARNING shop.db: hi\n", "stream": "stderr",
         "time": "2026-11-22T20:05:08.123Z"},
        AT, "warning", "shop.db", "hi", {"stream": "stderr"},
    ),
    "json in docker": (
        {"log": '{"level":"error","msg":"hi","n":1}\n', "stream": "stdout", "time": "2026-11-22T20:05:08.123Z"},
        AT, "error", None, "hi", {"stream": "stdout", "n": 1},
    ),
    "no message": (
        {"remote_addr": "10.0.0.1", "time_local": "22/Nov/2026:22:05:08 +0200", "status": 500, "request": "GET / X"},
        "2026-11-22 20:05:08", None, None, 'remote_addr=10.0.0.1 status=500 request="GET / X"',
        {"remote_addr": "10.0.0.1", "status": 500, "request": "GET / X"},
    ),
    "several lines in one": (
        {"level": "info", "msg": "one\n  two\r\nthree"}, None, "info", None, "one   two three", None,
    ),
    "NaN": ('{"level":"info","msg":"hi","load":NaN}', None, "info", None, "hi", {"load": "NaN"}),
    "logrus": (
        'time="2026-11-23T05:05:08.123+09:00" level=fatal msg="a \\"b\\"" size=10 none=',
        AT, "fatal", None, 'a "b"', {"size": "10", "none": ""},
    ),
    "go-kit": (
        "ts=2026-11-22T20:05:08.123Z caller=main.go:4 level=warn component=tsdb err=refused",
        AT, "warning", "tsdb", "caller=main.go:4 err=refused", {"caller": "main.go:4", "err": "refused"},
    ),
    "heroku": (
        '2026-11-22T20:05:08.123+00:00 heroku[router]: at=error code=H12 path="/a b"',
        AT, "error", "heroku[router]", 'at=error code=H12 path="/a b"', {"code": "H12", "path": "/a b"},
    ),
    "audit": (
        "type=SYSCALL msg=audit(1795377908.123:24287): arch=c000003e success=no",
        AT, None, "SYSCALL", "arch=c000003e success=no", {"arch": "c000003e", "success": "no"},
    ),
    "json behind syslog": (
        'Nov 22 20:05:08 web app[12]: {"level":"error","msg":"hi","n":5}',
        "2000-11-22 20:05:08", "error", "app", "hi", {"n": 5},
    ),
    "json behind CRI": (
        '2026-11-22T20:05:08.123Z stderr F {"level":"debug","message":"hi"}', AT, "debug", None, "hi", None,
    ),
}  # fmt: skip


def as_line(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    value, time, level, component, message, fields = SHAPES[name]
    row = table_of([as_line(value)]).row(0, named=True)
    assert row["time"] == (datetime.datetime.fromisoformat(time) if time else None)
    assert (row["level"], row["component"], row["message"]) == (level, component, message)
    assert (json.loads(row["fields"]) if row["fields"] else None) == fields
    assert row["layout"] is not None


def test_every_line_of_a_mixed_file_is_read_as_if_alone() -> None:
    lines = [as_line(shape[0]) for shape in SHAPES.values() if shape[1] is None or "2000" not in shape[1]]
    lines = [text for line in lines for text in (line, "2026-11-22 20:05:09 INFO shop.api: plain")]
    columns = ["text", "time", "level", "component", "message", "fields", "layout", "host", "pid"]
    together = table_of(lines)
    assert together["line"].to_list() == list(range(1, len(lines) + 1))
    assert together.select(columns).rows() == [table_of([line]).select(columns).row(0) for line in lines]


def test_other_columns() -> None:
    row = table_of([as_line(SHAPES["bunyan"][0])]).row(0, named=True)
    assert (row["host"], row["pid"], row["layout"]) == ("web", "7", "json")
    assert table_of([as_line(SHAPES["docker"][0])])["layout"].to_list() == ["docker"]
    assert table_of([SHAPES["logrus"][0]])["layout"].to_list() == ["logfmt"]


@pytest.mark.parametrize(
    "line",
    [
        "{broken json}",
        '{"msg":"lone \\ud800 surrogate"}',
        "[1, 2]",
        "{}",
        'level=info msg="unclosed',
        "level=info and words",
        "level=info",
        '{"a":' * 1200 + "1" + "}" * 1200,
        "{" * 3000 + "}" * 3000,
        '{"level":true,"n":1}',
    ],
)
def test_lines_that_only_look_structured_stay_text(line: str) -> None:
    row = table_of([line]).row(0, named=True)
    assert (row["layout"], row["message"], row["text"], row["time"], row["level"]) == (None, line, line, None, None)


def test_an_object_that_is_no_log_record_has_fields_and_continues_the_event() -> None:
    table = table_of(["2026-11-22 20:05:09 INFO shop.api: payload", '{"a":1,"b":{"c":[2]}}'])
    assert table["event"].to_list() == [1, 1]
    assert json.loads(table["fields"][1]) == {"a": 1, "b.c": [2]}


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}{key}.") if isinstance(item, dict) and item else {prefix + key: item}
    return flat


SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('ab "\\\n\t{}=é\u2028漢', max_size=8)
KEYS = st.text('kxyz.é"', min_size=1, max_size=4).map(lambda key: "x" + key)
OBJECTS = st.recursive(
    SCALARS | st.lists(SCALARS, max_size=3), lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@settings(max_examples=150)
@given(st.dictionaries(KEYS, OBJECTS, max_size=6), st.booleans())
def test_fields_are_all_that_the_record_holds(record: dict[str, Any], ascii_only: bool) -> None:
    line = json.dumps({"level": "info", "msg": "hi", **record}, ensure_ascii=ascii_only)
    (found,) = table_of([line])["fields"]
    assert (json.loads(found) if found else {}) == flatten(record)


VALUES = st.text('ab"\\ =é/', max_size=6)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z.]{0,5}", fullmatch=True), VALUES, min_size=1, max_size=6))
def test_logfmt_against_the_shell(pairs: dict[str, str]) -> None:
    escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in pairs.items()}
    line = " ".join(f'{key}="{value}"' for key, value in escaped.items())
    assert logfmt(line) == dict(word.split("=", 1) for word in shlex.split(line)) == pairs


PIECES = st.sampled_from([as_line(shape[0]).encode() for shape in SHAPES.values()])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A structured line with some bytes cut out, doubled or replaced by any others."""
    line = draw(PIECES)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        line = line[:at] + draw(st.binary(max_size=3)) + line[at + draw(st.integers(0, 4)) :]
    return line


@settings(max_examples=150)
@given(st.lists(damaged() | st.binary(max_size=20), max_size=6))
@example([b'{"a":"\\u0000","level":"\xff"}', b"\x00{\x00}", b"=", b'a="'])
@example([b'{"ts":1e400,"msg":1}', b'{"ts":-1.5,"msg":"a"}', b'{"level":99999999999999999999,"msg":"a"}'])
def test_any_bytes_every_line_accounted_for(pieces: list[bytes]) -> None:
    content = b"\n".join(pieces)
    if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return
    expected = content.split(b"\n")
    expected = expected if expected[-1] else expected[:-1]
    lines = split_lines(content)
    table = table_of(lines)
    assert table["text"].to_list() == [one.decode("utf-8", errors="replace").removesuffix("\r") for one in expected]
    assert table["line"].to_list() == list(range(1, len(lines) + 1))
    for fields in table["fields"].drop_nulls():
        assert isinstance(json.loads(fields), dict)


def test_blocks_of_a_stream_are_parsed_like_the_whole() -> None:
    lines = [as_line(shape[0]) for shape in SHAPES.values()] * 3
    lines = [line for line in lines if not re.match("Nov", line)]
    whole = parse(pl.Series("text", lines))
    names = sorted(set(whole["layout"].drop_nulls()))
    layouts = [name for name in ("heroku", "audit", "container") if name in names]
    parts = [parse(pl.Series("text", lines[at : at + 7]), layouts) for at in range(0, len(lines), 7)]
    assert pl.concat(parts).rows() == whole.rows()
    assert parse(pl.Series("text", [], dtype=pl.String), []).height == 0


def test_hostile_json_is_read_in_linear_time() -> None:
    for piece in ('{"a":', '{"a":"', "[", "a=", 'a="', '\\"', '{"level":"info","msg":"' + "\\u0041", "a=b "):
        line = piece * (1_000_000 // len(piece))
        table = table_of([line, line + "}", "level=info " + line])
        assert table["text"].str.len_chars().sum() == 3 * len(line) + 12
