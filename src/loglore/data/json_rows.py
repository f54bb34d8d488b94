"""JSON to rows, streamed: JSON Lines, or one array of objects of any size, also in a single line.

An array is cut at the braces of its top level and each object goes through orjson by itself, so memory is one block
plus one row however large the file is: 170 MB/s at 50 MB of memory on one core, arrays and lines alike. The cut is made
of whole-block NumPy operations on the few bytes that matter (quotes, braces, brackets). ijson's C backend reads 600
MB/s on the same array, and was not taken: it keeps the last of two equal keys without a word, and cannot go on after a
bad row.

Numbers keep their value: an integer beyond 64 bits comes back as a Python int. Two equal keys in one object are a
fault: JSON leaves their meaning open, and one of the values would silently be lost.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson

from loglore.errors import InputError

Row = dict[str, Any]

BLOCK = 1 << 22  # bytes read at once
MAX_ROW = 1 << 26  # bytes of one row: 64 MiB is beyond any model's context
_BLANK = b" \t\r\n"
_MATTERS = bytes(byte in b'"{}[]' for byte in range(256))
_STEP = np.array([(byte in b"{[") - (byte in b"}]") for byte in range(256)], dtype=np.int8)
_BLANKS = np.array([byte in _BLANK for byte in range(256)])
_SPACED_KEY = re.compile(rb'"[ \t\r\n]+:')
_TYPES = {ord("["): "list", ord('"'): "str", ord("t"): "bool", ord("f"): "bool", ord("n"): "null"}


@dataclass(frozen=True, slots=True)
class BadRow:
    """What stands in place of a row that cannot be read: `kind` and `message` of its fault."""

    kind: str
    message: str
    field: str = ""


class _InexactError(Exception):
    """A number that orjson rounds."""


def rows(stream: BinaryIO, name: str) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows of a JSON array of objects or of JSON Lines, told apart by the first character.

    Args:
        stream: bytes in UTF-8, with or without byte order mark.
        name: of the file, for errors.

    Yields:
        (row number, row): 1-based position in an array, or line number (empty lines are counted and left out).

    Raises:
        InputError: the file is not UTF-8 at all, an array breaks off or goes on after its end, or a row is larger
            than 64 MiB.
    """
    head = stream.read(BLOCK)
    _check_encoding(head, name)
    head = head.removeprefix(b"\xef\xbb\xbf")
    while head and not head.strip(_BLANK):
        more = stream.read(BLOCK)
        if not more:
            return
        # Row numbers of JSON Lines count empty lines, so the blanks stay while they may be lines.
        head += more
    if head.lstrip(_BLANK)[:1] == b"[":
        yield from _array(stream, head.lstrip(_BLANK)[1:], name)
    else:
        yield from lines(stream, head, name)


