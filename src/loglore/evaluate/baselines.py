"""Two answers that need no model, so that nobody admires a score that they reach as well.

`nearest`: the answer of the training row whose question looks most like the test question (cosine of word weights, the
usual ltc form: (1 + log tf) x idf, normalised). A tuned model that does not beat it has learned to copy.
`empty`: nothing at all. What it scores is what a metric gives away.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loglore.errors import InputError
from loglore.evaluate import rows
from loglore.evaluate.generate import Output
from loglore.evaluate.questions import Question, read_questions
from loglore.evaluate.words import rouge_words

if TYPE_CHECKING:
    import polars as pl

NEAREST, EMPTY = "nearest training answer", "empty answer"


def empty(table: "pl.DataFrame") -> "pl.DataFrame":
    """The rows of a test run, answered with nothing."""
    questions = rows.questions_of(table)
    return rows.table(questions, [_output(place, "") for place in range(len(questions))])


def nearest(table: "pl.DataFrame", train: Path) -> tuple["pl.DataFrame", int]:
    """The rows of a test run, answered with the nearest training answer; and how many have their chunk in training.

    Raises:
        InputError: `train` has no chat rows.
    """
    questions = rows.questions_of(table)
    known = read_questions(train, split="train")
    found = closest([_asked(question) for question in questions], [_asked(question) for question in known])
    answers = rows.table(questions, [_output(place, known[near].truth) for place, near in enumerate(found)])
    chunks = {question.chunk for question in known if not question.chunk.startswith("row ")}
    return answers, sum(question.chunk in chunks for question in questions)


def closest(texts: Sequence[str], known: Sequence[str]) -> list[int]:
    """For each text the place of the most similar known one; the first of equals.

    >>> closest(["disk is full"], ["login failed", "the disk was full"])
    [1]
    """
    if not known:
        raise InputError("no known texts to look for the nearest in")
    words: dict[str, int] = {}
    documents = [_counted(text, words) for text in known]
    holding = Counter(word for document in documents for word in document)
    rarity = np.array([math.log((1 + len(known)) / (1 + holding[word])) + 1 for word in range(len(words))])
    postings = _postings(documents, rarity)
    return [int(_scores(text, words, rarity, postings, len(known)).argmax()) for text in texts]


def _postings(documents: Sequence[Counter[int]], rarity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents and weights by word: word w has the places starts[w] to starts[w + 1]."""
    ids, places, weights = [], [], []
    for place, document in enumerate(documents):
        found = np.fromiter(document.keys(), np.int64, len(document))
        weight = (1 + np.log(np.fromiter(document.values(), np.float64, len(document)))) * rarity[found]
        ids.append(found)
        places.append(np.full(len(document), place, np.int32))
        weights.append((weight / max(float(np.linalg.norm(weight)), 1e-12)).astype(np.float32))
    word = np.concatenate(ids)
    order = np.argsort(word, kind="stable")
    starts = np.searchsorted(word[order], np.arange(len(rarity) + 1))
    return starts, np.concatenate(places)[order], np.concatenate(weights)[order]


def _scores(
    text: str,
    words: dict[str, int],
    rarity: np.ndarray,
    postings: tuple[np.ndarray, np.ndarray, np.ndarray],
    known: int,
) -> np.ndarray:
    """Similarity of a text to every known one, without its own norm: only their order counts."""
    starts, places, weights = postings
    found = np.zeros(known)
    for word, count in Counter(rouge_words(text)).items():
        if (number := words.get(word)) is not None:
            part = slice(starts[number], starts[number + 1])
            found[places[part]] += (1 + math.log(count)) * rarity[number] * weights[part]
    return found


def _counted(text: str, words: dict[str, int]) -> Counter[int]:
    return Counter(words.setdefault(word, len(words)) for word in rouge_words(text))


def _asked(question: Question) -> str:
    return "\n".join(message["content"] for message in question.messages if message["role"] != "system")


def _output(place: int, text: str) -> Output:
    return Output(place, text, 0, 0, "stop", 0.0)
