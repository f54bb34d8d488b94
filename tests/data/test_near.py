import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loglore.data import near
from loglore.data.shingles import windows

WORDS = [f"word{number}" for number in range(400)]


def text(seed: int, length: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def jaccard(left: str, right: str) -> float:
    sets = [
        {raw[i : i + near.WINDOW] for i in range(len(raw) - near.WINDOW + 1)} for raw in (left.encode(), right.encode())
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@given(st.binary(max_size=200), st.integers(1, 60))
def test_windows_are_equal_exactly_where_the_bytes_are(raw: bytes, length: int) -> None:
    pieces = [raw[start : start + length] for start in range(len(raw) - length + 1)]
    hashes = windows(raw, length).tolist()
    assert len(hashes) == len(pieces)
    assert len(set(hashes)) == len(set(pieces))
    assert dict(zip(pieces, hashes, strict=True)) == {piece: windows(piece, length).tolist()[0] for piece in pieces}


def test_the_estimate_is_close_to_the_true_similarity() -> None:
    errors = []
    for seed in range(60):
        words = text(seed).split()
        changed = words.copy()
        for place in random.Random(seed).sample(range(120), seed // 4):
            changed[place] = f"other{place}"
        left, right = " ".join(words), " ".join(changed)
        signatures = [near.signature(one.encode())[None] for one in (left, right)]
        errors.append(float(near.similarity(*signatures)[0]) - jaccard(left, right))
    assert abs(np.mean(errors)) < 0.02
    assert np.std(errors) < 0.08


def test_near_rows_are_found_and_others_are_not() -> None:
    found = near.NearDuplicates(threshold=0.8)
    rows = [text(seed) for seed in range(200)]
    close = {}
    for seed in range(0, 200, 10):
        words = rows[seed].split()
        words[7] = "changed"
        close[200 + seed // 10] = seed
        rows.append(" ".join(words))
    for number, row in enumerate([*rows, "short", "short"]):
        found.add(number, near.sketch(row))
    pairs = found.pairs()
    assert {pair.later: pair.earlier for pair in pairs} == close
    assert all(jaccard(rows[pair.later], rows[pair.earlier]) > 0.75 for pair in pairs)
    assert found.short == 2


def test_one_row_has_no_pairs() -> None:
    found = near.NearDuplicates()
    found.add(0, near.sketch(text(1)))
    assert found.pairs() == []
