"""Timestamps against `datetime.strptime`."""

import datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.logs.reader import table_of
from loglore.logs.timestamps import UNKNOWN_YEAR, parse, parse_any, place_years

MOMENTS = st.datetimes(datetime.datetime(2001, 1, 1), datetime.datetime(2029, 12, 31))
FORMATS = {
    "TIMESTAMP_ISO8601": "%Y-%m-%d %H:%M:%S,%f",
    "SLASHTIMESTAMP": "%Y/%m/%d %H:%M:%S",
    "HTTPDERROR_DATE": "%a %b %d %H:%M:%S.%f %Y",
    "REDISTIMESTAMP": "%d %b %Y %H:%M:%S.%f",
    "BINDTIMESTAMP": "%d-%b-%Y %H:%M:%S.%f",
    "HAPROXYDATE": "%d/%b/%Y:%H:%M:%S.%f",
    "COMPACTTIMESTAMP": "%y%m%d %H%M%S",
    "BGLTIMESTAMP": "%Y-%m-%d-%H.%M.%S.%f",
}


@pytest.mark.parametrize("kind", FORMATS)
@given(moments=st.lists(MOMENTS, min_size=1, max_size=20))
def test_formats(kind: str, moments: list[datetime.datetime]) -> None:
    texts = [moment.strftime(FORMATS[kind]) for moment in moments]
    expected = [datetime.datetime.strptime(text, FORMATS[kind]) for text in texts]
    assert parse(pl.Series(texts), kind)["time"].to_list() == expected


@given(MOMENTS, st.integers(-14 * 60, 14 * 60))
def test_zones(moment: datetime.datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=datetime.timezone(datetime.timedelta(minutes=minutes)))
    utc = aware.astimezone(datetime.UTC).replace(tzinfo=None)
    assert parse(pl.Series([aware.isoformat()]), "TIMESTAMP_ISO8601")["time"][0] == utc
    web = aware.strftime("%d/%b/%Y:%H:%M:%S %z")
    assert parse(pl.Series([web]), "HTTPDATE")["time"][0] == utc.replace(microsecond=0)


@given(st.integers(10**9, 2 * 10**9 - 1), st.integers(0, 999))
def test_epoch(seconds: int, millis: int) -> None:
    expected = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(tzinfo=None, microsecond=millis * 1000)
    texts = [f"{seconds}{millis:03d}", f"{seconds}.{millis:03d}"]
    assert parse(pl.Series(texts), "EPOCH")["time"].to_list() == [expected, expected]


def test_impossible_times_are_null() -> None:
    times = parse(pl.Series(["2026-02-30 10:00:00", "2026-01-01 25:00:00", None, "no time"]), "TIMESTAMP_ISO8601")
    assert times["time"].to_list() == [None] * 4


def test_years() -> None:
    parsed = parse(pl.Series(["Feb 29 10:00:00", "Dec 31 23:00:00", "Jan 1 01:00:00"]), "SYSLOGTIMESTAMP")
    assert parsed["yearless"].to_list() == [True] * 3
    assert parsed["time"].dt.year().to_list() == [UNKNOWN_YEAR] * 3
    placed = place_years(parsed["time"], parsed["yearless"], 2025)
    assert placed.dt.year().to_list() == [2024, 2024, 2025]


