"""Rows to files, atomically: JSON Lines, JSON, CSV, Parquet, text; with gzip, Zstandard or in a ZIP; local or `s3://`.

What would not come back equal is refused with the row and field: nested fields in CSV, texts with empty lines in a text
file, fields of changing types in Parquet. Every writer streams; Parquet goes through a temporary JSON Lines file,
because its schema has to be known before the first row.
"""

import contextlib
import csv
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import orjson

from loglore.atomic import replacing
from loglore.data import sources
from loglore.data.json_rows import Row
from loglore.errors import InputError

PACKED = (".gz", ".zst", ".zip")


def write_rows(path: Path | str, rows: Iterable[Row]) -> int:
    """Replace `path` by these rows, in the kind of file that its name says; returns how many there were.

    Args:
        path: name ending in .jsonl, .jsonlines, .json, .csv, .parquet or .txt, then .gz, .zst or .zip if packed
            (`rows.zip` holds `rows.jsonl`); a local path or `s3://bucket/key`.
        rows: written as they come; nothing appears at `path` when one raises.

    Raises:
        InputError: a name that says no kind, or a row that this kind cannot hold without loss; names row and field.
    """
    with target(path) as partial:
        return write_into(partial, path, rows)


def write_into(partial: Path, path: Path | str, rows: Iterable[Row]) -> int:
    """Write the file that will be `path` to `partial` (from `target`), for several files that appear together."""
    kind, packing = kind_of(path)
    with partial.open("wb") as raw, _packed(raw, packing, path) as stream:
        counted = _Count(rows)
        WRITERS[kind](stream, counted, str(path))
    return counted.count


def kind_of(path: Path | str) -> tuple[str, str]:
    """(kind, packing) that a name says: kind as `.jsonl`, packing as `.gz` or empty.

    Raises:
        InputError: the name says none.
    """
    name = PurePosixPath(str(path))
    packing = name.suffix.lower() if name.suffix.lower() in PACKED else ""
    kind = (name.with_suffix("") if packing else name).suffix.lower()
    if packing == ".zip" and kind not in WRITERS:
        kind = ".jsonl"
    if kind not in WRITERS:
        raise InputError(
            f"{path}: cannot tell what to write; expected a name ending in {', '.join(WRITERS)}, then .gz, .zst, .zip"
        )
    return kind, packing


class _Count:
    """Rows, counted as they pass."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            yield row


@contextlib.contextmanager
def target(path: Path | str) -> Iterator[Path]:
    """Yield a local path to write to, which takes the place of `path` (local or S3) when the block ends well."""
    kind_of(path)
    if not str(path).startswith(sources.S3):
        with replacing(Path(path)) as partial:
            yield partial
        return
    with tempfile.TemporaryDirectory() as folder, sources.s3_errors(str(path)):
        partial = Path(folder) / PurePosixPath(str(path)).name
        yield partial
        # An object appears whole or not at all: S3 replaces it when the upload is complete.
        sources.s3().put_file(str(partial), str(path).removeprefix(sources.S3))


@contextlib.contextmanager
def _packed(raw: BinaryIO, packing: str, path: Path | str) -> Iterator[BinaryIO]:
    if packing == ".gz":
        # No time in the header: the same rows give the same bytes.
        with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as stream:
            yield cast(BinaryIO, stream)
    elif packing == ".zst":
        import zstandard

        with zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as packed:
            yield cast(BinaryIO, packed)
    elif packing == ".zip":
        kind, _ = kind_of(path)
        stem = PurePosixPath(str(path)).with_suffix("")
        name = stem.name if stem.suffix.lower() == kind else f"{stem.name}{kind}"
        member = zipfile.ZipInfo(name)
        member.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(raw, "w") as archive, archive.open(member, "w", force_zip64=True) as inner:
            yield cast(BinaryIO, inner)
    else:
        yield raw


def _lines(stream: BinaryIO, rows: Iterable[Row], name: str) -> None:
    for row in rows:
        stream.write(dumped(row) + b"\n")


def _array(stream: BinaryIO, rows: Iterable[Row], name: str) -> None:
    between = b"[\n"
    for row in rows:
        stream.write(between + dumped(row))
        between = b",\n"
    stream.write(b"[]\n" if between == b"[\n" else b"\n]\n")


def dumped(row: Row, sort_keys: bool = False) -> bytes:
    """A row as JSON in UTF-8, in one line."""
    try:
        return orjson.dumps(row, option=orjson.OPT_SORT_KEYS if sort_keys else None)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"), sort_keys=sort_keys).encode("utf-8")


def _csv(stream: BinaryIO, rows: Iterable[Row], name: str) -> None:
    text = io.TextIOWrapper(cast(BinaryIO, _Open(stream)), encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    header: list[str] = []
    for number, row in enumerate(rows, 1):
        if number == 1:
            header = list(row)
            writer.writerow(header)
        if row.keys() != set(header):
            different = ", ".join(sorted(set(header) ^ row.keys()))
            raise InputError(
                f"{name}: row {number}: `{different}`: CSV needs the same fields in every row; write .jsonl or .parquet"
            )
        writer.writerow([_cell(row[field], field, number, name) for field in header])
    text.detach()


class _Open(io.RawIOBase):
    """A stream that a text layer may write to but not close."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._stream.write(bytes(data))
        return len(data)


