"""Rows in and out of files: JSON Lines, JSON arrays, gzip of both. Every fault names the file and the row (1-based)."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loglore.errors import InputError

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read every row of a `.jsonl`, `.json` (array of objects) or gzipped file of these.

    Raises:
        InputError: missing file, damaged encoding, broken JSON, or a row that is no object; names the row.
    """
    text = _read_text(path)
    if text.lstrip()[:1] == "[":
        return _rows_of_array(path, text)
    return list(_rows_of_lines(path, text))


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    data = path.read_bytes()
    try:
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError) as fault:
        raise InputError(f"{path}: damaged gzip file: {fault}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        row = data[: fault.start].count(b"\n") + 1
        raise InputError(f"{path}: row {row}: not UTF-8 at byte {fault.start}") from None


def _rows_of_array(path: Path, text: str) -> list[Row]:
    try:
        rows: list[Row] = json.loads(text)
    except json.JSONDecodeError as fault:
        raise InputError(f"{path}: not JSON: {fault}") from None
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{path}: row {number}: expected an object, found {type(row).__name__}")
    return rows


def _rows_of_lines(path: Path, text: str) -> Iterator[Row]:
    # str.splitlines would also split at U+2028 and form feeds, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as fault:
            raise InputError(f"{path}: row {number}: not JSON: {fault}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}: row {number}: expected an object, found {type(row).__name__}")
        yield row
