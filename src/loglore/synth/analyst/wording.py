"""Choice of words: one of several phrasings, picked by a hash of the chunk, never by order or a global seed.

So the wording of an answer depends on nothing but its chunk, and two runs, or two workers, write the same bytes.
A phrase is a format string; it is only a candidate when all its slots are known, so no sentence has a hole.
"""

import datetime
import hashlib
import re
import string
from collections.abc import Mapping, Sequence

# A slot: text, or None where the log does not tell.
Slots = Mapping[str, str | None]
SHORT_QUOTE = 54
# What a cut quotation should not end with.
_LOOSE_END = re.compile(r"(?:\s+(?:to|from|for|of|the|a|in|at|with|by|on|and|is|was|while)|[\s,;:(\[{\"'=<*-])+$")
_FORMATTER = string.Formatter()


class Wording:
    """Picks phrases for one answer; the same phrase is not used twice in it while others are left."""

    def __init__(self, seed: str) -> None:
        """`seed`: the chunk's text and the task."""
        self._seed = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).digest()
        self._used: set[str] = set()

    def number(self, name: str, limit: int) -> int:
        """A number in [0, limit) that depends on the chunk and `name`."""
        digest = hashlib.sha256(self._seed + name.encode("utf-8")).digest()
        return int.from_bytes(digest[:8], "big") % limit

    def order(self, name: str, items: Sequence[str]) -> list[str]:
        """The items in an order that depends on the chunk and `name`."""
        return sorted(items, key=lambda item: (self.number(f"{name}/{item}", 1 << 62), item))

    def say(self, name: str, phrases: Sequence[str], slots: Slots) -> str:
        """One phrase with its slots filled, or "" when no phrase can be filled.

        Args:
            name: what is being said; the choice depends on it.
            phrases: the candidates. Those with an unknown slot are passed over.
            slots: values, None for unknown ones; a name with a capital (`{Title}`) takes the value of `title`, raised.
        """
        known = {key: value for key, value in slots.items() if value is not None}
        usable = [phrase for phrase in phrases if _names(phrase) <= known.keys()]
        if not usable:
            return ""
        fresh = [phrase for phrase in usable if phrase not in self._used] or usable
        phrase = fresh[self.number(name, len(fresh))]
        self._used.add(phrase)
        values = {name: known[name.lower()] for name in _fields(phrase)}
        return phrase.format(
            **{name: raised(value) if name[0].isupper() else value for name, value in values.items()}
        ).strip()


def _fields(phrase: str) -> list[str]:
    return [field for _, field, _, _ in _FORMATTER.parse(phrase) if field]


def _names(phrase: str) -> set[str]:
    return {field.lower() for field in _fields(phrase)}


def raised(text: str) -> str:
    """The text with its first letter in upper case; a quotation stays as it is.

    >>> raised("a full disk"), raised("`x` y")
    ('A full disk', '`x` y')
    """
    return text[:1].upper() + text[1:]


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 line`, `3 lines`, `2 queries`.

    >>> counted(1, "line"), counted(3, "query"), counted(2, "address")
    ('1 line', '3 queries', '2 addresses')
    """
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}es" if noun.endswith("s") else f"{count} {noun}s"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def quotable(text: str) -> str:
    """The text, or where it contains both backticks and double quotes its longest part between backticks.

    A quotation stands between marks that it does not contain, or nobody could tell where it ends.
    """
    return max(text.split("`"), key=len).strip() if "`" in text and '"' in text else text


def quoted(text: str) -> str:
    """The text (see `quotable`) between marks that it does not contain: backticks, else double quotes."""
    return f"`{text}`" if "`" not in text else f'"{text}"'


def duration(seconds: float) -> str:
    """A length of time in whole units, rounded down; under two minutes in seconds.

    >>> duration(0.4), duration(75), duration(150), duration(7500)
    ('less than a second', '75 s', '2 min 30 s', '2 h 5 min')
    """
    return " ".join(f"{count} {unit}" for count, unit in in_units(seconds)) or "less than a second"


def in_units(seconds: float) -> list[tuple[int, str]]:
    """A length of time in one or two whole units (`h`, `min`, `s`), rounded down; empty below a second.

    >>> in_units(150.9)
    [(2, 'min'), (30, 's')]
    """
    whole = int(seconds)
    if whole < 120:
        return [(whole, "s")] if whole else []
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return [(minutes, "min"), *([(rest, "s")] if rest else [])]
    hours, minutes = divmod(minutes, 60)
    return [(hours, "h"), *([(minutes, "min")] if minutes else [])]


def shortened(text: str, limit: int = SHORT_QUOTE, start: int = 0) -> str:
    """A contiguous part of `text` of at most `limit` characters from `start`, cut after a clause or a telling word.

    >>> shortened("Failed password for root from 10.0.0.1", 29)
    'Failed password for root'
    >>> shortened("open() failed (2: No such file), client: 10.0.0.1, server: a", 50)
    'open() failed (2: No such file)'
    """
    part = text[start : start + limit]
    if start + limit >= len(text):
        return part.strip()
    if not text[start + limit].isspace():
        cut = part.rfind(" ")
        part = part[:cut] if cut > limit // 3 else part
    clause = max(part.rfind(", "), part.rfind("; "), part.rfind(" - "))
    if clause > limit // 2:
        part = part[:clause]
    return _LOOSE_END.sub("", part).strip() or part.strip()


def whole_seconds(first: datetime.datetime, last: datetime.datetime) -> int:
    """Seconds between two times as a reader subtracts them: both cut to whole seconds first."""
    return int((last.replace(microsecond=0) - first.replace(microsecond=0)).total_seconds())
