"""CSV, Parquet and plain text to rows, streamed.

CSV is for flat rows (alpaca, corpus, nlplog): every cell is text, only `meta` is parsed, as JSON. Parquet may nest; a
null there is a field that the row does not have. Text is a corpus: a row is a block of lines that ends at an empty
line.
"""

import csv
import io
import json
import math
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from loglore.data.json_rows import MAX_ROW, BadRow, Row
from loglore.errors import InputError

BATCH = 512  # rows of a Parquet file in memory at once
_COPY = 1 << 22


def csv_rows(stream: BinaryIO, name: str) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows of a CSV file with a header (RFC 4180), UTF-8; numbered from 1, the header not counted.

    Raises:
        InputError: no header, an empty or repeated name in it, or a quote that is never closed.
    """
    csv.field_size_limit(MAX_ROW)
    text = io.TextIOWrapper(_readable(stream), encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    number = 0
    try:
        header = next(reader, [])
        _check_header(header, name)
        for cells in reader:
            if not cells:
                continue
            number += 1
            yield number, _csv_row(header, cells)
    except csv.Error as fault:
        raise InputError(f"{name}: row {number + 1}: not CSV: {fault} (line {reader.line_num})") from None


def _readable(stream: Any) -> Any:
    return stream if isinstance(stream, io.IOBase) else io.BufferedReader(stream)


def _check_header(header: list[str], name: str) -> None:
    if not header or all(not cell.strip() for cell in header):
        raise InputError(
            f"{name}: no header in the first line; expected names of fields, such as instruction,input,output"
        )
    for cell in header:
        if not cell or cell != cell.strip() or header.count(cell) > 1:
            fault = "stands twice" if header.count(cell) > 1 else "is empty or has blanks around it"
            raise InputError(f"{name}: header: the name {cell!r} {fault}; found {', '.join(header)}")


def _csv_row(header: list[str], cells: list[str]) -> Row | BadRow:
    if len(cells) != len(header):
        return BadRow("wrong-columns", f"{len(cells)} cells; expected {len(header)} ({', '.join(header)})")
    row: Row = dict(zip(header, cells, strict=True))
    for field, cell in row.items():
        if not cell.isascii() and any("\udc80" <= character <= "\udcff" for character in cell):
            return BadRow("encoding", "not UTF-8", field)
    if "meta" in row:
        try:
            row["meta"] = json.loads(row["meta"] or "{}")
        except json.JSONDecodeError as fault:
            return BadRow("bad-json", f"not JSON: {fault}", "meta")
        if not row["meta"]:
            del row["meta"]
    return row


def parquet_rows(stream: BinaryIO, name: str, local: Path | None) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows of a Parquet file, a batch at a time; one that is no plain local file is copied to a temporary one first.

    Raises:
        InputError: not Parquet, damaged, or a type that rows of text cannot have (named with its column).
    """
    import polars as pl

    with _on_disk(stream, local) as path:
        number = 0
        try:
            frame = pl.scan_parquet(path, glob=False)
            _check_schema(frame.collect_schema(), name)
            for batch in frame.collect_batches(chunk_size=BATCH, maintain_order=True, lazy=True):
                for row in batch.iter_rows(named=True):
                    number += 1
                    field = next((name for name, value in row.items() if _not_finite(value)), "")
                    yield number, BadRow("nan", "NaN or infinite", field) if field else _without_nulls(row)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as fault:
            # Polars panics on some damage (found by fuzzing) and says so on standard error, too.
            raise InputError(f"{name}: row {number + 1}: damaged Parquet file: {_first_line(fault)}") from None


def _first_line(fault: BaseException) -> str:
    return str(fault).strip().splitlines()[0] if str(fault).strip() else type(fault).__name__


def _check_schema(schema: Any, name: str) -> None:
    for column, kind in schema.items():
        if any(word in str(kind) for word in ("Binary", "Date", "Time", "Duration", "Object", "Decimal")):
            raise InputError(
                f"{name}: column `{column}` holds {kind}; expected text, numbers, booleans, lists or structs"
            )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _not_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_not_finite(inner) for inner in value.values())
    return isinstance(value, list) and any(_not_finite(inner) for inner in value)


@contextmanager
def _on_disk(stream: BinaryIO, local: Path | None) -> Iterator[Path]:
    if local is not None:
        yield local
        return
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        shutil.copyfileobj(stream, copy, _COPY)
        copy.flush()
        yield Path(copy.name)


def text_rows(stream: BinaryIO, name: str) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows `{"text"}` of a plain text file in UTF-8: blocks of lines, separated by empty lines."""
    number = 0
    block: list[bytes] = []
    size = 0
    for line in stream:
        if line.strip():
            block.append(line)
            size += len(line)
            if size > MAX_ROW:
                raise InputError(
                    f"{name}: row {number + 1}: larger than {MAX_ROW >> 20} MiB; expected blocks of lines separated by "
                    "empty lines"
                )
        elif block:
            number += 1
            yield number, _text_row(b"".join(block), first=number == 1)
            block, size = [], 0
    if block:
        yield number + 1, _text_row(b"".join(block), first=number == 0)


def _text_row(raw: bytes, first: bool) -> Row | BadRow:
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as fault:
        return BadRow("encoding", f"not UTF-8 at byte {fault.start + 1} of the row", "text")
    return {"text": text.removesuffix("\n").removesuffix("\r")}
