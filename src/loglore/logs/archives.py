"""Compressed files, frame after frame: gzip, bzip2, xz, zstd; a damaged one gives what precedes the damage.

Rotated logs are often several frames one behind the other, written at different times, and cut off by a full disk.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Any

# Compressed bytes given to a library at a time: what one step loses when it meets damage.
INPUT_BYTES = 64 << 10
# What the four libraries raise for damaged or truncated input.
FAULTS = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
# How compressed content begins; a file's name tells it, standard input has none.
_MAGIC = {b"\x1f\x8b": ".gz", b"BZh": ".bz2", b"\xfd7zXZ\x00": ".xz", b"(\xb5/\xfd": ".zst"}


def compression(head: bytes) -> str:
    """The suffix of files whose content begins so; "" where it is not compressed."""
    return next((suffix for mark, suffix in _MAGIC.items() if head.startswith(mark)), "")


class Limited:
    """A file that ends after some bytes, and counts what was read of it."""

    def __init__(self, raw: IO[bytes], size: int | None) -> None:
        self._raw = raw
        self._size = size
        self.done = 0

    def read(self, count: int) -> bytes:
        """The next bytes, `count` at most; none at the end."""
        if self._size is not None:
            count = min(count, max(self._size - self.done, 0))
        piece = self._raw.read(count)
        self.done += len(piece)
        return piece


class _Zstd:
    """A decompressor of one zstd frame with the interface and the errors of those in `bz2` and `lzma`."""

    def __init__(self) -> None:
        import zstandard

        self._error: type[Exception] = zstandard.ZstdError
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    def decompress(self, content: bytes) -> bytes:
        try:
            return self._frame.decompress(content)
        except self._error as fault:
            raise ValueError(str(fault)) from None

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data


FRAMES: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
    ".zst": _Zstd,
}


class Decompressed:
    """The content of a compressed file, frame after frame; what precedes a fault is given before it is raised."""

    def __init__(self, raw: Limited, suffix: str) -> None:
        self._raw = raw
        self._make = FRAMES[suffix]
        self._padding = b"\0" if suffix in (".gz", ".xz") else b""
        self._frame: Any = None
        self._input = b""
        self._fault: Exception | None = None

    def read(self, size: int) -> bytes:
        """About `size` bytes of content, more where a step gives more; none at the end.

        Raises:
            One of FAULTS: what comes next is damaged or missing.
        """
        if self._fault is not None:
            raise self._fault
        pieces: list[bytes] = []
        have = 0
        try:
            while have < size and (content := self._input or self._raw.read(INPUT_BYTES)):
                self._input = b""
                pieces.append(self._step(content))
                have += len(pieces[-1])
            if have < size and self._frame is not None:
                raise EOFError("its end is missing")
        except FAULTS as fault:
            if not have:
                raise
            self._fault = fault
        return b"".join(pieces)

    def _step(self, content: bytes) -> bytes:
        if self._frame is None:
            content = content.lstrip(self._padding) if self._padding else content
            if not content:
                return b""
            self._frame = self._make()
        piece: bytes = self._frame.decompress(content)
        if self._frame.eof:
            self._input = self._frame.unused_data
            self._frame = None
        return piece
