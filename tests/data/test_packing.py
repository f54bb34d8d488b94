import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loglore.data import packing
from loglore.data.render import Rendered
from loglore.errors import InputError


def sample(number: int, length: int, counted: int = 0) -> Rendered:
    """A sample whose tokens are all its number; the last `counted` count for the loss (0: all)."""
    mask = np.arange(length) >= length - counted if counted else np.ones(length, dtype=bool)
    return Rendered(np.full(length, number, dtype=np.int32), mask)


def fewest_rows(lengths: list[int], capacity: int) -> int:
    """Brute force: the fewest rows, over all assignments."""
    for rows in range(1, len(lengths) + 1):
        for places in itertools.product(range(rows), repeat=len(lengths)):
            totals = np.bincount(places, weights=lengths, minlength=rows)
            if (totals <= capacity).all():
                return rows
    return 0


def test_worked_example_of_the_header() -> None:
    a, b, c = sample(1, 5), sample(2, 3), sample(3, 4)
    assert packing.first_fit_decreasing([5, 3, 4], 8) == [[0, 1], [2]]
    row = packing.flatten([a, b])
    assert row.ids.tolist() == [1, 1, 1, 1, 1, 2, 2, 2]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert row.segments.tolist() == [0, 5, 8]
    assert row.targets.tolist() == [1, 1, 1, 1, -100, 2, 2, -100]
    assert packing.flatten([c]).segments.tolist() == [0, 4]


@given(st.lists(st.integers(1, 10), min_size=1, max_size=6))
def test_every_sample_once_within_capacity_and_near_the_best(lengths: list[int]) -> None:
    rows = packing.first_fit_decreasing(lengths, 10)
    assert sorted(itertools.chain(*rows)) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in row) <= 10 for row in rows)
    assert len(rows) <= 11 / 9 * fewest_rows(lengths, 10) + 6 / 9


def test_too_long_a_sample_is_named() -> None:
    with pytest.raises(InputError, match="sample 2 has 11 tokens; expected 1 to 10"):
        packing.first_fit_decreasing([3, 11], 10)


@given(st.lists(st.integers(2, 40), min_size=1, max_size=30), st.integers(1, 5), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=40)
def test_plans_hold_every_sample_every_epoch(lengths: list[int], per_step: int, epochs: int, seed: int) -> None:
    samples = [sample(number, length) for number, length in enumerate(lengths)]
    for plan in (packing.plan_rows, packing.plan_samples):
        steps = plan(samples, 40, per_step, epochs, seed)
        seen = [int(row.ids[start]) for step in steps for row in step for start in row.segments[:-1]]
        assert sorted(seen) == sorted(list(range(len(lengths))) * epochs)
        assert all(len(row.ids) <= 40 for step in steps for row in step)
    per = [sum(len(row.segments) - 1 for row in step) for step in packing.plan_samples(samples, 40, per_step, 1, seed)]
    assert all(count == per_step for count in per[:-1]) and 1 <= per[-1] <= per_step


def test_plan_depends_on_the_seed_alone() -> None:
    samples = [sample(number, 3 + number % 7) for number in range(30)]

    def order(seed: int) -> list[int]:
        return [int(row.ids[0]) for step in packing.plan_samples(samples, 20, 4, 2, seed) for row in step]

    assert order(1) == order(1)
    assert order(1) != order(2)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_long_texts_are_cut_without_loss(lengths: list[int]) -> None:
    samples = [sample(number, length) for number, length in enumerate(lengths)]
    pieces = packing.split_long(samples, 16)
    assert all(2 <= len(piece.ids) <= 16 for piece in pieces)
    lost = sum(lengths) - sum(len(piece.ids) for piece in pieces)
    assert lost == sum(length % 16 == 1 for length in lengths)  # a single last token has nothing to predict
