"""Bytes of logs of any size, in blocks of whole lines: files, compressed files, UTF-16, standard input.

A block holds some megabytes of text, however long the log, so memory stays flat; the price is that what concerns a
whole log (its layouts, its year) has to be found in a sample or put right afterwards. Lines are those of
`reader.split_lines`, with the numbers that `sed -n Np` uses. A truncated or damaged archive gives the lines before the
damage; `Stream.fault` then says what happened.
"""

import codecs
import hashlib
import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from loglore.errors import InputError
from loglore.logs.archives import FAULTS, FRAMES, Decompressed, Limited, compression
from loglore.logs.layouts import TWO_LINES, opening

BLOCK_BYTES = 8 << 20
HEAD_BYTES = 64 << 10
# A line longer than this is cut, so that one endless line cannot fill the memory; `Stream.cut` counts them.
LONGEST_LINE = 16 << 20
# Share of NUL bytes, or of other control characters, from which on a file counts as binary.
BINARY_SHARE = 0.1
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b\b")) + b"\x7f"
_EMPTY = (b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The first line of a record of two is in one block with the second, which has its time from it.
_FIRST_OF_TWO = re.compile(opening(TWO_LINES[0]))
_LONGEST_FIRST = 1000


# What programs write to colour a terminal (SGR), and to clear what is right of it, as `grep --color` does.
_COLOURS = r"\x1b\[[0-9;:]*[mK]"


def plain(lines: pl.Series) -> pl.Series:
    """Lines as a person sees them: without a carriage return at their end and without colours."""
    if lines.str.contains("\x1b[", literal=True).any():
        lines = lines.str.replace_all(_COLOURS, "")
    return lines.str.strip_suffix("\r")


@dataclass(frozen=True)
class Fingerprint:
    """What tells one state of a file from another.

    size, mtime_ns, inode: as the system says. head_hash: sha256 of the first `head` bytes; tail_hash: of as many
    before byte `size`.
    """

    size: int
    mtime_ns: int
    inode: int
    head: int
    head_hash: str
    tail_hash: str


@dataclass(frozen=True)
class Block:
    """Consecutive whole lines.

    text: the lines, joined by newlines. first: number of the first one. count: how many. end: bytes of (decompressed)
    content up to the end of the block. open: whether its last line has no line end yet.
    """

    text: str
    first: int
    end: int
    open: bool

    @property
    def count(self) -> int:
        """Number of lines, at least one."""
        return self.text.count("\n") + 1

    def lines(self) -> pl.Series:
        """The lines as the log table has them: `plain`, cut at `LONGEST_LINE` characters."""
        lines = pl.Series("text", self.text.split("\n"), dtype=pl.String)
        if "\r" in self.text or "\x1b[" in self.text:
            lines = plain(lines)
        return lines.str.head(LONGEST_LINE) if len(self.text) > LONGEST_LINE else lines


class Stream:
    """The lines of one file, block by block.

    Args:
        path: the file; its suffix tells the compression.
        offset, line: where to start: bytes of content, and the number of the line that begins there.
        block_bytes: content in a block, about.
        size: read no more than this many bytes (of the file, not of its content); what a growing file gets later
            belongs to the next reading.

    Attributes:
        fault: what stopped the reading before the end of the file; "" when nothing did.
        cut: how many lines were longer than `LONGEST_LINE` and cut.
        on_read: called with the bytes of the file read so far, from the offset on.
    """

    def __init__(
        self, path: Path, offset: int = 0, line: int = 1, block_bytes: int = BLOCK_BYTES, size: int | None = None
    ) -> None:
        self.path = path
        self.fault = ""
        self.cut = 0
        self.on_read: Callable[[int], None] = lambda done: None
        self.size = size
        self._offset = offset
        self._line = line
        self._block_bytes = block_bytes

    def again(self) -> "Stream":
        """The same reading from its start."""
        return Stream(self.path, self._offset, self._line, self._block_bytes, self.size)

    def blocks(self) -> Iterator[Block]:
        """The blocks in order.

        Raises:
            InputError: the file cannot be opened or read.
        """
        try:
            with closing(self.pieces()) as pieces:
                yield from self._assemble(pieces)
        except OSError as fault:
            raise InputError(f"{self.path}: {fault.strerror or fault}") from None

    def pieces(self) -> Generator[bytes, None, None]:
        """The content from the offset on, decompressed, in pieces of about a block."""
        with self.path.open("rb") as raw:
            limited = Limited(raw, self.size)
            if self.path.suffix not in FRAMES:
                raw.seek(self._offset)
                limited.done = self._offset
                yield from self._plain(limited)
                return
            skip = self._offset
            for piece in self._decompressed(limited):
                kept = piece[skip:]
                skip -= len(piece) - len(kept)
                if kept:
                    yield kept

    def _plain(self, raw: Limited) -> Iterator[bytes]:
        while piece := raw.read(self._block_bytes):
            self.on_read(raw.done - self._offset)
            yield piece
        if self.size is not None and raw.done < self.size:
            self.fault = f"it shrank from {self.size:,} to {raw.done:,} bytes while it was read"

    def _decompressed(self, raw: Limited) -> Iterator[bytes]:
        content = Decompressed(raw, self.path.suffix)
        while True:
            try:
                piece = content.read(self._block_bytes)
            except FAULTS as fault:
                self.fault = f"damaged or truncated {self.path.suffix} archive: {fault}"
                return
            self.on_read(raw.done)
            if not piece:
                return
            yield piece

    def _assemble(self, pieces: Iterator[bytes]) -> Iterator[Block]:
        first = next(pieces, b"")
        while 0 < len(first) < 3 and (more := next(pieces, b"")):
            first += more
        if self._offset == 0 and first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield from self._utf16(first, pieces)
            return
        start = len(codecs.BOM_UTF8) if self._offset == 0 and first.startswith(codecs.BOM_UTF8) else 0
        line, end, rest = self._line, self._offset + start, _Rest()
        piece: bytes | None = first[start:]  # empty when the first piece was the mark alone
        while piece is not None:
            border = piece.rfind(b"\n") + 1
            if border:
                content = rest.take() + piece[:border]
                whole = _without_first_of_two(content)
                rest.add(content[whole:])
                end += whole + rest.dropped
                rest.dropped = 0
                if whole:
                    block = self._block(content[: whole - 1].decode("utf-8", errors="replace"), line, end, open=False)
                    yield block
                    line += block.count
            rest.add(piece[border:])
            piece = next(pieces, None)
        if rest.size:
            content = rest.take()
            text = content.decode("utf-8", errors="replace").removesuffix("\n")
            yield self._block(text, line, end + len(content) + rest.dropped, open=True)

    def _utf16(self, first: bytes, pieces: Iterator[bytes]) -> Iterator[Block]:
        """Blocks of UTF-16; a follower cannot start in the middle of it, so `end` is the whole content read."""
        decoder = codecs.getincrementaldecoder("utf-16")(errors="replace")
        line, end, rest = self._line, 0, ""
        piece: bytes | None = first
        while piece is not None:
            end += len(piece)
            following = next(pieces, None)
            text = rest + decoder.decode(piece, final=following is None)
            lines, border, rest = text.rpartition("\n")
            if border:
                block = self._block(lines, line, end, open=False)
                yield block
                line += block.count
            piece = following
        if rest:
            yield self._block(rest, line, end, open=True)

    def _block(self, text: str, first: int, end: int, *, open: bool) -> Block:
        if len(text) > LONGEST_LINE:
            self.cut += sum(len(line) > LONGEST_LINE for line in text.split("\n"))
        return Block(text, first, end, open)


def _without_first_of_two(content: bytes) -> int:
    """How many bytes of whole lines make a block: all, or all but the last line when its record is of two."""
    start = content.rfind(b"\n", 0, len(content) - 1) + 1
    if len(content) - start > _LONGEST_FIRST:
        return len(content)
    last = content[start:-1].decode("utf-8", errors="replace").removesuffix("\r")
    return start if _FIRST_OF_TWO.match(last) else len(content)


class _Rest:
    """The beginning of a line whose end was not read yet; beyond `LONGEST_LINE` only counted."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0
        self.dropped = 0

    def add(self, piece: bytes) -> None:
        if self.size > 4 * LONGEST_LINE:
            self.dropped += len(piece)
        elif piece:
            self._pieces.append(piece)
            self.size += len(piece)

    def take(self) -> bytes:
        content = b"".join(self._pieces)
        self._pieces, self.size = [], 0
        return content


def fingerprint(path: Path, head: int = HEAD_BYTES, tail_at: int | None = None) -> Fingerprint:
    """The state of a file.

    Args:
        path: of the file.
        head: bytes at the beginning and at the end that are hashed (fewer when it is shorter).
        tail_at: where the end is looked for; None takes the end of the file. With the size of an earlier state, a file
            that only grew since has the hashes of that state.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as raw:
            stat = os.fstat(raw.fileno())
            end = stat.st_size if tail_at is None else tail_at
            first = raw.read(min(head, end))
            raw.seek(max(end - head, 0))
            last = raw.read(min(head, end))
    except OSError as fault:
        raise InputError(f"{path}: {fault.strerror or fault}") from None
    hashes = [hashlib.sha256(content).hexdigest() for content in (first, last)]
    return Fingerprint(stat.st_size, stat.st_mtime_ns, stat.st_ino, len(first), *hashes)


def follows(path: Path) -> bool:
    """Whether a reader can go on in the middle of the file: not in compressed ones, nor in UTF-16."""
    with path.open("rb") as raw:
        return path.suffix not in FRAMES and not raw.read(2).startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


def why_not_text(path: Path) -> str:
    """Why a file is no log: "" when it may be one, else what is wrong with it, in words that follow its name."""
    stream = Stream(path, block_bytes=HEAD_BYTES)
    with closing(stream.pieces()) as pieces:
        try:
            head = next(pieces, b"")[:HEAD_BYTES]
        except OSError as fault:
            return fault.strerror or str(fault)
    if stream.fault and not head:
        return stream.fault
    if head in _EMPTY:
        return "empty"
    if suffix := compression(head):
        return f"compressed: a name that ends in {suffix} is needed to read it"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ""
    nul = head.count(0) / len(head)
    if nul > BINARY_SHARE:
        return f"binary: {nul:.0%} of its first bytes are NUL (UTF-16 needs its byte order mark)"
    control = (len(head) - len(head.translate(None, _CONTROL))) / len(head)
    return f"binary: {control:.0%} of its first bytes are control characters" if control > BINARY_SHARE else ""
