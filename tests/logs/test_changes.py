"""Onsets, bursts, gaps, differences, company: planted in logs whose truth is known, and against a brute force."""

import datetime
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.logs import changes, evidence, table
from loglore.logs.changes import Axis, Counts
from loglore.logs.reader import table_of
from loglore.logs.templates import Mined, mine
from loglore.logs.view import counts_of

START = datetime.datetime(2026, 11, 22, 10)


def line(second: float, text: str, level: str = "INFO", component: str = "shop") -> tuple[float, str]:
    moment = START + datetime.timedelta(seconds=second)
    return second, f"{moment:%Y-%m-%d %H:%M:%S},000 {level} {component}: {text}"


def log(*lines: tuple[float, str]) -> Mined:
    return mine(table_of([text for _, text in sorted(lines)], "app.log"))


STEADY = [line(second, f"served request {second} well") for second in range(0, 3600, 10)]


def named(mined: Mined, part: str) -> str:
    return next(one.id for one in mined.templates if part in one.text)


def test_buckets_cover_the_log_and_every_line_is_in_one() -> None:
    counts = counts_of(log(*STEADY))
    assert counts.axis.timed and counts.axis.width == 10 * changes.SECOND
    assert counts.axis.buckets <= changes.MOST_BUCKETS
    assert sum(counts.series()) == len(STEADY)
    assert counts.axis.at(0) == START
    assert counts.axis.of(START + datetime.timedelta(seconds=95)) == 9


@settings(max_examples=40)
@given(
    st.datetimes(datetime.datetime(1980, 1, 1), datetime.datetime(2100, 1, 1)),
    st.timedeltas(datetime.timedelta(microseconds=1), datetime.timedelta(days=9000)),
)
def test_an_axis_of_any_span(first: datetime.datetime, span: datetime.timedelta) -> None:
    axis = changes.axis(10, 10, first, first + span)
    assert 1 <= axis.buckets <= changes.MOST_BUCKETS + 1
    assert axis.of(first) == 0
    assert axis.of(first + span) == axis.buckets - 1


@given(st.integers(1, 10**7))
def test_an_axis_of_lines(lines: int) -> None:
    axis = changes.axis(lines, 0, None, None)
    assert not axis.timed
    assert (lines - 1) // axis.width == axis.buckets - 1 <= changes.MOST_BUCKETS


def test_onsets() -> None:
    late = [line(3000 + second, f"disk slow by {second}", "WARNING", "disk") for second in range(5)]
    mined = log(*STEADY, *late, line(5, "early bird one"), line(3500, "once only"))
    (found,) = changes.onsets(counts_of(mined))
    assert (found.template, found.count) == (named(mined, "disk slow"), 5)
    assert counts_of(mined).axis.at(found.bucket) == START + datetime.timedelta(seconds=3000)


def test_bursts_and_gaps() -> None:
    burst = [line(1800 + number / 10, f"refused client {number}", "ERROR", "net") for number in range(200)]
    quiet = [one for one in STEADY if not 2400 <= one[0] < 2700]
    mined = log(*quiet, *burst)
    counts = counts_of(mined)
    found = changes.bursts(counts, [named(mined, "refused"), named(mined, "served")])
    assert {one.template for one in found} == {None, named(mined, "refused")}
    for one in found:
        assert counts.axis.at(one.first) == START + datetime.timedelta(seconds=1800)
        assert counts.axis.at(one.last + 1) == START + datetime.timedelta(seconds=1820)
    (gap,) = changes.gaps(counts)
    assert counts.axis.at(gap.first) == START + datetime.timedelta(seconds=2400)
    assert counts.axis.at(gap.last + 1) == START + datetime.timedelta(seconds=2700)
    assert changes.gaps(counts_of(log(*STEADY))) == []
    assert changes.bursts(counts_of(log(*STEADY))) == []


@settings(max_examples=60)
@given(st.lists(st.integers(0, 60), min_size=3, max_size=60))
def test_bursts_are_what_their_docstring_says(values: list[int]) -> None:
    frame = pl.DataFrame(
        {"template": "T1", "level": None, "component": None, "bucket": range(len(values)), "count": values}
    )
    counts = Counts(Axis(timed=False, start=0, width=1, buckets=len(values)), frame)
    array = np.array(values)
    median = np.median(array)
    spread = np.median(np.abs(array - median))
    wanted = {
        at
        for at, value in enumerate(values)
        if value > median + 6 * 1.4826 * spread and value > 3 * median and value >= 10
    }
    found = changes.bursts(counts)
    assert {bucket for one in found for bucket in range(one.first, one.last + 1)} == wanted
    assert sum(one.count for one in found) == sum(values[at] for at in wanted)


