import hashlib
import random

import pytest

from loglore.data import leaks
from loglore.data.files import Place


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def row(text: str, **meta: object) -> dict:
    return {"text": text, "meta": meta}


def held_out(rows: list[dict]) -> leaks.HeldOut:
    kept = leaks.HeldOut("test", "test")
    for number, one in enumerate(rows, 1):
        kept.add(Place("test", number), leaks.sample(one["text"]), digest(one["text"]), leaks.chunk_keys(one))
    return kept


def rows(places: list[Place]) -> list[int]:
    return [place.row for place in places]


def random_text(seed: int, length: int = 4000) -> str:
    return "".join(random.Random(seed).choices("abcdefghij klmnop", k=length))


def test_overlap_is_near_the_share_counted_window_by_window() -> None:
    parts = [random_text(seed, 1000) for seed in range(6)]
    tested = [row("".join(parts[:4])), row("".join(parts[4:])), row(random_text(99))]
    seen = [row(parts[0] + parts[2]), row(parts[5][:500])]
    kept = held_out(tested)
    for one in seen:
        kept.compare("train", leaks.sample(one["text"]), digest(one["text"]), leaks.chunk_keys(one))
    (leak,) = kept.leaks()

    def grams(text: str) -> list[str]:
        return [text[start : start + leaks.WINDOW] for start in range(len(text) - leaks.WINDOW + 1)]

    known = {gram for one in seen for gram in grams(one["text"])}
    shares = [sum(gram in known for gram in grams(one["text"])) / len(grams(one["text"])) for one in tested]
    assert leak.mean_overlap == pytest.approx(sum(shares) / 3, abs=0.03)
    assert leak.max_overlap == pytest.approx(max(shares), abs=0.05)
    assert rows(leak.overlapping) == [number for number, share in enumerate(shares, 1) if share >= 0.5]
    assert leak.shares == pytest.approx([share for share in shares if share >= 0.5], abs=0.05)
    assert leak.rows == 3 and not leak.chunk and not leak.exact


def test_the_same_lines_and_the_same_chunk_are_found() -> None:
    kept = held_out(
        [
            row("a", source="x.log", lines=[10, 20]),
            row("b", source="x.log", lines=[21, 30]),
            row("c", source="y.log", lines=[10, 20]),
            row("d", source="x.log", chunk="x-1"),
            row("e"),
            row("f", source="z.log", lines="10-20", chunk=None),
        ]
    )
    for one in (row("other", source="x.log", lines=[30, 40]), row("more", source="x.log", chunk="x-1"), row("e")):
        kept.compare("train", leaks.sample(one["text"]), digest(one["text"]), leaks.chunk_keys(one))
    (leak,) = kept.leaks()
    assert (rows(leak.chunk), rows(leak.exact), leak.overlapping) == ([2, 4], [5], [])


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("NLPLog_val.json", "validation"),
        ("a/test_no_json.json", "test"),
        ("train_no_json_mini.json", "train"),
        ("corpus.jsonl", "corpus"),
        ("s3://b/test/rows.jsonl", "train"),
    ],
)
def test_roles_are_told_by_names(name: str, role: str) -> None:
    assert leaks.role_of(name) == role
