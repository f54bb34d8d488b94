"""Chunks cover every source without gap or overlap, keep their sizes and, where they can, events."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.errors import InputError
from loglore.logs import table
from loglore.logs.chunks import cut, slice_of, stream
from loglore.logs.reader import table_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "logs"

LINES = st.lists(st.sampled_from(["2026-11-22 10:00:00 INFO app: on", "  continued", "Traceback:"]), max_size=120)
SIZES = st.tuples(st.integers(1, 12), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=60)
@given(LINES, SIZES, st.integers(0, 5))
def test_cover_disjointness_and_sizes(lines: list[str], sizes: tuple[int, int], seed: int) -> None:
    table = pl.concat([table_of(lines, "x/a.log"), table_of(lines[::2], "x/b.log")])
    smallest, largest = sizes
    chunks = cut(table, smallest, largest, seed)
    assert [(chunk.source, line) for chunk in chunks for line in range(chunk.first, chunk.last + 1)] == list(
        table.select("source", "line").iter_rows()
    )
    assert [line for chunk in chunks for line in chunk.lines] == table["text"].to_list()
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    for chunk, following in zip(chunks, [*chunks[1:], None], strict=False):
        assert len(chunk.lines) == chunk.last - chunk.first + 1 <= largest
        assert chunk.id == f"{chunk.source.removeprefix('x/')}:{chunk.first}-{chunk.last}"
        if following is not None and following.source == chunk.source:
            assert len(chunk.lines) >= smallest
        assert slice_of(table, chunk)["text"].to_list() == list(chunk.lines)
    assert cut(table, smallest, largest, seed) == chunks


def test_no_short_chunk_where_a_cut_avoids_it() -> None:
    for total in range(16, 80):
        chunks = cut(table_of(["line"] * total), 8, 15, seed=total)
        assert all(len(chunk.lines) >= 8 for chunk in chunks), total


def test_events_stay_whole() -> None:
    lines = []
    for number in range(60):
        lines += [f"2026-11-22 10:00:{number:02d} ERROR app: {number}", *["    at x"] * (number % 4)]
    table = table_of(lines)
    starts = set(table["event"].to_list())
    for seed in range(20):
        assert all(chunk.first in starts for chunk in cut(table, 6, 12, seed))


def test_an_event_longer_than_a_chunk_is_cut() -> None:
    chunks = cut(table_of(["2026-11-22 10:00:00 ERROR app: a", *["    at x"] * 50]), 5, 10, seed=1)
    assert sum(len(chunk.lines) for chunk in chunks) == 51
    assert max(len(chunk.lines) for chunk in chunks) <= 10


def test_seeds_limits_and_folders() -> None:
    table = table_of([f"line {number}" for number in range(400)], "logs/a.log")
    assert cut(table, 8, 15, seed=1) != cut(table, 8, 15, seed=2)
    few = cut(table, 8, 15, seed=1, limit_per_source=5)
    assert len(few) == 5
    assert set(few) < set(cut(table, 8, 15, seed=1))
    assert few == sorted(few, key=lambda chunk: chunk.first)
    moved = cut(table.with_columns(source=pl.lit("/elsewhere/a.log")), 8, 15, seed=1)
    assert [chunk.id for chunk in moved] == [chunk.id for chunk in cut(table, 8, 15, seed=1)]


def test_two_files_of_one_name_have_different_ids() -> None:
    table = pl.concat([table_of(["a"], "x/app.log"), table_of(["b"], "y/app.log")])
    assert [chunk.id for chunk in cut(table, 1, 2, seed=0)] == ["x/app.log:1-1", "y/app.log:1-1"]


@pytest.mark.parametrize("sizes", [(0, 5), (6, 5)])
def test_impossible_sizes(sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="smallest"):
        cut(table_of(["a"]), *sizes, seed=0)


def test_a_table_on_disk_is_cut_as_in_memory(tmp_path: Path) -> None:
    log = table.index([EXAMPLES], tmp_path / "table", block_bytes=15_000)
    whole = log.mined().table
    for sizes in ((50, 150), (8, 15)):
        assert list(stream(log, *sizes, seed=3)) == cut(whole, *sizes, seed=3)
    assert list(stream(log, 8, 15, 3, limit_per_source=2)) == cut(whole, 8, 15, 3, limit_per_source=2)
    with pytest.raises(InputError, match="chunk sizes"):
        next(stream(log, 5, 4, 0))
