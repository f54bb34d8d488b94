"""Wins, slices, extremes and marks of two made test runs, against what can be counted by eye."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.evaluate import bootstrap, metrics, pairs, questions, rows
from loglore.evaluate.generate import Output


@pytest.fixture
def tables(dataset: Path) -> dict[str, pl.DataFrame]:
    """A model that is right on even rows and one that is right on the first four and empty elsewhere."""
    asked = questions.read_questions(dataset)

    def table(right: set[int], wrong: str) -> pl.DataFrame:
        texts = [q.truth if q.row in right else wrong for q in asked]
        return rows.table(asked, [Output(n, text, 9, 5, "stop", 1.0) for n, text in enumerate(texts)])

    return {"even": table(set(range(2, 13, 2)), "Job is down."), "first": table({1, 2, 3, 4}, "")}


def test_wins_ties_and_losses_add_up(tables: dict[str, pl.DataFrame]) -> None:
    found = pairs.difference(tables["even"], tables["first"], 200, 0)
    changes = (tables["even"]["fuzzy_match"] - tables["first"]["fuzzy_match"]).to_numpy()
    expected = {"won": int((changes > 0.01).sum()), "tied": int((abs(changes) <= 0.01).sum()), "lost": 2}
    assert found["wins"]["fuzzy_match"] == expected, "rows 1 and 3 are lost"
    assert all(sum(found["wins"][name].values()) == 14 for name in metrics.NAMES)


def test_p_is_small_where_one_is_better_and_large_where_they_are_alike() -> None:
    draw = np.random.default_rng(0)
    base = draw.uniform(0.2, 0.8, 80)
    columns = {shift: np.column_stack([np.ones(80), base + draw.normal(shift, 0.05, 80)]) for shift in (0.0, 0.05)}
    reference = np.column_stack([np.ones(80), base])

    def p(shift: float) -> float:
        (found,) = bootstrap.differences(columns[shift], reference, _mean, list(range(80)), 2000, 1)
        assert found.excludes_zero == (found.p < 0.05)
        return found.p

    assert p(0.05) == 1 / 2001
    assert p(0.0) > 0.2


def test_p_equals_that_of_a_t_test_for_means() -> None:
    draw = np.random.default_rng(2)
    difference = draw.normal(0.012, 0.06, 100)
    zero, ours = (np.column_stack([np.ones(100), values]) for values in (np.zeros(100), difference))
    (found,) = bootstrap.differences(ours, zero, _mean, list(range(100)), 20_000, 3)
    standard_error = difference.std() / 10
    # Two-sided p of a normal, by its own series.
    import math

    expected = math.erfc(abs(difference.mean()) / standard_error / math.sqrt(2))
    assert found.p == pytest.approx(expected, abs=0.01)


def _mean(totals: bootstrap.Floats) -> bootstrap.Floats:
    return np.asarray(totals[..., 1:] / totals[..., :1])


def test_slices_hold_the_rows_they_say(tables: dict[str, pl.DataFrame]) -> None:
    found = pairs.slices(tables, "first", 200, 0)
    tasks = {part["value"]: part for part in found if part["kind"] == "task"}
    assert {name: part["rows"] for name, part in tasks.items()} == {"summary": 4, "root_cause": 5, "conversation": 5}
    table = tables["even"]
    mean = table.filter(pl.col("task") == "summary")["fuzzy_match"].mean()
    assert tasks["summary"]["models"]["even"]["scores"]["fuzzy_match"]["value"] == pytest.approx(mean)
    assert "difference" not in tasks["summary"]["models"]["first"]
    assert {part["value"]: part["rows"] for part in found if part["kind"] == "turn"} == {
        "last turn": 12,
        "earlier turn": 2,
    }
    assert not any(part["kind"] in ("source", "language", "length") for part in found), "all rows are alike in these"


def test_few_chunks_prove_nothing(tables: dict[str, pl.DataFrame]) -> None:
    few = {label: table.filter(pl.col("row") > 4).filter(pl.col("row") < 7) for label, table in tables.items()}
    found = pairs.difference(few["even"], few["first"], 200, 0)["scores"]["fuzzy_match"]
    assert few["even"]["chunk"].n_unique() == 1
    assert found["low"] == found["value"] > 0, "all resamples of one chunk are the same"
    assert not found["significant"]


def test_extremes_are_the_largest_changes_with_their_texts(tables: dict[str, pl.DataFrame]) -> None:
    found = pairs.extremes(tables["even"], tables["first"])
    assert [row["row"] for row in found["losses"]] == [3, 1] or [row["row"] for row in found["losses"]] == [1, 3]
    assert all(row["change"] < 0 and row["output"] == "Job is down." for row in found["losses"])
    assert len(found["gains"]) == pairs.SHOWN
    assert all(row["change"] == 1 and row["output"] == row["truth"] for row in found["gains"])
    same = pairs.extremes(tables["even"], tables["even"])
    assert same == {"gains": [], "losses": []}


@given(st.text(st.sampled_from("ab \n"), max_size=30), st.text(st.sampled_from("ab \n"), max_size=30))
def test_marked_pieces_join_to_the_answer_and_alternate(truth: str, answer: str) -> None:
    pieces = pairs.marked(truth, answer)
    assert "".join(text for text, _ in pieces) == answer
    assert all(one[1] != other[1] for one, other in itertools.pairwise(pieces))
    words = [word for text, hit in pieces if hit for word in text.split()]
    left = iter(truth.split())
    assert all(word in left for word in words), "marked words stand in the truth in this order"
