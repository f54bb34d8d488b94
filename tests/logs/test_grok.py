"""Grok: patterns built from templates match all their lines; the library's names match what they should."""

import datetime
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.logs import grok
from loglore.logs.patterns import PATTERNS, expand
from loglore.logs.reader import table_of
from loglore.logs.templates import mine

WORDS = st.sampled_from(
    [
        "user",
        "failed",
        "10.0.0.1",
        "port",
        "22",
        "/var/log",
        "id=7",
        "(a)",
        "[x]",
        "a|b",
        "$5",
        "{}",
        "%{x}",
        "^",
        "\\d",
        "*",
    ]
)
HEADERS = st.sampled_from(
    [
        "",
        "Nov 22 20:20:15 web01 sshd[12]: ",
        "2026/11/22 20:16:33 [error] 64#64: ",
        "2026-11-22 20:02:11.123 UTC [211] shop@shop ERROR:  ",
        "7:M 22 Nov 2026 20:04:43.301 # ",
        "<6>2026-11-22T20:14:21.294007+00:00 10.20.1.37:52328 [22/Nov/2026:20:14:21.293] ",
        '10.20.1.37 - bob [22/Nov/2026:20:16:23 +0000] ',
    ]
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(HEADERS, st.lists(WORDS, min_size=1, max_size=6).map(" ".join)), min_size=1, max_size=25))
def test_a_pattern_from_a_template_matches_all_its_lines(lines: list[tuple[str, str]]) -> None:
    found = mine(table_of([header + message for header, message in lines]))
    for template in found.templates:
        own = found.table.filter(found.table["template"] == template.id)["text"].to_list()
        pattern = grok.from_template(template.text, own)
        assert all(grok.match(pattern, line) is not None for line in own)


def test_pattern_of_a_real_line() -> None:
    lines = [
        f"Nov 22 20:20:1{number} web01 sshd[{number}]: Failed password for root "
        f"from 10.0.0.{number} port 402{number} ssh2"
        for number in range(1, 5)
    ]
    pattern = grok.from_template("Failed password for root from <*> port <*> ssh2", lines)
    assert pattern == (
        "%{SYSLOGTIMESTAMP:timestamp} %{IPORHOST:host} %{WORD:component}\\[%{INT:pid}\\]: "
        "Failed password for root from %{IP:ip} port %{POSINT:port} ssh2"
    )
    assert grok.match(pattern, lines[0]) == {
        "timestamp": "Nov 22 20:20:11",
        "host": "web01",
        "component": "sshd",
        "pid": "1",
        "ip": "10.0.0.1",
        "port": "4021",
    }
    assert grok.match(pattern, lines[0] + " and more") is None


def test_lines_with_different_headers() -> None:
    lines = ["[WARNING]  (60) : check of a failed", "<5>2026-11-22T20:14:21+00:00 check of b failed"]
    pattern = grok.from_template("check of <*> failed", lines)
    assert pattern == "%{DATA:header}check of %{WORD:word} failed"
    assert [grok.match(pattern, line) is not None for line in lines] == [True, True]


def test_conversions_repeats_and_optional_fields() -> None:
    assert grok.match("%{INT:a:int} %{NUMBER:b:float} %{WORD:c}", "7 2.5 x") == {"a": 7, "b": 2.5, "c": "x"}
    assert grok.match("%{WORD:x} %{WORD:x}", "one two") == {"x": "one", "x_2": "two"}
    assert grok.match("%{WORD:x}(?: %{INT:n:int})?", "one") == {"x": "one"}


@pytest.mark.parametrize("pattern", ["%{NOSUCH:x}", "%{WORD:bad-name}", "%{WORD", "%{WORD:a:date}", "(%{WORD:a}"])
def test_faulty_patterns(pattern: str) -> None:
    with pytest.raises(InputError, match="grok pattern"):
        grok.compile(pattern)


def test_lines_that_are_not_of_the_template() -> None:
    with pytest.raises(InputError, match="not of template"):
        grok.from_template("a <*> b", ["something else"])
    with pytest.raises(InputError, match="no example"):
        grok.from_template("a <*> b", [])


@pytest.mark.parametrize("name", PATTERNS)
def test_every_name_compiles(name: str) -> None:
    assert "field" in re.compile(expand(f"%{{{name}:field}}")).groupindex


@given(st.datetimes(datetime.datetime(1000, 1, 1)))
def test_timestamps(moment: datetime.datetime) -> None:
    for name, layout in (
        ("TIMESTAMP_ISO8601", "%Y-%m-%dT%H:%M:%S.%f"),
        ("SYSLOGTIMESTAMP", "%b %d %H:%M:%S"),
        ("HTTPDATE", "%d/%b/%Y:%H:%M:%S +0000"),
        ("HTTPDERROR_DATE", "%a %b %d %H:%M:%S %Y"),
        ("BINDTIMESTAMP", "%d-%b-%Y %H:%M:%S.%f"),
    ):
        assert grok.match(f"%{{{name}:t}}", moment.strftime(layout)), name
