"""Leaks between files that are given together: what a model saw in training and is tested on.

Three grounds, from certain to gradual: the same lines of a log (`meta.chunk`, `meta.source` with overlapping
`meta.lines`, or the same log text in the question or in `log`), the same text, and the share of a held-out row's
50-byte windows that occur in the other file (50 characters as in the GPT-4 technical report, 2023). Windows are sampled
1 in 4 by their hash, the same on both sides, so a share is an estimate: for a row of 2,000 bytes its standard error is
below 2.3 points.

Held-out files are kept as hashes; the training files stream past them, each read once.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from loglore.data.files import Place
from loglore.data.json_rows import Row
from loglore.data.shingles import Hashes, windows

WINDOW = 50
SAMPLE = 4
OVERLAP = 0.5  # share of windows from which a row is reported
Role = Literal["corpus", "train", "validation", "test"]
ROLES: tuple[Role, ...] = ("corpus", "train", "validation", "test")
_FILTER_BITS = 24


@dataclass(frozen=True)
class Leak:
    """What of a held-out file stands in another: rows (in order) by ground, and the overlap of all its rows.

    rows: how many it has; chunk, exact, overlapping: where such rows stand; shares: of the windows of each overlapping
    row, 0 to 1; mean_overlap, max_overlap: the same over all rows.
    """

    held_out: str
    seen_in: str
    rows: int
    chunk: list[Place]
    exact: list[Place]
    overlapping: list[Place]
    shares: list[float]
    mean_overlap: float
    max_overlap: float


@dataclass
class HeldOut:
    """A validation or test file as hashes, and what was found of it so far, by the file it was found in."""

    name: str
    role: Role
    places: list[Place] = field(default_factory=list)
    _texts: dict[bytes, list[int]] = field(default_factory=dict)
    _chunks: dict[Any, list[int]] = field(default_factory=dict)
    _windows: list[Hashes] = field(default_factory=list)
    _hits: dict[str, "_Hits"] = field(default_factory=dict)

    def add(self, place: Place, hashes: Hashes, digest: bytes, keys: Iterable[Any]) -> None:
        """Take in a row by its windows (`sample`), the digest of its text, and its `chunk_keys`."""
        index = len(self.places)
        self.places.append(place)
        self._texts.setdefault(digest, []).append(index)
        for key in keys:
            self._chunks.setdefault(key, []).append(index)
        self._windows.append(hashes)

    def compare(self, name: str, hashes: Hashes, digest: bytes, keys: Iterable[Any]) -> None:
        """Note what of this file stands in a row of file `name`."""
        table = self.table
        hits = self._hits.setdefault(name, _Hits(set(), set(), np.zeros(len(table.values), dtype=bool)))
        hits.exact.update(self._texts.get(digest, ()))
        for key in keys:
            hits.chunk.update(self._chunks.get(key, ()))
        if len(hashes):
            hits.windows[table.places(hashes)] = True

    def contents(self) -> Iterator[tuple[Hashes, bytes, list[Any]]]:
        """(windows, digest, chunk keys) of every row, for comparing two held-out files."""
        digests = {index: digest for digest, found in self._texts.items() for index in found}
        keys: dict[int, list[Any]] = {}
        for key, found in self._chunks.items():
            for index in found:
                keys.setdefault(index, []).append(key)
        for index, hashes in enumerate(self._windows):
            yield hashes, digests[index], keys.get(index, [])

    def leaks(self) -> list[Leak]:
        """What was found, one for each file that was compared."""
        return [self._leak(name, hits) for name, hits in self._hits.items()]

    def _leak(self, name: str, hits: "_Hits") -> Leak:
        table = self.table.values
        shares = np.array(
            [hits.windows[np.searchsorted(table, hashes)].mean() if len(hashes) else 0.0 for hashes in self._windows]
        )
        much = np.flatnonzero(shares >= OVERLAP)
        return Leak(
            self.name,
            name,
            len(self.places),
            [self.places[index] for index in sorted(hits.chunk)],
            [self.places[index] for index in sorted(hits.exact)],
            [self.places[index] for index in much],
            shares[much].round(3).tolist(),
            float(shares.mean()) if len(shares) else 0.0,
            float(shares.max()) if len(shares) else 0.0,
        )

    @cached_property
    def table(self) -> "Table":
        """The windows of all rows, once there are no more rows to come."""
        return Table(np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *self._windows])))


class Table:
    """Windows to look up. values: uint64, sorted, each once."""

    def __init__(self, values: Hashes) -> None:
        self.values = values
        # Most windows of a large training file are found nowhere: a table of bits answers that without a search.
        self._filter = np.zeros(1 << _FILTER_BITS, dtype=bool)
        self._filter[values >> np.uint64(64 - _FILTER_BITS)] = True

    def places(self, hashes: Hashes) -> npt.NDArray[np.intp]:
        """Where in the table those of the windows stand that are in it."""
        hashes = hashes[self._filter[hashes >> np.uint64(64 - _FILTER_BITS)]]
        if not len(hashes):
            return np.zeros(0, dtype=np.intp)
        places = np.minimum(np.searchsorted(self.values, hashes), len(self.values) - 1)
        found: npt.NDArray[np.intp] = places[self.values[places] == hashes]
        return found

    def known(self, hashes: Hashes) -> Hashes:
        """Those of the windows that are in the table."""
        found: Hashes = self.values[self.places(hashes)]
        return found


@dataclass
class _Hits:
    chunk: set[int]
    exact: set[int]
    windows: npt.NDArray[np.bool_]


def sample(text: str) -> Hashes:
    """Hashes of a quarter of the text's windows, chosen by their hash."""
    hashes = windows(text.encode("utf-8"), WINDOW)
    sampled: Hashes = hashes[hashes & np.uint64(SAMPLE - 1) == 0]
    return sampled


def chunk_keys(row: Row, log: str = "") -> list[Any]:
    """What says where in a log a row comes from: its chunk, each line of its source, and the log's own text."""
    keys: list[Any] = []
    if log.strip():
        keys.append(("log", hashlib.blake2b(log.strip().encode("utf-8"), digest_size=16).digest()))
    meta = row.get("meta")
    if not isinstance(meta, dict):
        return keys
    source, chunk, lines = (meta.get(name) for name in ("source", "chunk", "lines"))
    if isinstance(chunk, str | int):
        keys.append(("chunk", source, chunk))
    if isinstance(source, str) and isinstance(lines, list) and len(lines) == 2:
        first, last = lines
        if isinstance(first, int) and isinstance(last, int) and 0 <= last - first <= 100_000:
            keys += [("line", source, line) for line in range(first, last + 1)]
    return keys


def role_of(name: str) -> Role:
    """The role that a file's name says; `train` when it says none."""
    lowered = name.rsplit("/", 1)[-1].lower()
    for role, words in _WORDS.items():
        if any(word in lowered for word in words):
            return role
    return "train"


_WORDS: dict[Role, tuple[str, ...]] = {
    "test": ("test",),
    "validation": ("val", "dev", "eval"),
    "corpus": ("corpus", "cpt", "pretrain"),
}
