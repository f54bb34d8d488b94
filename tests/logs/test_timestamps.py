"""Timestamps against `datetime.strptime`."""

import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.logs.timestamps import UNKNOWN_YEAR, parse, place_years

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
