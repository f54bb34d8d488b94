import json
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from loglore.data.frame import conversation
from loglore.runs.folder import RunFolder
from loglore.synth import chat
from loglore.synth.clean import Cleaner, Seen, jaccard, shingles_of

VOCABULARY = ["alpha", "beta", "gamma", "delta", "disk", "full", "open", "close", "12", "77"]
WORDS = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=60)
TREES = ["ash", "birch", "cedar", "dogwood", "elm", "fir", "ginkgo", "hazel", "ivy", "juniper", "larch", "maple", "oak"]


@given(WORDS, WORDS)
def test_jaccard_is_that_of_the_sets(one: list[str], two: list[str]) -> None:
    def runs(words: list[str]) -> set[tuple[str, ...]]:
        plain = ["0" if word.isdigit() else word for word in words]
        return {tuple(plain[start : start + 5]) for start in range(max(1, len(plain) - 4))}

    expected = len(runs(one) & runs(two)) / len(runs(one) | runs(two))
    assert jaccard(shingles_of(" ".join(one)), shingles_of(" ".join(two))) == expected


def test_alike_logs_are_found_as_by_comparing_all_pairs() -> None:
    draw = random.Random(1)
    base = [draw.choice(["open", "close", "read", "write", "sync", "fail"]) + draw.choice("abcdef") for _ in range(120)]
    texts = []
    for number in range(200):
        words = list(base if number % 2 else draw.sample(base, len(base)))
        for _ in range(draw.randrange(4)):
            words[draw.randrange(len(words))] = draw.choice(base)
        texts.append(" ".join(words))
    seen, missed = Seen(0.8), 0
    for number, text in enumerate(texts):
        truth = any(jaccard(shingles_of(text), shingles_of(other)) >= 0.8 for other in texts[:number])
        found = seen.like(text)
        assert not found or truth
        missed += truth and not found
        seen.add(text)
    assert missed == 0


def row(log: str, task: str = "summary") -> dict:
    return {"conversations": conversation([("What?", "This.")], log), "meta": {"task": task}}


def test_numbers_do_not_make_logs_different() -> None:
    one = "backup of shop began at 10:00 and wrote 512 pages to disk in 12 s"
    two = "backup of shop began at 23:59 and wrote 99 pages to disk in 7 s"
    cleaner = Cleaner(0.9)
    assert cleaner.reason(row(one), "train") == ""
    assert "another row of its task" in cleaner.reason(row(two), "train")
    assert cleaner.reason(row(two, "patterns"), "train") == ""
    cleaner.hold_out([one])
    assert "held-out" in cleaner.reason(row(two, "alert"), "train")
    assert cleaner.reason(row(two), "test") == ""


def test_training_rows_like_held_out_ones_are_removed_and_listed(tmp_path: Path) -> None:
    night = "\n".join(
        f"03:00:{second:02d} INFO backup: wrote part {second} of shop to the vault" for second in range(40)
    )
    other = "\n".join(
        f"04:{minute:02d}:00 ERROR {word}: cannot {word} the thing called {word} today"
        for minute, word in enumerate(TREES)
    )
    (tmp_path / "a.log").write_text(night + "\n" + other + "\n")
    values = {
        "logs": [str(tmp_path / "a.log")], "smallest": 4, "largest": 4, "test_chunks": 3, "validation_chunks": 0,
        "test_rows": 3, "validation_rows": 0, "train_rows": 30, "tasks": ["summary"], "duplicates": 0.8,
    }  # fmt: skip
    result = chat.run(chat.ChatSpec.parse(values, "r"), RunFolder(tmp_path / "run", {}))
    removed = [json.loads(line) for line in (tmp_path / "run" / "removed.jsonl").read_text().splitlines()]
    assert sum(result["removed"].values()) == len(removed) > 5
    assert result["rows"]["train"] + result["rows"]["test"] + len(removed) == sum(result["chunks"].values())
    kept = (tmp_path / "run" / "train.jsonl").read_text()
    if "backup" in (tmp_path / "run" / "test.jsonl").read_text():
        assert "backup" not in kept
