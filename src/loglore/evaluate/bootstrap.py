"""95 % intervals by resampling whole chunks (percentile bootstrap, Efron 1979; clustered, Davison & Hinkley 1997 §3.8).

Rows made from the same log chunk rise and fall together; resampling rows one by one would pretend they were
independent and give intervals that are too narrow. So clusters (chunks) are drawn with replacement, each with all its
rows. Every aggregate here is a function of column sums, so 1,000 resamples are one matrix product.
Percentile intervals are easy to explain and slightly too narrow for few clusters: below about 20 read them as rough.

    >>> counts = resample(["a", "a", "b"], resamples=2, seed=0)
    >>> counts.shape, counts.sum(axis=1).tolist()
    ((2, 2), [2.0, 2.0])
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from loglore.evaluate import metrics

Floats: TypeAlias = NDArray[np.float64]
Statistic: TypeAlias = Callable[[Floats], Floats]

LEVEL = 0.95
# With one cluster every resample is the same and the interval a point; with few it is hardly better.
LEAST_CLUSTERS = 5
_ROUNDING = 1e-12  # a resample that equals the rows themselves differs from them by rounding alone


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % percentile bootstrap interval [low, high]."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly above or wholly below zero: for a difference, that it is significant."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Difference(Interval):
    """A paired difference, its interval, and `p`: how often resamples differ from it by at least its own size.

    Two-sided, by shifting the resampled differences to zero (Noreen 1989; Riezler & Maxwell 2005), (hits + 1) /
    (resamples + 1). Interval and p are two readings of the same resamples and can disagree at the border; sentences go
    by the interval.
    """

    p: float


def resample(clusters: Sequence[Hashable], resamples: int, seed: int) -> Floats:
    """How often each cluster is drawn in each resample; shape [resamples, clusters], clusters by first appearance."""
    number = len(set(clusters))
    generator = np.random.default_rng(seed)
    return generator.multinomial(number, np.full(number, 1 / number), size=resamples).astype(np.float64)


def intervals(
    scores: metrics.Scores, clusters: Sequence[Hashable], resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Interval of every aggregate of `metrics.score_rows`.

    Args:
        scores: arrays of shape [rows] and BLEU counts.
        clusters: for every row, what it shares with others (its chunk).
        resamples: number of bootstrap resamples.
        seed: of the resampling.
    """
    found = interval(metrics.sufficient(scores), metrics.from_totals, clusters, resamples, seed)
    return dict(zip(metrics.NAMES, found, strict=True))


def paired_differences(
    scores: metrics.Scores,
    baseline: metrics.Scores,
    clusters: Sequence[Hashable],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Every aggregate's difference `scores` - `baseline` on the same rows, drawn together, with interval and p."""
    columns = metrics.sufficient(scores), metrics.sufficient(baseline)
    found = differences(*columns, metrics.from_totals, clusters, resamples, seed)
    return dict(zip(metrics.NAMES, found, strict=True))


def differences(
    columns: Floats,
    baseline: Floats,
    statistic: Statistic,
    clusters: Sequence[Hashable],
    resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """Differences of any vector of functions of column sums, as `interval` takes them; both draw the same rows."""
    width = columns.shape[1]

    def difference(totals: Floats) -> Floats:
        return statistic(totals[..., :width]) - statistic(totals[..., width:])

    values, drawn = _drawn(np.hstack([columns, baseline]), difference, clusters, resamples, seed)
    hits = (np.abs(drawn - values) >= np.abs(values) - _ROUNDING).sum(axis=0)
    p = (hits + 1) / (resamples + 1)
    return [
        Difference(one.value, one.low, one.high, float(each))
        for one, each in zip(_intervals(values, drawn), p, strict=True)
    ]


def interval(
    columns: Floats, statistic: Statistic, clusters: Sequence[Hashable], resamples: int = 1000, seed: int = 0
) -> list[Interval]:
    """Intervals of any vector of functions of column sums.

    Args:
        columns: per-row values, shape [rows, columns].
        statistic: sums of shape [..., columns] to values of shape [..., values].
        clusters: the cluster of every row.
        resamples: number of bootstrap resamples.
        seed: of the resampling; the same seed draws the same clusters whatever the columns.
    """
    return _intervals(*_drawn(columns, statistic, clusters, resamples, seed))


def _drawn(
    columns: Floats, statistic: Statistic, clusters: Sequence[Hashable], resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """The statistic of all rows [values] and of every resample [resamples, values]."""
    sums = _cluster_sums(columns, clusters)
    return statistic(sums.sum(axis=0)), statistic(resample(clusters, resamples, seed) @ sums)


def _intervals(values: Floats, drawn: Floats) -> list[Interval]:
    tail = (1 - LEVEL) / 2
    # A resample may leave a value undefined (no abnormal line was drawn): it says nothing about it.
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return [Interval(*map(float, triple)) for triple in zip(values, low, high, strict=True)]


def _cluster_sums(columns: Floats, clusters: Sequence[Hashable]) -> Floats:
    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(places), columns.shape[1]))
    np.add.at(sums, [places[cluster] for cluster in clusters], columns)
    return sums
