"""The rows of a test run as a table, `rows.parquet`: everything about a question that `compare` or a person may want.

A row without answer (an endpoint that failed) has nulls for output and all scores. Every further measure has two
columns: its value for the row, and the counts it is summed from; both null where it does not fit.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from loglore.data.frame import log_of
from loglore.evaluate import grounded, measures, metrics
from loglore.evaluate.generate import Output
from loglore.evaluate.questions import Question

if TYPE_CHECKING:
    import polars as pl

COUNTS = "_counts"
_ABOUT = ("row", "turn", "last_turn", "key", "chunk", "task", "source", "language", "messages", "truth", "output")


def table(questions: Sequence[Question], outputs: Sequence[Output | None]) -> "pl.DataFrame":
    """One row a question."""
    import polars as pl

    answered = [row for row, output in enumerate(outputs) if output is not None]
    texts = [None if output is None else output.text for output in outputs]
    truths = [question.truth for question in questions]
    scored = (
        metrics.score_rows([str(texts[row]) for row in answered], [truths[row] for row in answered]) if answered else {}
    )
    claims = {
        "": [{} if text is None else _claims(question, text) for question, text in zip(questions, texts, strict=True)],
        "truth_": [_claims(question, question.truth) for question in questions],
    }
    columns: dict[str, Any] = _about(questions, outputs, texts)
    for name in metrics.NAMES:
        columns[name] = pl.Series(_spread(scored.get(name), answered, len(questions)), dtype=pl.Float64)
    counts = _spread(scored.get(metrics.BLEU_COUNTS), answered, len(questions))
    columns[metrics.BLEU_COUNTS] = pl.Series(counts, dtype=pl.List(pl.Float64))
    tasks = [question.task for question in questions]
    for measure in measures.MEASURES:
        found = measures.column(measure, truths, texts, tasks)
        columns[measure.name] = pl.Series(measures.row_values(measure, found), dtype=pl.Float64)
        columns[measure.name + COUNTS] = pl.Series(found, dtype=pl.List(pl.Float64))
    for of, verdicts in claims.items():
        for verdict in grounded.VERDICTS:
            columns[of + verdict] = pl.Series([each.get(verdict) for each in verdicts], dtype=pl.Int64)
    return pl.DataFrame(columns)


def columns() -> list[str]:
    """The columns that a comparison needs."""
    return [*_ABOUT, *metrics.NAMES, metrics.BLEU_COUNTS, *(name + COUNTS for name in measures.BY_NAME)]


def answered(rows: "pl.DataFrame") -> "pl.DataFrame":
    """The rows that have an answer."""
    return rows.filter(rows["output"].is_not_null())


def row_scores(rows: "pl.DataFrame") -> dict[str, metrics.Floats]:
    """The per-row score arrays of `metrics.score_rows`, back from a table of answered rows."""
    counts = np.array(rows[metrics.BLEU_COUNTS].to_list(), dtype=float)
    return {name: rows[name].to_numpy() for name in metrics.NAMES} | {metrics.BLEU_COUNTS: counts}


def counts_of(rows: "pl.DataFrame", measure: measures.Measure) -> list[measures.Counts | None]:
    """A measure's counts of every row, back from the table."""
    return [None if found is None else tuple(found) for found in rows[measure.name + COUNTS].to_list()]


def questions_of(rows: "pl.DataFrame") -> list[Question]:
    """The questions of a table again, to score other answers to them."""
    found = []
    for row in rows.iter_rows(named=True):
        messages = json.loads(row["messages"])
        first = next(message["content"] for message in messages if message["role"] == "user")
        kept = {name: row[name] for name in ("truth", "chunk", "task", "source", "language", "row", "turn")}
        turns = row["turn"] if row["last_turn"] else row["turn"] + 1
        found.append(Question(messages=messages, log=log_of(first), place=f"row {row['row']}", turns=turns, **kept))
    return found


def _about(
    questions: Sequence[Question], outputs: Sequence[Output | None], texts: Sequence[str | None]
) -> dict[str, Any]:
    import polars as pl

    def told(name: str, dtype: Any) -> "pl.Series":
        return pl.Series([None if output is None else getattr(output, name) for output in outputs], dtype=dtype)

    return {
        "row": [question.row for question in questions],
        "turn": [question.turn for question in questions],
        "last_turn": [question.turn == question.turns for question in questions],
        "key": [question.key for question in questions],
        "chunk": [question.chunk for question in questions],
        "task": [question.task for question in questions],
        "source": [question.source for question in questions],
        "language": [question.language for question in questions],
        "turns": [sum(message["role"] == "user" for message in question.messages) for question in questions],
        "messages": [json.dumps(question.messages, ensure_ascii=False) for question in questions],
        "input": [question.messages[-1]["content"] for question in questions],
        "truth": [question.truth for question in questions],
        "output": pl.Series(texts, dtype=pl.String),
        "finish": told("finish", pl.String),
        "prompt_tokens": told("prompt_tokens", pl.Int64),
        "tokens": told("tokens", pl.Int64),
        "latency_s": told("seconds", pl.Float64),
    }


def _spread(values: Any, places: Sequence[int], height: int) -> list[Any]:
    """Values at their places in a column, None elsewhere."""
    column: list[Any] = [None] * height
    for place, value in zip(places, () if values is None else values.tolist(), strict=True):
        column[place] = value
    return column


def _claims(question: Question, answer: str) -> Mapping[str, int]:
    return grounded.count(answer, question.log) if question.log else {}
