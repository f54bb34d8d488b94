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
) -> dict[str, Interval]:
    """Interval of every aggregate's difference `scores` - `baseline` on the same rows, drawn together."""
    both = np.hstack([metrics.sufficient(scores), metrics.sufficient(baseline)])
    found = interval(both, _difference, clusters, resamples, seed)
    return dict(zip(metrics.NAMES, found, strict=True))


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
    sums = _cluster_sums(columns, clusters)
    values = statistic(sums.sum(axis=0))
    drawn = statistic(resample(clusters, resamples, seed) @ sums)
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail], axis=0)
    return [Interval(*map(float, triple)) for triple in zip(values, low, high, strict=True)]


def _cluster_sums(columns: Floats, clusters: Sequence[Hashable]) -> Floats:
    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(places), columns.shape[1]))
    np.add.at(sums, [places[cluster] for cluster in clusters], columns)
    return sums


def _difference(totals: Floats) -> Floats:
    half = totals.shape[-1] // 2
    return metrics.from_totals(totals[..., :half]) - metrics.from_totals(totals[..., half:])
