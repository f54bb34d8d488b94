"""The nearest training answer by a plain loop over cosines, and what an empty answer scores."""

import math
import random
from collections import Counter
from pathlib import Path

import pytest

from loglore.evaluate import baselines, metrics, questions, rows
from loglore.evaluate.generate import Output
from loglore.runs import files


def plain_closest(texts: list[str], known: list[str]) -> list[int]:
    """ltc cosine as in the textbook (Manning et al. 2008, section 6.4), every pair compared."""
    documents = [Counter(text.split()) for text in known]
    number = len(known)
    holding = Counter(word for document in documents for word in document)
    rarity = {word: math.log((1 + number) / (1 + count)) + 1 for word, count in holding.items()}

    def weights(counts: Counter[str]) -> dict[str, float]:
        found = {word: (1 + math.log(n)) * rarity[word] for word, n in counts.items() if word in rarity}
        norm = math.sqrt(sum(value**2 for value in found.values())) or 1.0
        return {word: value / norm for word, value in found.items()}

    vectors = [weights(document) for document in documents]
    best = []
    for text in texts:
        mine = weights(Counter(text.split()))
        scores = [sum(value * vector.get(word, 0) for word, value in mine.items()) for vector in vectors]
        best.append(scores.index(max(scores)))
    return best


def test_the_nearest_is_that_of_a_plain_loop() -> None:
    draw = random.Random(3)
    words = [f"w{number}" for number in range(60)]

    def text() -> str:
        return " ".join(draw.choices(words, weights=range(1, 61), k=draw.randint(3, 40)))

    known, texts = [text() for _ in range(80)], [text() for _ in range(60)]
    assert baselines.closest(texts, known) == plain_closest(texts, known)
    assert baselines.closest(known, known) == [known.index(one) for one in known]
    assert baselines.closest(["nothing alike"], known) == [0]


def test_rows_are_answered_by_the_nearest_question_and_leaks_are_counted(dataset: Path, tmp_path: Path) -> None:
    asked = questions.read_questions(dataset)
    table = rows.table(asked, [Output(n, "x", 1, 1, "stop", 0.1) for n in range(len(asked))])
    train = tmp_path / "train.jsonl"
    kept = [row for row in files.read_jsonl_log(dataset) if row["meta"]["chunk"] in ("db.log:0", "db.log:1")]
    files.write_jsonl(train, [row | {"meta": row["meta"] | {"chunk": "other.log:9"}} for row in kept])
    nearest, shared = baselines.nearest(table, train)
    assert shared == 0
    truths = nearest.filter(nearest["row"] <= 4)
    assert truths["output"].to_list() == truths["truth"].to_list(), "the same question has the same answer"
    assert set(nearest["output"].to_list()) == {row["conversations"][1]["value"] for row in kept}
    files.write_jsonl(train, kept)
    assert baselines.nearest(table, train)[1] == 4
    assert nearest["key"].to_list() == table["key"].to_list()


def test_an_empty_answer_scores_nothing_but_is_counted(dataset: Path) -> None:
    asked = questions.read_questions(dataset)
    table = rows.table(asked, [Output(n, "x", 1, 1, "stop", 0.1) for n in range(len(asked))])
    empty = baselines.empty(table)
    for name in metrics.NAMES:
        assert empty[name].to_list() == pytest.approx([0.0] * len(asked))
    assert empty["length_ratio"].to_list() == [0.0] * len(asked)
    assert empty["exact_match"].to_list() == [0.0] * len(asked)