def test_halves_and_windows() -> None:
    second = [line(2000 + number, f"retry of order {number}", "WARNING") for number in range(60)]
    mined = log(*STEADY, *second)
    counts = counts_of(mined)
    before, after = changes.halves(counts)
    assert before[named(mined, "served")] == after[named(mined, "served")] == 180
    assert after[named(mined, "retry")] == 60 and named(mined, "retry") not in before
    assert changes.differences(before, after)[0].template == named(mined, "retry")
    minute = datetime.timedelta(minutes=1)
    window = changes.window(mined.table.lazy(), START + 34 * minute, START + 35 * minute)
    assert window == {named(mined, "served"): 6, named(mined, "retry"): 20}


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), max_size=80), st.lists(st.integers(0, 3), max_size=80))
def test_differences_against_the_formula(first: list[int], second: list[int]) -> None:
    before, after = Counter(f"T{one}" for one in first), Counter(f"T{one}" for one in second)
    for one in changes.differences(dict(before), dict(after)):
        table_ = np.array([[one.before, len(first) - one.before], [one.after, len(second) - one.after]], dtype=float)
        expected = table_.sum(1, keepdims=True) * table_.sum(0, keepdims=True) / table_.sum()
        seen = table_ > 0
        assert math.isclose(one.score, 2 * (table_[seen] * np.log(table_[seen] / expected[seen])).sum(), rel_tol=1e-9)
        assert one.score >= changes.LEAST_SCORE


def test_components_that_go_together() -> None:
    draw = random.Random(3)
    busy = {second for second in range(0, 3600, 60) if draw.random() < 0.4}
    lines = [line(second, "step taken", component=name) for second in busy for name in ("cart", "stock")]
    lines += [line(second, "step taken", component="mail") for second in range(0, 3600, 60) if draw.random() < 0.5]
    (found,) = changes.together(counts_of(log(*lines)))
    assert (found.first, found.second, found.correlation) == ("cart", "stock", 1.0)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mined, table.LogTable]:
    folder = tmp_path_factory.mktemp("both")
    burst = [line(1800 + number / 10, f"refused client {number}", "ERROR", "net") for number in range(200)]
    texts = [text for _, text in sorted([*STEADY, *burst])]
    path = folder / "app.log"
    path.write_text("\n".join(texts) + "\n")
    return mine(table_of(texts, str(path))), table.index([path], folder / "table", block_bytes=5000)


def test_counts_of_a_table_on_disk_are_those_in_memory(both: tuple[Mined, table.LogTable]) -> None:
    mined, on_disk = both
    expected = counts_of(mined)
    assert on_disk.counts().axis == expected.axis
    keys = ["bucket", "template", "level", "component"]
    assert on_disk.counts().frame.sort(keys).equals(expected.frame.sort(keys))
    assert table.open_table(on_disk.folder).counts().frame.equals(on_disk.counts().frame)


def test_counts_without_times_go_by_lines(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("".join(f"plain word {number}\n" for number in range(900)) + "late comer 1\nlate comer 2\n")
    found = table.index([path], tmp_path / "table", block_bytes=3000)
    assert not found.counts().axis.timed
    assert found.counts().frame.equals(counts_of(found.mined()).frame)
    text = evidence.build(found, 150, lambda text: len(text.split())).text
    assert "Begins late" in text


def test_evidence_tells_the_changes(both: tuple[Mined, table.LogTable]) -> None:
    for log_ in both:
        text = evidence.build(log_, 260, lambda text: len(text.split())).text
        assert "Burst: from 2026-11-22 10:30:00 to 10:30:20: 200 × T2 (refused client <*>)" in text
        start = START + datetime.timedelta(minutes=29)
        step = datetime.timedelta(minutes=1)
        windows = ((start, start + step), (start + step, start + 2 * step))
        text = evidence.build(log_, 260, lambda text: len(text.split()), windows=windows).text
        assert "Compared: 2026-11-22 10:29:00 to 2026-11-22 10:30:00 (6 lines) with" in text
        assert "T2 0 → 200 lines: refused client <*>" in text
        same = (windows[0], windows[0])
        assert (
            "no template's share differs"
            in evidence.build(log_, 260, lambda text: len(text.split()), windows=same).text
        )
