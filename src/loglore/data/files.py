"""Rows in and out of files: JSON, JSON Lines, CSV, Parquet, text; gzip, Zstandard, ZIP, folders; local or `s3://`.

Reading is a stream: memory is a block and a row, however large the file. Every fault names the file, the row (1-based;
the line number in JSON Lines) and, where there is one, the field.

    path -> sources.find -> files -> bytes, decompressed -> json_rows | tables -> rows or faults
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from loglore.data import json_rows, sources, streams, tables
from loglore.data.faults import Fault
from loglore.data.json_rows import BadRow, Row

__all__ = ["Entry", "Place", "Row", "entries", "open_rows", "parts", "placed_rows", "read_rows"]


class Place(NamedTuple):
    """Where a row stands: `file` as shown to the user, `row` (1-based; the line in JSON Lines)."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}: row {self.row}"


Entry = tuple[Place, Row] | Fault


def read_rows(path: Path | str) -> list[Row]:
    """Every row of a path that fits in memory.

    Raises:
        InputError: missing file, damaged encoding, broken JSON, or a row that is no object; names the row.
    """
    return [row for _, row in placed_rows(path)]


def open_rows(path: Path | str) -> Iterator[tuple[int, Row]]:
    """(row number, row) of a path, streamed. Numbers start again with each file of a folder or archive."""
    return ((place.row, row) for place, row in placed_rows(path))


def placed_rows(
    path: Path | str | sources.Listing,
    on_fault: Callable[[Fault], None] | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[tuple[Place, Row]]:
    """(place, row) of everything behind a path, streamed.

    Args:
        path: file, folder, archive or `s3://` URL, or what `sources.find` found there.
        on_fault: told of each row that cannot be read, which is then left out; None raises the first.
        on_bytes: told how many stored bytes were read since the last call, for progress.

    Raises:
        InputError: nothing there, a file that cannot be read to its end, or the first faulty row.
    """
    listing = path if isinstance(path, sources.Listing) else sources.find(path)
    for file in listing.files:
        for entry in entries(file, on_bytes):
            if not isinstance(entry, Fault):
                yield entry
            elif on_fault is None:
                raise entry.error()
            else:
                on_fault(entry)


def entries(
    file: streams.DataFile, on_bytes: Callable[[int], None] | None = None, part: streams.Part | None = None
) -> Iterator[Entry]:
    """What stands in a file, in order: (place, row), or the fault of a row that cannot be read.

    Args:
        file: one of a listing.
        on_bytes: as `placed_rows`.
        part: read these lines of a file of JSON Lines alone.

    Raises:
        InputError: the file cannot be read to its end.
    """
    for number, row in _rows_of(file, on_bytes, part):
        if isinstance(row, BadRow):
            yield Fault(file.name, number, row.kind, row.message, row.field)
        else:
            yield Place(file.name, number), row


def parts(file: streams.DataFile, size: int) -> list[streams.Part | None]:
    """A file cut into parts of about `size` bytes that `entries` reads one by one to the same rows.

    Plain JSON Lines are cut at line ends; any other file is one part: None, all of it.

    Raises:
        InputError: as `streams.opened`.
    """
    if file.kind != "JSON" or file.compression or file.size <= size:
        return [None]
    with streams.opened(file) as stream:
        starts = [start for start in json_rows.line_starts(stream, size) if start[0] < file.size]
    cut = pairwise([(0, 1), *starts, (file.size, 0)])
    return [streams.Part(start, end - start, first) for (start, first), (end, _) in cut] if starts else [None]


def _rows_of(
    file: streams.DataFile, on_bytes: Callable[[int], None] | None, part: streams.Part | None
) -> Iterator[tuple[int, Row | BadRow]]:
    with streams.opened(file, on_bytes, part) as stream:
        if part is not None and part.start:
            yield from json_rows.lines(stream, b"", file.name, part.first)
            return
        if file.kind == "CSV":
            yield from tables.csv_rows(stream, file.name)
        elif file.kind == "Parquet":
            plain = file.local if not file.compression else None
            yield from tables.parquet_rows(stream, file.name, plain)
        elif file.kind == "text":
            yield from tables.text_rows(stream, file.name)
        else:
            yield from json_rows.rows(stream, file.name)
