"""Intervals against a plain loop over resamples, and against what theory says about their width."""

import numpy as np
import pytest
import sacrebleu

from loglore.evaluate import bootstrap, metrics

OUTPUTS = ["the disk is full now", "a b c", "connection refused by peer", "the disk", "no", "refused by peer again"]
TRUTHS = ["the disk was full now", "a b d", "connection refused by host", "disk full", "yes", "refused by host again"]
CHUNKS = ["one", "one", "two", "three", "three", "three"]


def test_equals_a_loop_over_resamples() -> None:
    scores = metrics.score_rows(OUTPUTS, TRUTHS)
    found = bootstrap.intervals(scores, CHUNKS, resamples=200, seed=3)
    names = list(dict.fromkeys(CHUNKS))
    bleu, fuzzy = [], []
    for counts in bootstrap.resample(CHUNKS, 200, 3):
        rows = [row for name, count in zip(names, counts, strict=True) for _ in range(int(count)) for row in _of(name)]
        outputs, truths = [OUTPUTS[row] for row in rows], [TRUTHS[row] for row in rows]
        bleu.append(sacrebleu.corpus_bleu(outputs, [truths]).score / 100)
        fuzzy.append(np.mean(scores["fuzzy_match"][rows]))
    for name, drawn in (("bleu", bleu), ("fuzzy_match", fuzzy)):
        assert [found[name].low, found[name].high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
        assert found[name].value == pytest.approx(metrics.aggregate(scores)[name])


def _of(chunk: str) -> list[int]:
    return [row for row, name in enumerate(CHUNKS) if name == chunk]


def test_width_follows_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    (found,) = bootstrap.interval(np.column_stack([np.ones(400), values]), _mean, list(range(400)), seed=1)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.15)
    assert found.low < 0.5 < found.high


def _mean(totals: bootstrap.Floats) -> bootstrap.Floats:
    return np.asarray(totals[..., 1:] / totals[..., :1])


def test_copies_of_a_chunk_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 50)
    once = np.column_stack([np.ones(50), values])
    (single,) = bootstrap.interval(once, _mean, list(range(50)))
    (copied,) = bootstrap.interval(np.repeat(once, 8, axis=0), _mean, np.repeat(range(50), 8).tolist())
    (naive,) = bootstrap.interval(np.repeat(once, 8, axis=0), _mean, list(range(400)))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))
    assert naive.high - naive.low < 0.5 * (copied.high - copied.low)


def test_pairing_finds_a_small_steady_gain() -> None:
    generator = np.random.default_rng(0)
    hard = generator.uniform(0.1, 0.9, 60)
    worse, better = (_scores(hard + shift) for shift in (0, 0.01))
    clusters = list(range(60))
    difference = bootstrap.paired_differences(better, worse, clusters)["rougeL"]
    assert difference.value == pytest.approx(0.01)
    assert difference.excludes_zero
    alone = bootstrap.intervals(worse, clusters)["rougeL"]
    assert alone.high - alone.low > 0.05


def test_a_model_does_not_differ_from_itself() -> None:
    scores = metrics.score_rows(OUTPUTS, TRUTHS)
    for difference in bootstrap.paired_differences(scores, scores, CHUNKS).values():
        assert difference == bootstrap.Difference(0, 0, 0, p=1)
        assert not difference.excludes_zero


def test_same_seed_same_interval() -> None:
    scores = metrics.score_rows(OUTPUTS, TRUTHS)
    assert bootstrap.intervals(scores, CHUNKS, seed=5) == bootstrap.intervals(scores, CHUNKS, seed=5)
    assert (bootstrap.resample(CHUNKS, 100, 5) != bootstrap.resample(CHUNKS, 100, 6)).any()


def _scores(values: bootstrap.Floats) -> dict[str, bootstrap.Floats]:
    counts = np.tile([4.0, 4, 2, 1, 1, 1, 4, 3, 2, 1], (len(values), 1))
    return dict.fromkeys(metrics.NAMES, values) | {metrics.BLEU_COUNTS: counts}
