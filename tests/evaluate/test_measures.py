"""chrF against sacrebleu, F1 against counting by hand, and measures that fit only some rows."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st

from loglore.evaluate import bootstrap, chrf, measures, summary

text = st.text(st.sampled_from("ab cディ\n. 漢"), max_size=30)


@given(text, text)
def test_chrf_of_a_row_equals_sacrebleu(output: str, truth: str) -> None:
    ours = chrf.score(np.array(chrf.counts(output, truth), float))
    assert float(ours) == pytest.approx(sacrebleu.sentence_chrf(output, [truth]).score / 100, abs=1e-12)


@given(st.lists(st.tuples(text, text), min_size=1, max_size=6))
def test_corpus_chrf_equals_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    outputs, truths = map(list, zip(*pairs, strict=True))
    counts = np.array([chrf.counts(*pair) for pair in pairs], float)
    expected = sacrebleu.corpus_chrf(outputs, [truths]).score / 100
    assert float(chrf.score(counts.sum(axis=0))) == pytest.approx(expected, abs=1e-12)


def test_f1_is_that_of_all_lines_and_not_a_mean_of_rows() -> None:
    measure = measures.BY_NAME["anomaly_f1"]
    truths, outputs = ["abnormal", "abnormal", "normal", "normal"], ["abnormal", "normal", "abnormal", "normal"]
    found = measures.column(measure, truths, outputs, ["anomaly"] * 4)
    assert found == [(1, 0, 0), (0, 0, 1), (0, 1, 0), None]
    total = measures.matrix(measure, found).sum(axis=0)
    assert float(measure.value(total)) == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))
    assert measures.row_values(measure, found) == [1, 0, 0, None]


def test_a_measure_of_a_task_fits_its_rows_alone_and_only_answered_ones() -> None:
    measure = measures.BY_NAME["template_accuracy"]
    found = measures.column(measure, ["a <*>"] * 3, ["a <*>", "a <*>", None], ["parsing", "summary", "parsing"])
    assert found == [(1, 1), None, None]


def test_intervals_of_an_f1_equal_a_loop_over_resamples() -> None:
    counts = np.array([[1, 0, 0], [0, 1, 1], [2, 0, 1], [0, 0, 1], [1, 1, 0]], float)
    chunks = ["a", "a", "b", "c", "d"]
    measure = measures.BY_NAME["alert_lines_f1"]
    (found,) = bootstrap.interval(counts, summary.column_of(measure), chunks, resamples=300, seed=4)
    names = list(dict.fromkeys(chunks))
    drawn = []
    for times in bootstrap.resample(chunks, 300, 4):
        rows = [row for name, n in zip(names, times, strict=True) for _ in range(int(n)) for row in _of(chunks, name)]
        hits, alarms, misses = counts[rows].sum(axis=0)
        drawn.append(2 * hits / (2 * hits + alarms + misses))
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def _of(chunks: list[str], name: str) -> list[int]:
    return [row for row, chunk in enumerate(chunks) if chunk == name]


def test_exact_match_forgives_outer_blanks_and_composition_only() -> None:
    assert [measures.exact("café ", text)[1] for text in ("cafe\u0301", "café", "Café", "caf")] == [1, 1, 0, 0]


def test_every_measure_has_a_signature_of_one_line_with_the_decoding() -> None:
    lines = summary.signatures("greedy|max_new_tokens:9")
    assert set(measures.BY_NAME) < set(lines)
    assert all("\n" not in line and line.endswith("|decoding:greedy|max_new_tokens:9") for line in lines.values())
