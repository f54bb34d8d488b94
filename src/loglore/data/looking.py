"""What can be said of a row by itself: faults, format, damage, length, and the hashes that it is compared by.

    entries (place and row, or a fault) ── look ── looks, in their order ── `check`: duplicates, leaks, the report

Nothing here knows another row, so the parts of a file may be looked at anywhere; what is said is the same.
"""

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from loglore.data import files, leaks, near, sources
from loglore.data.damage import damage, is_nothing, said, texts
from loglore.data.faults import Fault
from loglore.data.files import Entry, Place
from loglore.data.formats import Format, RowError, detect, to_corpus
from loglore.data.frame import log_asked
from loglore.data.json_rows import Row
from loglore.data.render import Conversation
from loglore.data.samples import BATCH_CHARACTERS, BATCH_ROWS, conversation_of
from loglore.data.shingles import Hashes
from loglore.data.too_long import Length, Limit, Measurable, lengths
from loglore.errors import InputError

UNREADABLE = "unreadable"
NOT_COUNTED = Length()
NO_WINDOWS: Hashes = np.zeros(0, dtype=np.uint64)


@dataclass(frozen=True)
class Wish:
    """What to look for.

    Attributes:
        csv: the rows are of a CSV file, where `nan` is no word.
        near: make sketches, for near duplicates.
        origin: hash windows and name the chunk of the log, for leaks.
        others: held-out files that the rows will be compared with; for who looks elsewhere, to choose windows there.
        among: keep only windows that stand there; None keeps all.
        limit: also count tokens.
    """

    csv: bool = False
    near: bool = True
    origin: bool = True
    others: tuple[leaks.HeldOut, ...] = ()
    among: leaks.Table | None = None
    limit: Limit | None = None


class Look(NamedTuple):
    """What was seen of one row.

    Attributes:
        place: where it stands.
        bad: why it is no good; nothing else is known of it then. Of the kind `UNREADABLE`: nor of what follows.
        kind: its format.
        damage: damaged characters and the like, each with its field.
        length: in tokens, where they were counted.
        digest: of its text.
        sketch: of its text (`near.sketch`), where wanted and not known to be a duplicate.
        windows, keys: of `leaks.sample` and `leaks.chunk_keys`, where wanted.
    """

    place: Place
    bad: Fault | None = None
    kind: Format = "corpus"
    damage: tuple[Fault, ...] = ()
    length: Length = NOT_COUNTED
    digest: bytes = b""
    sketch: near.Signature | None = None
    windows: Hashes = NO_WINDOWS
    keys: tuple[Any, ...] = ()


# Looks at all rows of a path (and what was found there); what is known by its digest already needs no sketch.
Looks = Callable[[str, sources.Listing, Wish, Container[bytes], Callable[[int], None] | None], Iterator[Look]]


def here(
    path: str,
    listing: sources.Listing,
    wish: Wish,
    known: Container[bytes],
    on_bytes: Callable[[int], None] | None = None,
) -> Iterator[Look]:
    """Look at all rows of a path in this process.

    Raises:
        InputError: a tokenizer without a usable chat template.
    """
    return look((entry for file in listing.files for entry in files.entries(file, on_bytes)), wish, known)


def look(entries: Iterable[Entry], wish: Wish, known: Container[bytes] = ()) -> Iterator[Look]:
    """Look at rows, in their order. Where they cannot be read further, the last look says so.

    Args:
        entries: of `files.entries`.
        wish: what to look for.
        known: digests of texts that need no sketch.

    Raises:
        InputError: as `here`.
    """
    waiting: list[tuple[Place, Row, _Read | Fault]] = []
    characters = 0
    for place, entry in _placed(entries):
        found = entry if isinstance(entry, Fault) else _read(place, entry, wish)
        row = {} if isinstance(entry, Fault) else entry
        if wish.limit is None:  # nothing is gained by many at a time
            yield Look(place, found) if isinstance(found, Fault) else _whole(place, row, found, wish, known)
            continue
        waiting.append((place, row, found))
        characters += 0 if isinstance(found, Fault) else len(found.text)
        if characters >= BATCH_CHARACTERS or len(waiting) >= BATCH_ROWS:
            yield from _measured(waiting, wish, wish.limit, known)
            waiting, characters = [], 0
    if wish.limit is not None:
        yield from _measured(waiting, wish, wish.limit, known)


class _Read(NamedTuple):
    """A row that could be read: its text, its conversation if it is one, and what is to be measured of it."""

    kind: Format
    text: str
    chat: Conversation | None
    measured: Measurable | None


def _placed(entries: Iterable[Entry]) -> Iterator[tuple[Place, Row | Fault]]:
    try:
        for entry in entries:
            yield (Place(entry.file, entry.row), entry) if isinstance(entry, Fault) else entry
    except InputError as fault:
        yield Place("", 0), Fault("", 0, UNREADABLE, str(fault))


def _read(place: Place, row: Row, wish: Wish) -> _Read | Fault:
    try:
        kind = detect(row)
        chat = None if kind == "corpus" else conversation_of(row)
        text = said(chat.turns) if chat else to_corpus(row)
    except RowError as fault:
        return Fault(place.file, place.row, fault.kind, fault.message, fault.field)
    nothing = next((name for name, cell in texts(row) if is_nothing(cell)), "") if wish.csv else ""
    if nothing:
        return Fault(place.file, place.row, "nan", f"{row[nothing]!r} is no text; leave the cell empty", nothing)
    if wish.limit is None:
        return _Read(kind, text, chat, None)
    if chat is None or kind == "nlplog":
        return _Read(kind, text, chat, (place, to_corpus(row)))
    _ = wish.limit.renderer.method  # a template that cannot work is no fault of this row
    try:
        return _Read(kind, text, chat, (place, (chat, wish.limit.renderer.mark(chat.turns, chat.tools))))
    except InputError as fault:
        return Fault(place.file, place.row, "template", str(fault))


def _measured(
    waiting: list[tuple[Place, Row, _Read | Fault]], wish: Wish, limit: Limit, known: Container[bytes]
) -> Iterator[Look]:
    """Looks at rows whose tokens are counted together."""
    measurable = [read.measured for _, _, read in waiting if isinstance(read, _Read) and read.measured]
    counted = iter(lengths(measurable, limit))
    for place, row, read in waiting:
        if isinstance(read, Fault):
            yield Look(place, read)
            continue
        length = next(counted)
        if length.fault == "unfit":
            yield Look(place, Fault(place.file, place.row, "unfit", length.message), length=length)
        else:
            yield _whole(place, row, read, wish, known, length)


def _whole(
    place: Place, row: Row, read: _Read, wish: Wish, known: Container[bytes], length: Length = NOT_COUNTED
) -> Look:
    hurt = tuple(
        Fault(place.file, place.row, one.kind, one.message, name) for name, value in texts(row) for one in damage(value)
    )
    digest = hashlib.blake2b(read.text.encode("utf-8"), digest_size=16).digest()
    sketched = near.sketch(read.text) if wish.near and digest not in known else None
    if not wish.origin:
        return Look(place, None, read.kind, hurt, length, digest, sketched)
    log = str(row["log"] or "") if read.kind == "nlplog" else log_asked(read.chat.turns) if read.chat else ""
    windows = leaks.sample(read.text)
    kept = windows if wish.among is None else wish.among.known(windows)
    return Look(place, None, read.kind, hurt, length, digest, sketched, kept, tuple(leaks.chunk_keys(row, log)))
