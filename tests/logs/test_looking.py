"""Lines, parts and beginnings of a log table against plain counts of the same text."""

import datetime
import random
from collections import Counter
from pathlib import Path

import pytest

from loglore.errors import InputError
from loglore.logs import looking, table
from loglore.logs.table import LogTable

START = datetime.datetime(2026, 3, 1, 10)
LEVELS = ("INFO", "INFO", "INFO", "WARNING", "ERROR")


def _text(count: int, seed: int) -> list[tuple[datetime.datetime, str, str]]:
    """Lines of two kinds at random, and from the last third on of a third kind, which is severe."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        moment = START + datetime.timedelta(seconds=number // 3)
        level = chance.choice(LEVELS)
        words = chance.choice(["user alice logged in from 10.0.0.5", "cache refreshed in 12 ms"])
        if number > count * 2 // 3 and chance.random() < 0.5:
            level, words = "ERROR", "disk full while writing block 7"
        rows.append((moment, level, f"{moment} {level} app: {words}"))
    return rows


@pytest.fixture(scope="module")
def rows() -> list[tuple[datetime.datetime, str, str]]:
    return _text(1801, 7)


@pytest.fixture(scope="module")
def log(rows: list[tuple[datetime.datetime, str, str]], tmp_path_factory: pytest.TempPathFactory) -> LogTable:
    folder = tmp_path_factory.mktemp("looking")
    path = folder / "app.log"
    path.write_text("".join(f"{text}\n" for _, _, text in rows))
    # Small blocks, so that there are many shards.
    made = table.index([path], folder / "table", block_bytes=8000, names={path: "app.log"})
    assert len(made.manifest.shards) > 5
    assert made.sources == ["app.log"]
    return made


def test_lines_are_those_of_a_plain_filter(log: LogTable, rows: list[tuple[datetime.datetime, str, str]]) -> None:
    since, until = START + datetime.timedelta(seconds=100), START + datetime.timedelta(seconds=420)
    wanted = looking.Wanted(since=since, until=until, levels=("error",), text="disk full")
    expected = [
        number
        for number, (moment, level, text) in enumerate(rows, 1)
        if since <= moment < until and level == "ERROR" and "disk full" in text
    ]
    assert len(expected) > 20
    first, total = looking.lines(log, wanted, 10)
    assert (first["line"].to_list(), total) == (expected[:10], len(expected))
    last, total = looking.lines(log, wanted, 10, last=True)
    assert (last["line"].to_list(), total) == (expected[-10:], len(expected))
    everything, total = looking.lines(log, looking.Wanted(), 3, last=True)
    assert (everything["line"].to_list(), total) == ([1799, 1800, 1801], 1801)
    nothing, total = looking.lines(log, looking.Wanted(source="other.log"), 3)
    assert (nothing.height, total) == (0, 0)
    with pytest.raises(InputError, match="quotation mark"):
        looking.lines(log, looking.Wanted(text='"'), 3)


def test_a_template_has_its_lines(log: LogTable, rows: list[tuple[datetime.datetime, str, str]]) -> None:
    (disk,) = [each for each in log.templates if "disk full" in each.text]
    _, total = looking.lines(log, looking.Wanted(template=disk.id), 1)
    assert total == sum("disk full" in text for _, _, text in rows) == disk.count


def test_around_a_line_are_its_neighbours(log: LogTable) -> None:
    assert looking.around(log, "app.log", 2, 3)["line"].to_list() == [1, 2, 3, 4, 5]
    assert looking.around(log, None, 1801, 2)["line"].to_list() == [1799, 1800, 1801]
    assert looking.around(log, "app.log", 9000, 2).height == 0


def test_parts_are_counted_exactly(log: LogTable, rows: list[tuple[datetime.datetime, str, str]]) -> None:
    one, two = looking.halves(log)
    assert (one.lines, two.lines) == (900, 901)
    assert one.levels == dict(Counter(level.lower() for _, level, _ in rows[:900]))
    assert two.levels == dict(Counter(level.lower() for _, level, _ in rows[900:]))
    (disk,) = [each.id for each in log.templates if "disk full" in each.text]
    assert one.templates.get(disk, 0) == 0
    assert two.templates[disk] == sum("disk full" in text for _, _, text in rows)
    assert disk in {each.template for each in one.differences(two)[:2]}
    start, end = START + datetime.timedelta(seconds=77), START + datetime.timedelta(seconds=311)
    part = looking.window(log, start, end)
    assert part.lines == sum(start <= moment < end for moment, _, _ in rows)
    before, after = looking.window(log, None, start), looking.window(log, start, None)
    assert before.lines + after.lines == len(rows)
    assert before.lines == sum(moment < start for moment, _, _ in rows)


def test_what_begins_late_is_named_with_its_time(log: LogTable) -> None:
    (disk,) = [each.id for each in log.templates if "disk full" in each.text]
    first = looking.begins(log, 5)[0]
    assert (first.template, first.usual) == (disk, None)
    assert isinstance(first.at, datetime.datetime)
    assert abs(first.at - (START + datetime.timedelta(seconds=400))) < datetime.timedelta(seconds=15)


@pytest.mark.parametrize("most", [1, 7, 60])
def test_the_timeline_has_every_line_once(
    log: LogTable, rows: list[tuple[datetime.datetime, str, str]], most: int
) -> None:
    whole = looking.timeline(log, most)
    assert whole is not None
    assert len({start for start, _, _ in whole.rows}) <= most
    assert sum(count for _, _, count in whole.rows) == len(rows)
    span = START + datetime.timedelta(seconds=60), START + datetime.timedelta(seconds=120)
    part = looking.timeline(log, most, span)
    assert part is not None
    assert part.seconds == pytest.approx(60 / most, abs=1e-5)
    for start, level, count in part.rows:
        end = min(start + datetime.timedelta(seconds=part.seconds), span[1])
        assert count == sum(start <= moment < end and name.lower() == level for moment, name, _ in rows)
    assert looking.timeline(log, most, (START - datetime.timedelta(days=2), START - datetime.timedelta(days=1))) is None


def test_a_log_without_times_has_no_timeline_but_beginnings(tmp_path: Path) -> None:
    path = tmp_path / "plain.log"
    path.write_text("".join("all is well\n" if n < 700 else "no space left on device\n" for n in range(900)))
    log = table.index([path], tmp_path / "table")
    assert looking.timeline(log, 10) is None
    begin = looking.begins(log, 3)[0]
    assert log.by_id[begin.template].text == "no space left on device"
    assert abs(int(begin.at) - 700) <= 3  # type: ignore[arg-type]
