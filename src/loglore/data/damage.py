"""Damage in the texts of a row: characters that were lost or decoded wrongly, control characters, `nan` for nothing.

Whole texts are looked at with operations that run at memory speed for ASCII, so a check costs about 2 ns a byte.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from loglore.data.json_rows import Row

# C0 and DEL, without tab, line feed and carriage return. Escape (0x1B) is in: colours of a terminal are no log text.
_CONTROL = bytes(code for code in [*range(32), 127] if code not in (9, 10, 13))
_CONTROL_PATTERN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
# UTF-8 read as Windows-1252: a lead byte as a letter, then continuation bytes as the signs that stand at 0x80 to 0xBF.
_SIGNS = "\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u017d\u2018\u2019\u201c"
_SIGNS += "\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e\u0178"
# The letters ä to é lead Chinese and Japanese, and also end words before `…»`: one of them alone proves nothing unless
# a character follows that no text has (U+0080 to U+009F).
_MOJIBAKE = re.compile(
    f"[\u00c2\u00c3\u00d0\u00d1][{_SIGNS}]|[\u00e2\u00e3\u00ef][{_SIGNS}]{{2}}|\u00f0[{_SIGNS}]{{3}}|"
    f"(?:[\u00e4-\u00e9][{_SIGNS}]{{2}}){{2,}}|[\u00e4-\u00e9](?:[{_SIGNS}][\u0080-\u009f]|[\u0080-\u009f][{_SIGNS}])"
)
_NOTHING = {"nan", "null", "<na>"}


class Damage(NamedTuple):
    """`kind` (`replacement`, `mojibake` or `control`), and what was found where (1-based character)."""

    kind: str
    message: str


def damage(text: str) -> Iterator[Damage]:
    r"""What is wrong with a text, each kind once, at its first place.

    >>> [found.kind for found in damage("CafÃ© \ufffd \x1b[31m")]
    ['replacement', 'mojibake', 'control']
    """
    if text.isascii():
        raw = text.encode()
        if len(raw.translate(None, _CONTROL)) == len(raw):
            return
    elif (place := text.find("\ufffd")) >= 0:
        yield Damage("replacement", f"U+FFFD at character {place + 1}: a character was lost before")
    for match in _MOJIBAKE.finditer(text):
        meant = _meant(match[0])
        if meant:
            place = match.start() + 1
            yield Damage("mojibake", f"{match[0]!r} at character {place}: {meant!r} in UTF-8, decoded as Windows-1252?")
            break
    if control := _CONTROL_PATTERN.search(text):
        yield Damage("control", f"control character U+{ord(control[0]):04X} at character {control.start() + 1}")


def _meant(signs: str) -> str:
    raw = b"".join(_byte(sign) for sign in signs)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _byte(sign: str) -> bytes:
    try:
        return sign.encode("cp1252")
    except UnicodeEncodeError:
        return sign.encode("latin-1", errors="replace")


def is_nothing(text: str) -> bool:
    """Whether a cell is what a table library writes for a missing value (`nan`, `null`, `<NA>`)."""
    return len(text) <= 8 and text.strip().lower() in _NOTHING


def texts(row: Row) -> Iterator[tuple[str, str]]:
    """(field, text) of every text of a row, `meta` left out; a turn's field is `conversations[2].value`."""
    for name, value in row.items():
        if isinstance(value, str):
            yield name, value
        elif name == "meta":
            continue
        elif isinstance(value, dict):
            yield from ((f"{name}.{key}", text) for key, text in value.items() if isinstance(text, str))
        elif isinstance(value, list):
            for number, turn in enumerate(value, 1):
                if isinstance(turn, dict):
                    yield from (
                        (f"{name}[{number}].{key}", text) for key, text in turn.items() if isinstance(text, str)
                    )


def said(messages: Sequence[Mapping[str, Any]]) -> str:
    """All turns of a conversation as one text."""
    return "\n".join(message["content"] for message in messages)
