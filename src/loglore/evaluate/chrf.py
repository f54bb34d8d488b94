"""Character n-gram F-score (chrF2; Popović 2015), equal to sacrebleu's: orders 1 to 6, beta 2, white space left out.

It needs no tokens, so it is the same for every language; like BLEU it is computed from counts, which a bootstrap can
sum anew for every resample.

    >>> float(score(np.array(counts("disk is full", "disk was full"), float)).round(4))
    0.4413
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

ORDER = 6
_WEIGHT = 4.0  # beta squared: recall counts twice as much as precision


def counts(output: str, truth: str) -> tuple[float, ...]:
    """18 counts: n-grams of the output, n-grams of the truth, shared ones; for n from 1 to 6."""
    ours, theirs = "".join(output.split()), "".join(truth.split())
    found: list[float] = []
    for size in range(1, ORDER + 1):
        grams, wanted = _grams(ours, size), _grams(theirs, size)
        shared = sum((grams & wanted).values())
        # As in sacrebleu: where the truth is too short for an order, the output has none of it either.
        found += [grams.total() if wanted else 0, wanted.total(), shared]
    return tuple(found)


def score(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """ChrF between 0 and 1 from counts of shape [..., 18]; orders that one side is too short for are left out."""
    ours, theirs, shared = (totals[..., start::3] for start in range(3))
    used = (ours > 0) & (theirs > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(used, shared / ours, 0.0).sum(axis=-1) / used.sum(axis=-1)
        recall = np.where(used, shared / theirs, 0.0).sum(axis=-1) / used.sum(axis=-1)
        value = (1 + _WEIGHT) * precision * recall / (_WEIGHT * precision + recall)
    return np.where(np.isnan(value), 0.0, value)


def _grams(text: str, size: int) -> Counter[str]:
    return Counter(text[start : start + size] for start in range(len(text) - size + 1))