# How a real program writes the moment, as a strptime format, and a line of it.
LINES = {
    "syslog": ("%b %d %H:%M:%S", "{} web sshd[1]: a"),
    "syslog with year": ("%b %d %Y %H:%M:%S", "{} fw01 asa: a"),
    "ISO": ("%Y-%m-%d %H:%M:%S", "{} INFO a.b: c"),
    "ISO with T and fraction": ("%Y-%m-%dT%H:%M:%S.%f", "{} INFO a"),
    "ISO with offset": ("%Y-%m-%dT%H:%M:%S.%f%z", "{} web app[1]: c"),
    "ISO with Z": ("%Y-%m-%dT%H:%M:%SZ", "{} c"),
    "Apache access": ("%d/%b/%Y:%H:%M:%S %z", '10.0.0.1 - - [{}] "GET / HTTP/1.1" 200 5'),
    "Apache error": ("%a %b %d %H:%M:%S.%f %Y", "[{}] [core:error] [pid 7] a"),
    "nginx error": ("%Y/%m/%d %H:%M:%S", "{} [error] 7#7: *1 a"),
    "Hadoop": ("%Y-%m-%d %H:%M:%S,%f", "{} INFO [main] org.apache.hadoop.A: b"),
    "Spark": ("%y/%m/%d %H:%M:%S", "{} INFO executor.Executor: b"),
    "HDFS": ("%y%m%d %H%M%S", "{} 148 INFO dfs.DataNode$PacketResponder: b"),
    "Zookeeper": ("%Y-%m-%d %H:%M:%S,%f", "{} - INFO  [main:QuorumPeer@913] - b"),
    "Android": ("%m-%d %H:%M:%S.%f", "{}  1702  2395 D WindowManager: b"),
    "Proxifier": ("%m.%d %H:%M:%S", "[{}] chrome.exe - proxy:80 close"),
    "BGL": ("%Y-%m-%d-%H.%M.%S.%f", "- 1117838570 2005.06.03 R02 {} R02 RAS KERNEL INFO a"),
    "Windows CBS": ("%Y-%m-%d %H:%M:%S", "{}, Info                  CBS    Loaded a"),
    "OpenStack": ("%Y-%m-%d %H:%M:%S.%f", "nova-api.log.1 {} 25746 INFO nova.api [req-1 - - -] b"),
    "klog": ("%m%d %H:%M:%S.%f", "I{}    7 main.go:42] b"),
    "Redis": ("%d %b %Y %H:%M:%S.%f", "7:M {} * b"),
    "BIND": ("%d-%b-%Y %H:%M:%S.%f", "{} general: info: b"),
    "HAProxy": ("%d/%b/%Y:%H:%M:%S.%f", "10.0.0.1:80 [{}] web a/b 0/0/0/1/1 200 5 - - ---- 1/1/0/0/0 0/0"),
    "MySQL": ("%y%m%d %H:%M:%S", "{} [Warning] b"),
    "JSON, RFC 2822": ("%d %b %Y %H:%M:%S %z", '{{"time":"{}","msg":"a"}}'),
    "JSON, ISO": ("%Y-%m-%dT%H:%M:%S.%f%z", '{{"@timestamp":"{}","message":"a"}}'),
    "logfmt": ("%Y-%m-%dT%H:%M:%S%z", 'time={} level=info msg="a b"'),
}


@pytest.mark.parametrize("name", LINES)
@settings(max_examples=8)
@given(moment=MOMENTS, minutes=st.integers(-12 * 4, 14 * 4))
def test_lines_of_real_programs(name: str, moment: datetime.datetime, minutes: int) -> None:
    form, line = LINES[name]
    zone = datetime.timezone(datetime.timedelta(minutes=15 * minutes))
    text = moment.replace(tzinfo=zone if "%z" in form else None).strftime(form)
    if "%Y" in form or "%y" in form:
        expected = datetime.datetime.strptime(text, form)
    else:  # a leap year, or strptime knows no 29 February
        expected = datetime.datetime.strptime(f"{UNKNOWN_YEAR} {text}", f"%Y {form}")
    expected = expected.astimezone(datetime.UTC).replace(tzinfo=None) if expected.tzinfo else expected
    assert table_of([line.format(text)])["time"].to_list() == [expected]


@given(st.integers(10**9, 2 * 10**9), st.integers(0, 10**9 - 1))
def test_epochs_of_any_unit(seconds: int, nanos: int) -> None:
    texts = [str(seconds), f"{seconds}{nanos // 10**6:03d}", f"{seconds}{nanos // 1000:06d}", f"{seconds}{nanos:09d}"]
    texts.append(f"{seconds}.{nanos // 1000:06d}")
    zero = datetime.datetime(1970, 1, 1)
    micros = [0, nanos // 10**6 * 1000, nanos // 1000, nanos // 1000, nanos // 1000]
    expected = [zero + datetime.timedelta(seconds=seconds, microseconds=micro) for micro in micros]
    assert parse_any(pl.Series(texts))["time"].to_list() == expected


@settings(max_examples=20)
@given(MOMENTS)
def test_a_two_digit_offset(moment: datetime.datetime) -> None:
    texts = [moment.isoformat(" ", "milliseconds") + zone for zone in ("+09", "-03", "")]
    hours = [-9, 3, 0]
    exact = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    expected = [exact + datetime.timedelta(hours=hour) for hour in hours]
    assert parse(pl.Series(texts), "TIMESTAMP_ISO8601")["time"].to_list() == expected
    assert table_of([f"{text} INFO a.b: c" for text in texts])["time"].to_list() == expected


def test_times_of_no_kind_are_null() -> None:
    texts = pl.Series(["yesterday", "", None, "99", "2026-13-01 10:00:00", "9" * 30])
    assert parse_any(texts)["time"].to_list() == [None] * 6
    assert parse_any(texts)["yearless"].to_list() == [False] * 6
