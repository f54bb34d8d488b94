"""Histogram: counts against a plain loop, usual widths, terminal bars, pictures that are pictures, the command."""

import datetime
import io
import json
import struct
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from loglore.cli.logs_levels import logs_levels
from loglore.errors import InputError
from loglore.logs import histogram
from loglore.logs.reader import read_table, table_of
from loglore.logs.table import index

START = datetime.datetime(2026, 11, 22, 10)
LEVELS = st.sampled_from(["fatal", "error", "warning", "info", "debug", "trace", None])
TIMES = st.integers(0, 10**13).map(lambda micros: START + datetime.timedelta(microseconds=micros))


def table(rows: list[tuple[datetime.datetime | None, str | None]]) -> pl.DataFrame:
    lines = range(1, len(rows) + 1)
    schema = {"time": pl.Datetime("us"), "level": pl.String, "line": pl.Int64, "event": pl.Int64, "text": pl.String}
    schema["layout"] = pl.String
    records = [(time, level, line, line, "x", "iso") for line, (time, level) in zip(lines, rows, strict=True)]
    return pl.DataFrame(records, schema=schema, orient="row")


@settings(max_examples=80)
@given(st.lists(st.tuples(TIMES, LEVELS), min_size=1, max_size=40), st.integers(0, 5), st.integers(1, 70))
def test_counts_against_a_loop(rows: list[tuple[datetime.datetime, str | None]], untimed: int, most: int) -> None:
    found = histogram.count(table([*rows, *[(None, "error")] * untimed]), most)
    assert found.untimed == untimed
    assert 1 <= len(found.starts) <= most
    width = datetime.timedelta(seconds=found.seconds)
    assert all(later - start == width for start, later in zip(found.starts, found.starts[1:], strict=False))
    expected: Counter[tuple[str, int]] = Counter()
    for time, level in rows:
        at = (time - found.starts[0]) // width
        assert found.starts[at] <= time < found.starts[at] + width
        expected[level or "none", at] += 1
    assert {(level, at): n for level, ns in found.counts.items() for at, n in enumerate(ns) if n} == dict(expected)
    assert list(found.counts) == [level for level in histogram.ORDER if any(one[0] == level for one in expected)]
    # A narrower usual width would have needed too many buckets.
    narrower = [one for one in histogram.WIDTHS if one < found.seconds]
    if narrower and found.seconds in histogram.WIDTHS:
        micros = [(time - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1) for time, _ in rows]
        size = round(narrower[-1] * 1e6)
        assert max(micros) // size - min(micros) // size + 1 > most


@pytest.mark.parametrize(
    ("seconds", "expected"), [(29, 0.5), (59, 1), (599, 10), (3599, 60), (86399, 1800), (40 * 86400, 86400)]
)
def test_usual_widths(seconds: int, expected: float) -> None:
    rows = [(START, "info"), (START + datetime.timedelta(seconds=seconds), "info")]
    assert histogram.count(table(rows)).seconds == expected


def test_events_are_counted_not_lines() -> None:
    lines = ["2026-11-22 10:00:00 ERROR a.b: c", "Traceback (most recent call last):", "  x", "", "KeyError: 1"]
    found = histogram.count(table_of([*lines, "2026-11-22 10:00:05 INFO a.b: c"]))
    assert {level: sum(numbers) for level, numbers in found.counts.items()} == {"error": 1, "info": 1}
    assert found.rows[0] == {"time": "2026-11-22T10:00:00Z", "error": 1, "info": 0}


def test_a_table_on_disk_is_counted_shard_by_shard(tmp_path: Path) -> None:
    logs = Path(__file__).parents[2] / "examples" / "logs"
    paths = [logs / name for name in ("redis.log", "shopapp.log", "sshd.log")]
    on_disk = index(paths, tmp_path / "table", block_bytes=10_000)
    assert len(on_disk.manifest.shards) > 9
    assert histogram.count(on_disk, 20) == histogram.count(read_table(paths), 20)


def test_nothing_to_count() -> None:
    with pytest.raises(InputError, match="none of the 2 events has a time"):
        histogram.count(table_of(["a", "b"]))
    with pytest.raises(InputError, match="at least 1"):
        histogram.count(table([(START, "info")]), 0)


def test_the_terminal_shows_bars_of_their_height() -> None:
    rows = [(START + datetime.timedelta(seconds=second), "info") for second in range(4) for _ in range(2 * second)]
    rows += [(START, "error")] * 6 + [(START + datetime.timedelta(seconds=59), "info")]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(histogram.terminal(histogram.count(table([*rows, (None, "info")]))))
    shown = {line.split()[0]: line for line in console.export_text().splitlines() if line.strip()}
    assert shown["error"].split()[1:] == ["6", "█"]
    assert shown["info"].rstrip().endswith("▃▆█" + " " * 55 + "▂")
    assert "each column 1 s" in shown["level"]
    assert "2026-11-22 10:00:00" in shown["2026-11-22"] and "without a time" in shown["1"]


def test_pictures(tmp_path: Path) -> None:
    found = histogram.count(table([(START, "error"), (START + datetime.timedelta(hours=2), None)]))
    png, svg = tmp_path / "a.png", tmp_path / "b.any"
    pictures = []
    for _ in range(2):
        histogram.draw(found, png, "png", "app.log")
        histogram.draw(found, svg, "svg", "app.log")
        content = png.read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", content[16:24])
        assert width > 1000 and height > 300
        root = ET.fromstring(svg.read_text())
        assert root.tag.endswith("svg")
        pictures.append((content, svg.read_text()))
    assert pictures[0] == pictures[1]
    for level in ("error", "none"):
        assert histogram.COLOURS[level] in svg.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.any"]


def test_the_command(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(logs_levels)
    log = tmp_path / "app.log"
    log.write_text("2026-11-22 10:00:00 ERROR a.b: c\n2026-11-22 10:00:05 INFO a.b: c\n")
    log_and_index = [str(log), "--index", str(tmp_path / "index")]
    shown = CliRunner().invoke(app, log_and_index)
    assert shown.exit_code == 0 and "error" in shown.stdout and "█" in shown.stdout
    made = CliRunner().invoke(app, [*log_and_index, "--png", str(tmp_path / "p.png"), "--svg", str(tmp_path / "p.svg")])
    assert made.exit_code == 0 and made.stdout == ""
    assert (tmp_path / "p.png").stat().st_size > 1000 and (tmp_path / "p.svg").stat().st_size > 1000
    rows = json.loads(CliRunner().invoke(app, [*log_and_index, "--json", "--buckets", "1"]).stdout)
    assert rows["rows"] == [{"time": "2026-11-22T10:00:00Z", "error": 1, "info": 1}]
    assert (rows["bucket_seconds"], rows["untimed"]) == (10, 0)