def _cell(value: Any, field: str, number: int, name: str) -> str:
    if field == "meta" and isinstance(value, dict) and value:
        return json.dumps(value, ensure_ascii=False)
    if field == "meta" or not isinstance(value, str):
        raise InputError(
            f"{name}: row {number}: `{field}`: CSV holds text, found {type(value).__name__}; write .jsonl or .parquet"
        )
    return value


def _text(stream: BinaryIO, rows: Iterable[Row], name: str) -> None:
    for number, row in enumerate(rows, 1):
        text = row.get("text")
        if list(row) != ["text"] or not isinstance(text, str):
            raise InputError(
                f"{name}: row {number}: a text file holds corpus rows, only `text`; found {', '.join(row)}"
            )
        lines = text.split("\n")
        if not all(line.strip() for line in lines) or text.endswith("\r"):
            raise InputError(
                f"{name}: row {number}: `text`: has an empty line or ends with a line end, where a text file "
                "would end the row; write .jsonl"
            )
        stream.write((b"\n" if number > 1 else b"") + text.encode("utf-8") + b"\n")


def _parquet(stream: BinaryIO, rows: Iterable[Row], name: str) -> None:
    import polars as pl

    with tempfile.TemporaryDirectory() as folder:
        lines, table = Path(folder) / "rows.jsonl", Path(folder) / "rows.parquet"
        with lines.open("wb") as raw:
            _lines(raw, _parquet_rows(rows, name), name)
        if not lines.stat().st_size:
            raise InputError(f"{name}: no rows to write; Parquet needs their fields")
        try:
            pl.scan_ndjson(lines, infer_schema_length=None).sink_parquet(table, compression="zstd")
        except pl.exceptions.PolarsError as fault:
            raise InputError(f"{name}: cannot be Parquet: {str(fault).splitlines()[0]}; write .jsonl") from None
        with table.open("rb") as written:
            while block := written.read(1 << 22):
                stream.write(block)


def _parquet_rows(rows: Iterable[Row], name: str) -> Iterator[Row]:
    """Rows whose fields keep one type: Parquet would turn the others into text."""
    kinds: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        for path, kind in _kinds("", row):
            if kinds.setdefault(path, kind) != kind:
                raise InputError(
                    f"{name}: row {number}: `{path}`: {kind}, but {kinds[path]} in an earlier row; Parquet needs one "
                    "type. Write .jsonl"
                )
        yield row


def _kinds(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Path and type of everything in a row; null has no type, because it is the same as a missing field."""
    if isinstance(value, dict):
        if path:
            yield path, "an object"
        if path and not value:
            yield f"{path}.*", "an empty object"
        for key, inner in value.items():
            yield from _kinds(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list):
        yield path, "a list"
        for inner in value:
            yield from _kinds(f"{path}[]", inner)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield path, "an integer beyond 64 bits"
    elif value is not None:
        yield path, type(value).__name__


WRITERS = {
    ".jsonl": _lines,
    ".jsonlines": _lines,
    ".json": _array,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _text,
}
