"""Bit-parallel subsequences against the tables of `rouge_score` itself."""

from hypothesis import given
from hypothesis import strategies as st
from rouge_score import rouge_scorer

from loglore.evaluate import rouge

tokens = st.lists(st.sampled_from("abcd"), max_size=12)
lines = st.lists(tokens, max_size=5)


@given(tokens, tokens)
def test_length_equals_the_table(reference: list[str], candidate: list[str]) -> None:
    assert rouge.common_length(reference, candidate) == rouge_scorer._lcs_table(reference, candidate)[-1][-1]


@given(lines, lines)
def test_union_hits_equal_the_reference_ties_included(reference: list[list[str]], candidate: list[list[str]]) -> None:
    score = rouge_scorer._summary_level_lcs(reference, candidate)
    size = sum(map(len, reference))
    assert rouge.union_hits(reference, candidate) == round(score.recall * size)


def test_lines_longer_than_a_machine_word() -> None:
    reference = [[f"w{number % 50}" for number in range(200)], ["x"]]
    candidate = [[f"w{number % 37}" for number in range(150)], ["x", "w3"]]
    score = rouge_scorer._summary_level_lcs(reference, candidate)
    assert rouge.union_hits(reference, candidate) == round(score.recall * 201)
