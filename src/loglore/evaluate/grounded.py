"""How many of an answer's checkable claims its log supports: quotes, entities, counts, times, line numbers.

Counted over the log as it stands in the prompt, so a right claim about something that was not shown is unverifiable.
It measures honesty about facts and says nothing on whether a root cause is right; an answer without claims counts for
nothing here, which is why the share is given together with the number of claims. A digest in the place of the log
leaves lines out, and a right count or order would look wrong against those it shows: such rows are not counted.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loglore.evaluate.bootstrap import Interval, interval

VERDICTS = ("supported", "contradicted", "unverifiable")
_NUMBERED = re.compile(r"L(\d+)\|(.*)")


def count(answer: str, log: str) -> dict[str, int]:
    """Number of claims in `answer` by verdict, checked against the log text of its prompt; empty for a digest.

    Lines are numbered as shown (`L12|…`), or from 1 where they carry no numbers.
    """
    import polars as pl

    from loglore.logs import grounding, reader

    lines = log.split("\n")
    shown = [_NUMBERED.fullmatch(line) for line in lines]
    if any(shown) and not all(shown):
        return {}
    if all(shown):
        table = reader.table_of([match[2] for match in shown if match])
        numbers = pl.Series([int(match[1]) for match in shown if match])
        table = table.with_columns(line=numbers, event=numbers.gather(table["event"] - 1))
    else:
        table = reader.table_of(lines)
    found = Counter(claim.verdict for claim in grounding.check(answer, table))
    return {verdict: found[verdict] for verdict in VERDICTS}


def shares(
    counts: NDArray[np.float64], clusters: Sequence[str], resamples: int, seed: int
) -> dict[str, Interval | None]:
    """Share of each verdict among all claims of all rows, with intervals; None where no row makes any claim.

    Args:
        counts: claims by verdict, shape [rows, 3], in the order of `VERDICTS`.
        clusters: the chunk of every row.
        resamples: number of bootstrap resamples.
        seed: of the resampling.
    """
    if not counts.sum():
        return dict.fromkeys(VERDICTS)
    return dict(zip(VERDICTS, interval(counts, _shares, clusters, resamples, seed), strict=True))


def _shares(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a resample without any claim: left out of the quantiles
        return np.asarray(totals / totals.sum(axis=-1, keepdims=True))
