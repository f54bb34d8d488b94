import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.data import stats
from loglore.data.packing import best_fit_decreasing
from loglore.data.render import Rendered

STEP = stats.Step(2, 3)


def array(*lengths: int) -> np.ndarray:
    return np.array(lengths, dtype=np.int64)


def test_worked_example_of_the_header() -> None:
    lengths = array(2, 4, 6, 12)
    assert stats.truncation(lengths, 4) == stats.Truncation(4, 0.5, 10 / 24)
    assert stats.truncation(lengths, 8) == stats.Truncation(8, 0.25, 4 / 24)
    assert stats.packed(lengths, "cpt", 8, STEP) == stats.Packed(8, 3, 1.0, 1.0, steps=6)


def test_conversations_are_shortened_and_steps_count_samples() -> None:
    found = stats.packed(array(2, 4, 6, 12, 12), "sft", 8, STEP)
    assert (found.rows, found.fill, found.steps) == (4, 28 / 32, 9)


def test_everything_follows_from_the_lengths() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(6800), 0.55, 3000).clip(2000, 31000).astype(np.int64)
    found = stats.describe(lengths, 1234, "sft", 8192, stats.Step(64, 3))
    assert (found.rows, found.tokens, found.counted) == (3000, lengths.sum(), 1234)
    assert (found.shortest, found.longest, found.mean) == (lengths.min(), lengths.max(), lengths.mean())
    ordered = sorted(lengths.tolist())
    assert found.quantiles["50%"] == ordered[1499] and found.quantiles["95%"] == ordered[2849]
    bars = [int(((lengths >= start) & (lengths < start + 1000)).sum()) for start in found.edges[:-1]]
    assert found.counts == bars and sum(bars) == 3000
    assert abs(found.mode - 5000) <= 1000 and found.edges[1] == 1000
    assert [cut.limit for cut in found.truncation] == [4096, 8192, 16384]
    assert found.truncation[1].rows == sum(length > 8192 for length in ordered) / 3000
    assert found.packed.steps == 3 * 47
    assert found.as_json()["packed"]["capacity"] == 8192


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
def test_histogram_holds_every_row_in_8_to_62_bars_or_fewer_when_all_are_short(lengths: list[int]) -> None:
    edges, counts = stats.histogram(array(*lengths))
    assert counts.sum() == len(lengths)
    assert len(counts) <= 62
    assert edges[0] == 0 and edges[-1] > max(lengths)
    if max(lengths) >= 20:
        assert len(counts) >= 8


def fewest(lengths: list[int], capacity: int) -> int:
    for rows in range(1, len(lengths) + 1):
        for places in itertools.product(range(rows), repeat=len(lengths)):
            if (np.bincount(places, weights=lengths, minlength=rows) <= capacity).all():
                return rows
    return 0


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_bound_is_never_above_the_best_packing_and_beats_the_sum(lengths: list[int]) -> None:
    bound = stats.fewest_rows(array(*lengths), 12)
    assert -(-sum(lengths) // 12) <= bound <= fewest(lengths, 12)


@given(st.integers(2, 30).flatmap(lambda top: st.tuples(st.just(top), st.lists(st.integers(1, top), min_size=1))))
def test_bound_is_martello_and_toths(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    best = 0
    for k in range(capacity // 2 + 1):
        alone = [length for length in lengths if length > capacity - k]
        large = [length for length in lengths if capacity - k >= length > capacity / 2]
        small = [length for length in lengths if capacity / 2 >= length >= k]
        room = len(large) * capacity - sum(large)
        best = max(best, len(alone) + len(large) + max(0, -(-(sum(small) - room) // capacity)))
    assert stats.fewest_rows(array(*lengths), capacity) == best
    assert best <= len(best_fit_decreasing(lengths, capacity))


def test_counted_tokens_leave_the_first_of_a_sample_out() -> None:
    one = Rendered(np.zeros(4, dtype=np.int32), np.array([True, True, False, True]))
    lengths, counted = stats.lengths_of([[one, one], [one]])
    assert lengths.tolist() == [4, 4, 4] and counted == 6


def test_picture_shows_the_bars() -> None:
    from matplotlib.image import imread

    lengths = np.random.default_rng(0).lognormal(np.log(6800), 0.55, 3000).clip(2000, 31000).astype(np.int64)
    found = stats.describe(lengths, 0, "sft", 8192, STEP)
    image = imread(io.BytesIO(stats.picture(found, "title")))
    assert image.shape == (660, 1350, 4)
    blue = (np.abs(image[:, :, :3] - np.array([0x3B, 0x82, 0xC4]) / 255) < 0.02).all(axis=2)
    heights = blue.sum(axis=0)
    # Nothing left of 2k, the highest bar at 4k to 6k, a tail to the right.
    assert not heights[:150].any()
    assert 1350 * 0.15 < heights.argmax() < 1350 * 0.27
    assert heights[900:1300].any() and heights[900:1300].max() < heights.max() / 3


@pytest.mark.parametrize("lengths", [(1,), (3, 3, 3), (5, 70_000)])
def test_any_dataset_can_be_described_and_drawn(lengths: tuple[int, ...]) -> None:
    found = stats.describe(array(*lengths), 0, "sft", 8192, STEP)
    assert stats.picture(found, "t").startswith(b"\x89PNG")
    text = "\n".join(stats.lines(found, "sft"))
    assert f"{len(lengths):,} samples, {sum(lengths):,} tokens" in text
    assert "cut at 4,096:" in text and "optimizer steps" in text
