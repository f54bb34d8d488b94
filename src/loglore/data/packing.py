"""Bin packing of rendered samples into rows of at most `capacity` tokens, and optimizer steps made of such rows.

A row is flattened samples one after the other: positions restart at 0 with each sample, and `segments` says where.
Attention never crosses a segment (`models.attention`), so packing changes the speed and nothing else.

Worked example, capacity 8, samples of lengths 5, 3, 4: first fit decreasing gives rows [5, 3] and [4].

    ids        a a a a a b b b | c c c c
    positions  0 1 2 3 4 0 1 2 | 0 1 2 3
    segments   0 5 8           | 0 4
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loglore.data.render import Rendered
from loglore.errors import InputError

IGNORED = -100  # the label that torch's cross entropy leaves out


@dataclass(frozen=True)
class PackedRow:
    """One row of `length` tokens from several samples.

    ids: int32 [length]; positions: int32 [length], restarting with each sample;
    targets: int32 [length], the next token of the same sample where it counts for the loss, else -100;
    segments: int32 [samples + 1], where each sample starts, and the end.
    """

    ids: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]


def first_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Assign samples to as few rows as first fit decreasing finds (within 11/9 of the best; Johnson 1973).

    Args:
        lengths: tokens a sample, each in 1..capacity.
        capacity: tokens a row.

    Returns:
        Sample numbers by row; within a row in their original order.

    >>> first_fit_decreasing([5, 3, 4], 8)
    [[0, 1], [2]]
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for sample in sorted(range(len(lengths)), key=lambda number: (-lengths[number], number)):
        length = lengths[sample]
        if not 1 <= length <= capacity:
            raise InputError(f"sample {sample + 1} has {length} tokens; expected 1 to {capacity}")
        place = next((row for row, free in enumerate(room) if free >= length), None)
        if place is None:
            rows.append([])
            room.append(capacity)
            place = len(rows) - 1
        rows[place].append(sample)
        room[place] -= length
    return [sorted(row) for row in rows]


def flatten(samples: Sequence[Rendered]) -> PackedRow:
    """Put samples into one row; no token of a sample predicts the first of the next."""
    lengths = [len(sample.ids) for sample in samples]
    targets = [
        np.append(np.where(sample.mask[1:], sample.ids[1:], IGNORED), IGNORED).astype(np.int32) for sample in samples
    ]
    return PackedRow(
        ids=np.concatenate([sample.ids for sample in samples]),
        positions=np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        targets=np.concatenate(targets),
        segments=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
    )


def split_long(samples: Sequence[Rendered], capacity: int) -> list[Rendered]:
    """Cut samples longer than `capacity` into pieces: for pretraining text, where every token may be learned."""
    pieces = []
    for sample in samples:
        for start in range(0, len(sample.ids), capacity):
            pieces.append(Rendered(sample.ids[start : start + capacity], sample.mask[start : start + capacity]))
    # A single last token predicts nothing and is predicted by nothing.
    return [piece for piece in pieces if len(piece.ids) > 1]


def plan_rows(
    samples: Sequence[Rendered], capacity: int, rows_per_step: int, epochs: int, seed: int
) -> list[list[PackedRow]]:
    """Optimizer steps for pretraining: a step is `rows_per_step` packed rows; the last step of an epoch may have fewer.

    Rows are packed once and shuffled every epoch by `seed`.
    """
    rows = [flatten([samples[number] for number in row]) for row in _packed(samples, capacity, seed)]
    steps = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(rows))
        for start in range(0, len(rows), rows_per_step):
            steps.append([rows[number] for number in order[start : start + rows_per_step]])
    return steps


def plan_samples(
    samples: Sequence[Rendered], capacity: int, samples_per_step: int, epochs: int, seed: int
) -> list[list[PackedRow]]:
    """Optimizer steps for fine-tuning: a step is `samples_per_step` samples, packed into as many rows as they need.

    The number of samples in a step is what the user asked for, packed or not; only the number of rows varies.
    """
    steps = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(samples))
        for start in range(0, len(samples), samples_per_step):
            chosen = [samples[number] for number in order[start : start + samples_per_step]]
            rows = first_fit_decreasing([len(sample.ids) for sample in chosen], capacity)
            steps.append([flatten([chosen[number] for number in row]) for row in rows])
    return steps


def _packed(samples: Sequence[Rendered], capacity: int, seed: int) -> list[list[int]]:
    # Shuffled before packing: first fit decreasing keeps the order among equals, and sources would stay together.
    order = np.random.default_rng([seed, 1 << 32]).permutation(len(samples))
    rows = first_fit_decreasing([len(samples[number].ids) for number in order], capacity)
    return [[int(order[number]) for number in row] for row in rows]
