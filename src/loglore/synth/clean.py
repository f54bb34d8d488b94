"""Rows that repeat each other, and training rows that repeat held-out ones.

Logs repeat themselves, so a split by chunk does not keep a test row's text out of training: the next night's backup
writes the same lines. Two logs are alike when they share most of their shingles of five words, numbers blanked. MinHash
with locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, ch. 3) finds
the pairs to compare, and the share itself is then counted exactly: no false alarm, and of pairs at a share of 0.8 one
in 4,600 is missed (16 bands of 4).
"""

import re
import zlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from loglore.data.frame import log_of
from loglore.synth.rows import Row

WORDS = 5
BANDS, ROWS = 16, 4
_NUMBER = re.compile(r"[0-9]+")
_PRIME = np.uint64(4_294_967_311)  # the first prime above every 32-bit hash
_DRAW = np.random.default_rng(20)
_A = _DRAW.integers(1, 2**31, (BANDS * ROWS, 1), dtype=np.uint64)
_B = _DRAW.integers(0, 2**31, (BANDS * ROWS, 1), dtype=np.uint64)

Shingles = npt.NDArray[np.uint64]


class Seen:
    """Logs seen so far.

    Args:
        share: of shingles in common (Jaccard, 0.5 to 1) from which on two logs are alike.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._sets: list[Shingles] = []
        self._buckets: dict[tuple[int, bytes], list[int]] = {}

    def like(self, text: str) -> bool:
        """Whether a log like this one was seen."""
        shingles = shingles_of(text)
        near = {number for bucket in _bands(shingles) for number in self._buckets.get(bucket, ())}
        return any(jaccard(shingles, self._sets[number]) >= self._share for number in near)

    def add(self, text: str) -> None:
        """Remember a log."""
        shingles = shingles_of(text)
        for bucket in _bands(shingles):
            self._buckets.setdefault(bucket, []).append(len(self._sets))
        self._sets.append(shingles)


def shingles_of(text: str) -> Shingles:
    """Sorted hashes of all runs of `WORDS` words, numbers blanked; of the whole text when it is shorter."""
    words = _NUMBER.sub("0", text).lower().split()
    runs = [" ".join(words[start : start + WORDS]) for start in range(max(1, len(words) - WORDS + 1))]
    return np.unique(np.array([zlib.crc32(run.encode()) for run in runs], dtype=np.uint64))


def jaccard(one: Shingles, two: Shingles) -> float:
    """Shared part of two sets of shingles, 0 to 1."""
    common = np.intersect1d(one, two, assume_unique=True).size
    return float(common / (one.size + two.size - common))


def _bands(shingles: Shingles) -> list[tuple[int, bytes]]:
    least = ((_A * shingles + _B) % _PRIME).min(axis=1)
    return [(band, least[band * ROWS : (band + 1) * ROWS].tobytes()) for band in range(BANDS)]


class Cleaner:
    """Says which rows repeat others; see `Seen` for `share`."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._held_out = Seen(share)
        self._own: dict[tuple[str, str], Seen] = {}

    def hold_out(self, logs: Iterable[str]) -> None:
        """Remember the logs of held-out rows."""
        for log in logs:
            self._held_out.add(log)

    def reason(self, row: Row, split: str) -> str:
        """Why a row should be left out, "" when it should stay: then later rows are compared with it."""
        log = log_of(row["conversations"][0]["value"])
        if split == "train" and self._held_out.like(log):
            return "its log is like that of a held-out row"
        seen = self._own.setdefault((split, row["meta"]["task"]), Seen(self._share))
        if seen.like(log):
            return "its log is like that of another row of its task"
        seen.add(log)
        return ""
