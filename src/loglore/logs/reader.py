r"""Files to the log table: one row a line, the line number that `sed -n Np` would use, header fields as columns.

Every line of every file becomes a row, whatever its bytes: stray bytes become U+FFFD, NUL bytes stay, a `\r` before the
line's end and the codes that colour a terminal are dropped, nothing else is. The table is in memory and the header
patterns run in Polars: about a million lines a second cost about ten times the size of the text in memory.
"""

import bz2
import codecs
import gzip
import lzma
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from loglore.errors import InputError
from loglore.logs import archives, events, headers, stream

_GLOB = set("*?[")
STDIN = Path("-")

SCHEMA: dict[str, Any] = {
    "source": pl.String,
    "line": pl.Int64,
    "time": pl.Datetime("us"),
    "level": pl.String,
    "component": pl.String,
    "text": pl.String,
    "event": pl.Int64,
    "message": pl.String,
    "host": pl.String,
    "pid": pl.String,
    "layout": pl.String,
    "fields": pl.String,
}


def read_table(paths: Sequence[Path]) -> pl.DataFrame:
    """Read logs into the log table.

    Args:
        paths: files, folders (every file below, hidden ones left out), globs, or `-` for standard input. Names ending
            in gz, bz2, xz and zst are decompressed, and such content on standard input.

    Returns:
        One row a line, in the order of the paths:
        `source` (the path as given), `line` (1-based in its source), `time` (UTC, µs; see `timestamps` for zones and
        missing years; null where the line has none), `level` (one of `levels.LEVELS` or null), `component`, `text`
        (the line), `event` (first line of the event it belongs to), `message` (the text without its header), `host`,
        `pid`, `layout` (name of the header layout, or `json`, `docker`, `logfmt`, `cef`, `leef`, `w3c`; null when the
        line has no header), `fields` (what a structured line says beyond these columns: a JSON object with flat, dotted
        keys; else null).
        Lines that continue an event have no level, so counting levels counts events (in a record of two lines, as
        `java.util.logging` writes them, the second has it and not the first).

    Raises:
        InputError: a path that does not exist or cannot be read, a damaged archive, a binary file, a folder or glob
            without files.
    """
    empty = pl.DataFrame(schema={**SCHEMA, "yearless": pl.Boolean})
    frames = [_parse(split_lines(_content(path)), str(path)) for path in expand(paths)]
    return headers.place_years(pl.concat([empty, *frames]))


def table_of(lines: Sequence[str], source: str = "-") -> pl.DataFrame:
    """The log table of lines already in memory (pasted text, a chunk), numbered from 1; columns as `read_table`."""
    return headers.place_years(_parse(list(lines), source))


def expand(paths: Sequence[Path]) -> list[Path]:
    """The files behind paths, folders and globs: each once, in the order given, sorted within a folder or glob.

    Raises:
        InputError: a path that is not there, or a folder or glob without a file.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path == STDIN or path.is_file():
            found[path] = None
        elif path.is_dir():
            files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file.relative_to(path))]
            if not files:
                raise InputError(f"{path}: the folder holds no files")
            found.update(dict.fromkeys(files))
        elif path.exists():  # a pipe or a device
            found[path] = None
        elif _GLOB & set(str(path)):
            root = Path(path.anchor) if path.is_absolute() else Path()
            files = sorted(file for file in root.glob(str(path.relative_to(path.anchor))) if file.is_file())
            if not files:
                raise InputError(f"{path}: no file matches")
            found.update(dict.fromkeys(files))
        else:
            raise InputError(f"{path}: no such file or folder")
    return list(found)


def split_lines(content: bytes) -> list[str]:
    r"""Bytes to lines as `sed` counts them: `\n` ends a line, a last line may lack it.

    >>> split_lines(b"one\r\ntwo\xff\n\nlast")
    ['one', 'two�', '', 'last']
    """
    text = _decode(content)
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _decode(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")


def _content(path: Path) -> bytes:
    if path == STDIN:
        content = sys.stdin.buffer.read()
        suffix = archives.compression(content[:8])
    else:
        try:
            content = path.read_bytes()
        except OSError as fault:
            raise InputError(f"{path}: {fault.strerror or fault}") from None
        suffix = path.suffix
        if path.is_file() and (why := stream.why_not_text(path)) and why != "empty":
            raise InputError(f"{path}: {why}")
    decompress = _DECOMPRESS.get(suffix)
    if decompress is None:
        return content
    try:
        return decompress(content)
    # What the five libraries raise for damaged or truncated input; bz2 and zstd have no error class of their own here.
    except (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as fault:
        raise InputError(f"{path}: damaged or truncated {suffix} archive: {fault}") from None


def _zstd(content: bytes) -> bytes:
    import zstandard

    pieces = []
    while content:
        frame = zstandard.ZstdDecompressor().decompressobj()
        try:
            pieces.append(frame.decompress(content))
        except zstandard.ZstdError as fault:
            raise ValueError(str(fault)) from None
        if not frame.eof:
            raise EOFError("the last frame has no end")
        content = frame.unused_data
    return b"".join(pieces)


_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": _zstd,
}


# Suffixes of compressed files.
COMPRESSED = tuple(_DECOMPRESS)


def _parse(lines: list[str], source: str) -> pl.DataFrame:
    frame = headers.parse(stream.plain(pl.Series("text", lines, dtype=pl.String)))
    frame = frame.with_columns(source=pl.lit(source), line=pl.int_range(1, len(lines) + 1, dtype=pl.Int64))
    kinds = {**SCHEMA, "yearless": pl.Boolean}
    return events.join(frame).select(pl.col(name).cast(kind) for name, kind in kinds.items())


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
