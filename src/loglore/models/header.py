"""The header of a GGUF file, read without loading the file: a few milliseconds where the `gguf` package takes seconds.

Layout (GGUF v2 and v3, little-endian, from llama.cpp's `docs/gguf.md`): magic `GGUF`, version u32, tensor count u64,
key count u64, then per key a string (u64 length, bytes), a type u32 and the value. Arrays are skipped, not read.
"""

import functools
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from loglore.errors import InputError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
Scalar = int | float | bool | str


def read_header(path: Path) -> dict[str, Scalar]:
    """All keys of the header whose value is a number or a string.

    Raises:
        InputError: no such file, not a GGUF file, an old version, or cut off inside the header.
    """
    return dict(_fields(path))


def context_length(path: Path) -> int:
    """The context length, in tokens, that the model was trained for.

    Raises:
        InputError: as `read_header`; or the header does not say.
    """
    for key, value in _fields(path):
        if key.endswith(".context_length"):
            return int(value)
    raise InputError(f"{path}: its header has no context_length; is it a language model?")


@functools.lru_cache(maxsize=32)
def longest_token(path: Path) -> int:
    """Bytes of the longest entry of the vocabulary, as it is written there: no token stands for more bytes of text.

    Raises:
        InputError: as `read_header`; or the file has no vocabulary.
    """
    lengths: list[int] = []

    def note(key: str, length: int) -> None:
        if key == "tokenizer.ggml.tokens":
            lengths.append(length)

    for _ in _fields(path, note):
        if lengths:
            break
    if not lengths:
        raise InputError(f"{path}: its header has no vocabulary")
    return max(lengths)


def _fields(path: Path, on_string: Callable[[str, int], None] | None = None) -> Iterator[tuple[str, Scalar]]:
    """The scalar fields; `on_string` is told the key and the length of every string in an array."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise InputError(f"{path}: not a GGUF file (it does not start with GGUF)")
        try:
            version, _, keys = _unpack(stream, "IQQ")
            if version not in (2, 3):
                raise InputError(f"{path}: GGUF version {version}; expected 2 or 3")
            for _ in range(keys):
                key = _string(stream)
                (kind,) = _unpack(stream, "I")
                if kind == ARRAY:
                    _skip_array(stream, key, on_string)
                else:
                    yield key, _string(stream) if kind == STRING else _unpack(stream, SCALARS[kind])[0]
        except (struct.error, KeyError, UnicodeDecodeError, MemoryError, OverflowError):
            raise InputError(f"{path}: its GGUF header is damaged or cut off") from None


def _unpack(stream: BinaryIO, layout: str) -> tuple[int, ...]:
    layout = "<" + layout
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))


def _string(stream: BinaryIO) -> str:
    (length,) = _unpack(stream, "Q")
    data = stream.read(length)
    if len(data) != length:
        raise struct.error("cut off")
    return data.decode("utf-8")


def _skip_array(stream: BinaryIO, key: str, on_string: Callable[[str, int], None] | None) -> None:
    kind, length = _unpack(stream, "IQ")
    if kind == STRING:
        for _ in range(length):
            (size,) = _unpack(stream, "Q")
            if on_string is not None:
                on_string(key, size)
            stream.seek(size, 1)
    else:
        stream.seek(length * struct.calcsize("<" + SCALARS[kind]), 1)