def line_starts(stream: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Where JSON Lines may be cut: (offset, number of the line that begins there), about every `size` bytes.

    Nothing for what is no JSON Lines, as `rows` tells it.
    """
    head = stream.read(BLOCK)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    if not text or text[:1] == b"[" or head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4]:
        return
    offset, lines_before, wanted = 0, 0, size
    block = head
    while block:
        after = 0
        while end := block.find(b"\n", max(wanted - offset - 1, after)) + 1:
            lines_before += block.count(b"\n", after, end)
            after = end
            yield offset + end, lines_before + 1
            wanted = offset + end + size
        lines_before += block.count(b"\n", after)
        offset += len(block)
        block = stream.read(BLOCK)


def _check_encoding(head: bytes, name: str) -> None:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in head[:4]:
        raise InputError(
            f"{name}: UTF-16 or UTF-32 text; expected UTF-8. Convert it: iconv -f UTF-16 -t UTF-8 IN > OUT"
        )


def lines(stream: BinaryIO, head: bytes, name: str, first: int = 1) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows of JSON Lines: those of `head`, which was read already, and of the rest of the stream.

    Args:
        stream: bytes, from the beginning of a line on.
        head: what stands before them.
        name: of the file, for errors.
        first: number of the first line.

    Raises:
        InputError: a row larger than 64 MiB.
    """
    number = first - 1
    more = head or stream.read(BLOCK)
    parts = [more]
    while more:
        if b"\n" in more:
            whole = b"".join(parts).split(b"\n")
            parts = [whole.pop()]
            for line in whole:
                number += 1
                if len(line) > MAX_ROW:
                    raise _too_large(name, number)
                if line[:1] == b"{" or line.strip(_BLANK):
                    yield number, _hinted(parse(line)) if number == 1 else parse(line)
        elif sum(map(len, parts)) > MAX_ROW:
            raise _too_large(name, number + 1)
        more = stream.read(BLOCK)
        parts.append(more)
    rest = b"".join(parts)
    if len(rest) > MAX_ROW:
        raise _too_large(name, number + 1)
    if rest.strip(_BLANK):
        yield number + 1, parse(rest)


def _hinted(row: Row | BadRow) -> Row | BadRow:
    """A first line that is no JSON may be the start of an object over many lines: say what was expected."""
    if not isinstance(row, BadRow) or row.kind != "bad-json":
        return row
    return replace(row, message=f"{row.message}; expected one array of objects, or one object a line")


def _array(stream: BinaryIO, buffer: bytes, name: str) -> Iterator[tuple[int, Row | BadRow]]:
    number = 0
    while True:
        cut = _cut(buffer)
        place = 0
        for start, end, keys in zip(cut.starts, cut.ends, cut.keys, strict=True):
            for bad in _gap(buffer[place:start], first=number == 0):
                number += 1
                yield number, bad
            number += 1
            yield number, parse(buffer[start:end], keys)
            place = end
        if cut.closed >= 0:
            for bad in _last_gap(buffer[place : cut.closed], first=number == 0):
                number += 1
                yield number, bad
            if buffer[cut.closed] != ord("]"):
                raise InputError(f"{name}: after row {number}: not JSON: expected ] or a row, found }}")
            _only_blanks(stream, buffer[cut.closed + 1 :], name, number)
            return
        buffer = buffer[place:]
        if len(buffer) > MAX_ROW:
            raise _too_large(name, number + 1)
        # As much again as is left over: a large row is looked at a bounded number of times.
        more = stream.read(max(BLOCK, len(buffer)))
        if not more:
            raise InputError(f"{name}: row {number + 1}: the file ends inside the array; is it cut off?")
        buffer += more


@dataclass(frozen=True, slots=True)
class _Cut:
    """Offsets in a block: `starts` and `ends` of whole objects or lists, `closed` of the bracket that ends the array.

    keys: how many keys each of them holds, at all depths; closed: -1 when the array goes on.
    """

    starts: list[int]
    ends: list[int]
    keys: list[int]
    closed: int


def _cut(block: bytes) -> _Cut:
    """Find the top-level elements of a block that starts between two elements of an array.

    >>> _cut(b' {"a": "}"}, {"b": [{"c": 1}]}, {"c"')
    _Cut(starts=[1, 13], ends=[11, 30], keys=[1, 2], closed=-1)
    """
    text = np.frombuffer(block, dtype=np.uint8)
    places = np.flatnonzero(np.frombuffer(block.translate(_MATTERS), dtype=np.bool_))
    found = text[places]
    quotes = found == 34
    quotes[_escaped(text, places, quotes)] = False
    inside = np.logical_xor.accumulate(quotes)
    steps = _STEP[found]
    steps[inside] = 0
    depth = np.cumsum(steps, dtype=np.int32)
    beyond = np.flatnonzero(depth < 0)
    last = int(beyond[0]) if len(beyond) else len(places)
    ends = np.flatnonzero((steps[:last] == -1) & (depth[:last] == 0))
    starts = np.flatnonzero((steps[:last] == 1) & (depth[:last] == 1))[: len(ends)]
    ending = np.flatnonzero(quotes & ~inside)
    keys = np.searchsorted(ending[_before_colon(text, places[ending])], np.stack([starts, ends]))
    closed = int(places[last]) if last < len(places) else -1
    return _Cut(places[starts].tolist(), (places[ends] + 1).tolist(), (keys[1] - keys[0]).tolist(), closed)


def _before_colon(text: npt.NDArray[np.uint8], quotes: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which closing quotes end a key: those before a colon, blanks between them allowed."""
    following = np.minimum(quotes + 1, len(text) - 1)
    going = np.arange(len(quotes))
    while len(going):
        going = going[_BLANKS[text[following[going]]] & (following[going] < len(text) - 1)]
        following[going] += 1
    found: npt.NDArray[np.bool_] = text[following] == ord(":")
    return found


def _escaped(
    text: npt.NDArray[np.uint8], places: npt.NDArray[np.intp], quotes: npt.NDArray[np.bool_]
) -> npt.NDArray[np.intp]:
    """Which of the places are quotes after an odd number of backslashes, so that they are part of a string."""
    suspects = np.flatnonzero(quotes & (text[places - 1] == 92) & (places > 0))
    count = np.ones(len(suspects), dtype=np.int64)
    going = np.arange(len(suspects))
    while len(going):
        before = places[suspects[going]] - 1 - count[going]
        going = going[(before >= 0) & (text[before] == 92)]
        count[going] += 1
    odd: npt.NDArray[np.intp] = suspects[(count & 1) == 1]
    return odd


def _gap(gap: bytes, first: bool) -> Iterator[BadRow]:
    """Faults in the text between two objects, where one comma is expected; scalars there are rows of a wrong type."""
    parts = [part.strip(_BLANK) for part in gap.split(b",")]
    if first:
        parts.insert(0, b"")
    if parts[0] or len(parts) < 2 or parts[-1]:
        yield BadRow("bad-json", f"not JSON: expected a comma before this row, found {_shown(gap)}")
        return
    for part in parts[1:-1]:
        yield _no_object(part)


def _last_gap(gap: bytes, first: bool) -> Iterator[BadRow]:
    parts = [part.strip(_BLANK) for part in gap.split(b",")]
    if first and parts == [b""]:
        return
    if not first and parts[0]:
        yield BadRow("bad-json", f"not JSON: expected a comma or the end of the array, found {_shown(gap)}")
        return
    for part in parts if first else parts[1:]:
        yield _no_object(part)


def _no_object(part: bytes) -> BadRow:
    if not part:
        return BadRow("bad-json", "not JSON: nothing between two commas or after the last one")
    found = _TYPES.get(part[0], "a number" if part[:1] in b"-0123456789" else _shown(part))
    return BadRow("wrong-type", f"expected an object, found {found}")


def _only_blanks(stream: BinaryIO, rest: bytes, name: str, number: int) -> None:
    while not rest.strip(_BLANK):
        rest = stream.read(BLOCK)
        if not rest:
            return
    raise InputError(f"{name}: after row {number}: expected nothing after the end of the array, found {_shown(rest)}")


def parse(raw: bytes, written: int | None = None) -> Row | BadRow:
    """One row from the bytes of one JSON object; `written` is the number of its keys if known (`_Cut.keys`)."""
    try:
        row = orjson.loads(raw)
        if type(row) is not dict:
            return BadRow("wrong-type", f"expected an object, found {type(row).__name__}")
        if (_written_keys(raw) if written is None else written) == _keys(row):
            return row
        exact: Row = json.loads(raw, object_pairs_hook=_unique)
    except orjson.JSONDecodeError as fault:
        return _broken(raw, fault)
    except _InexactError:
        return _exactly(raw)
    except _TwiceError as fault:
        return BadRow("duplicate-key", f"the key {fault.args[0]!r} stands twice in one object", str(fault.args[0]))
    except RecursionError:
        return BadRow("bad-json", "nested too deeply")
    return exact


def _written_keys(raw: bytes) -> int:
    r"""How many keys stand in the text of a row, or -1 where only a parser can tell.

    A key ends in `":`. So does a text that holds `\":`, which is subtracted; a backslash before that, or blanks between
    quote and colon, are for the parser.
    """
    count = raw.count(b'":')
    escaped = raw.count(b'\\":')
    if (escaped and b'\\\\":' in raw) or _SPACED_KEY.search(raw):
        return -1
    return count - escaped


class _TwiceError(Exception):
    """A key that stands twice in one object."""


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return row


def _exactly(raw: bytes) -> Row | BadRow:
    try:
        row: Row = json.loads(raw, object_pairs_hook=_unique, parse_float=_finite)
    except _TwiceError as fault:
        return BadRow("duplicate-key", f"the key {fault.args[0]!r} stands twice in one object", str(fault.args[0]))
    except (ValueError, RecursionError) as fault:  # more digits than Python converts (sys.set_int_max_str_digits)
        return BadRow("bad-json", f"not JSON that can be kept exactly: {fault}")
    return row


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is beyond the range of numbers")
    return value


def _keys(value: Any) -> int:
    kind = type(value)
    if kind is dict:
        count = len(value)
        for inner in value.values():
            if type(inner) is not str:
                count += _keys(inner)
        return count
    if kind is list:
        return sum(_keys(inner) for inner in value if type(inner) is not str)
    if kind is float and not -9.2e18 < value < 1.8e19:
        raise _InexactError
    return 0


def _broken(raw: bytes, fault: orjson.JSONDecodeError) -> BadRow:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as damage:
        return BadRow("encoding", f"not UTF-8 at byte {damage.start + 1} of the row: {_shown(raw[damage.start :])}")
    return BadRow("bad-json", f"not JSON: {fault.msg} at character {fault.pos + 1} of the row")


def _too_large(name: str, number: int) -> InputError:
    return InputError(
        f"{name}: row {number}: larger than {MAX_ROW >> 20} MiB; is this one row, or a file of another kind?"
    )


def _shown(raw: bytes) -> str:
    text = raw.strip(_BLANK)[:20].decode("utf-8", errors="backslashreplace")
    return repr(text) if text else "nothing"
