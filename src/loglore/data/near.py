"""Near duplicates: rows that share most of their text, found without comparing all pairs.

One-permutation MinHash (Li, Owen, Zhang, NIPS 2012) over windows of 16 bytes: 64 bins, 256 bytes a row. Rows that agree
in 4 bins of one of 16 bands are compared; with a similarity of 0.8 that misses one pair in 5,000. Reported similarity
is the estimate from the 64 bins (standard error at 0.8: 0.05). Texts of fewer than 96 bytes have too few windows and
are left to the exact comparison.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loglore.data.shingles import windows

WINDOW = 16
SHORTEST = 96
BINS = 64
BAND = 4
_EMPTY = np.uint32(0xFFFFFFFF)
_EDGES = np.arange(BINS, dtype=np.uint64) << np.uint64(58)

Signature = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class NearPair:
    """Rows `later` and `earlier` (as numbered by `add`) and their estimated Jaccard similarity, 0 to 1."""

    later: int
    earlier: int
    similarity: float


@dataclass
class NearDuplicates:
    """Collects signatures; `pairs` tells rows that are close to an earlier one. short: texts left out as too short."""

    threshold: float = 0.8
    short: int = 0
    _signatures: list[Signature] = field(default_factory=list)
    _rows: list[int] = field(default_factory=list)

    def add(self, row: int, sketched: Signature | None) -> None:
        """Take row number `row` in by its `sketch`."""
        if sketched is None:
            self.short += 1
            return
        self._signatures.append(sketched)
        self._rows.append(row)

    def pairs(self) -> list[NearPair]:
        """Each row that is at least `threshold` similar to an earlier row, once, with the most similar one found."""
        if len(self._rows) < 2:
            return []
        table = np.stack(self._signatures)
        best: dict[int, tuple[float, int]] = {}
        for start in range(0, BINS, BAND):
            for later, earlier, similarity in self._band(table, start):
                if later not in best or similarity > best[later][0]:
                    best[later] = (similarity, earlier)
        return [NearPair(self._rows[later], self._rows[first], value) for later, (value, first) in sorted(best.items())]

    def _band(self, table: Signature, start: int) -> list[tuple[int, int, float]]:
        keys = np.ascontiguousarray(table[:, start : start + BAND]).view([("", np.uint32)] * BAND).ravel()
        _, groups = np.unique(keys, return_inverse=True)
        order = np.argsort(groups, kind="stable")
        sorted_groups = groups[order]
        heads = np.concatenate([[True], sorted_groups[1:] != sorted_groups[:-1]])
        first = order[np.maximum.accumulate(np.where(heads, np.arange(len(order)), 0))]
        pairs = np.concatenate([np.stack([order, first], 1)[~heads], np.stack([order[1:], order[:-1]], 1)[~heads[1:]]])
        if not len(pairs):
            return []
        # A band of empty bins says nothing.
        pairs = pairs[(table[pairs[:, 0], start : start + BAND] != _EMPTY).any(1)]
        values = similarity(table[pairs[:, 0]], table[pairs[:, 1]])
        close = values >= self.threshold
        return list(zip(*pairs[close].T.tolist(), values[close].tolist(), strict=True)) if close.any() else []


def sketch(text: str) -> Signature | None:
    """The signature of a text; None for one that is too short to compare."""
    raw = text.encode("utf-8")
    return signature(raw) if len(raw) >= SHORTEST else None


def signature(raw: bytes) -> Signature:
    """The smallest hash in each of 64 bins, uint32 [64]."""
    hashes = np.sort(windows(raw, WINDOW))
    places = np.searchsorted(hashes, _EDGES)
    filled = places < len(hashes)
    values = hashes[np.minimum(places, len(hashes) - 1)]
    filled &= values >> np.uint64(58) == np.arange(BINS, dtype=np.uint64)
    return np.where(filled, (values >> np.uint64(26)).astype(np.uint32), _EMPTY)


def similarity(left: Signature, right: Signature) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of pairs of signatures, float64 [pairs]."""
    used = (left != _EMPTY) | (right != _EMPTY)
    same = (left == right) & used
    return np.asarray(same.sum(1) / np.maximum(used.sum(1), 1), dtype=np.float64)
