"""The bytes of one file of rows: opened, or a part of it, decompressed while they are read, and counted.

Damage is told by what the libraries raise, and becomes one line that names the file.
"""

import errno
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from loglore.errors import InputError

Opener = Callable[[], AbstractContextManager[Any]]

Kind = Literal["JSON", "CSV", "Parquet", "text"]

# What zipfile raises for archives with wrong offsets, sizes, names and flags (found by fuzzing).
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    EOFError,
    RuntimeError,
    ValueError,
    IndexError,
    OverflowError,
    struct.error,
    OSError,
)


def is_damage(fault: BaseException) -> bool:
    """Whether an error comes from the bytes; of those of the operating system only a seek to nowhere does."""
    return not isinstance(fault, OSError) or fault.errno in (None, errno.EINVAL)


@dataclass(frozen=True)
class DataFile:
    """One file of rows: `name` for the user (`archive.zip/member` inside one), `kind`, `compression`, stored bytes.

    open: opens the stored bytes, compressed as they are. local: the path when it is a plain local file.
    """

    name: str
    kind: Kind
    compression: Literal["", "gz", "zst"]
    size: int
    open: Opener
    local: Path | None = None

    def __str__(self) -> str:
        packed = {"": "", "gz": ", gzip", "zst": ", Zstandard"}[self.compression]
        return f"{self.name} ({self.kind}{packed}, {self.size:,} bytes)"


@dataclass(frozen=True)
class Part:
    """A part of an uncompressed file: `size` bytes from `start` on, where the line with number `first` begins."""

    start: int
    size: int
    first: int


@contextmanager
def opened(
    file: DataFile, on_bytes: Callable[[int], None] | None = None, part: Part | None = None
) -> Iterator[BinaryIO]:
    """Open a file, or a part of it, for reading, decompressed; `on_bytes` is told how many stored bytes were read.

    Raises:
        InputError: the stream turns out to be damaged while it is read; names the file.
    """
    try:
        with file.open() as whole:
            raw = whole if part is None else _of_part(whole, part)
            stream = io.BufferedReader(_Counted(raw, on_bytes), 1 << 20) if on_bytes else raw
            if file.compression == "gz":
                stream = gzip.GzipFile(fileobj=stream)
            elif file.compression == "zst":
                stream = io.BufferedReader(_Unzstandard(stream), 1 << 20)
            yield stream
    except (*DAMAGE, _ZstandardError) as fault:
        if isinstance(fault, InputError) or not is_damage(fault):
            raise
        kind = {"": "file", "gz": "gzip file", "zst": "Zstandard file"}[file.compression]
        raise InputError(f"{file.name}: damaged {kind}: {fault}") from None


def _of_part(stream: BinaryIO, part: Part) -> BinaryIO:
    stream.seek(part.start)
    return io.BufferedReader(_Limited(stream, part.size), 1 << 20)


class _Limited(io.RawIOBase):
    """The next bytes of a stream, so many."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Counted(io.RawIOBase):
    """A stream that tells how much was read from it."""

    def __init__(self, stream: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._on_bytes(len(data))
        return len(data)


class _ZstandardError(Exception):
    """A Zstandard stream that is damaged or cut off."""


class _Unzstandard(io.RawIOBase):
    """Zstandard frames, decompressed; the library's own reader takes a stream that is cut off for a whole one."""

    def __init__(self, stream: BinaryIO) -> None:
        import zstandard

        self._library = zstandard
        self._stream = stream
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._rest = b""
        self._started = False
        self._data = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._data:
            block = self._rest or self._stream.read(1 << 18)
            if not block:
                if self._started:
                    raise _ZstandardError("it is cut off")
                return 0
            try:
                self._data = self._frame.decompress(block)
            except self._library.ZstdError as fault:
                raise _ZstandardError(fault) from None
            self._rest, self._started = b"", True
            if self._frame.eof:
                self._rest, self._started = self._frame.unused_data, False
                self._frame = self._library.ZstdDecompressor().decompressobj()
        data, self._data = self._data[: len(buffer)], self._data[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
