"""Scores against the reference packages, on random text made of what is hard for tokenizers, and on other scripts."""

import random

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz
from rouge_score import rouge_scorer

from loglore.errors import InputError
from loglore.evaluate import metrics, words

PIECES = [
    "the disk is full",
    "10.0.0.1:80",
    "x-y",
    "-\n",
    "\n",
    "\n\n",
    " ",
    ". ",
    ",5",
    "5.",
    "<skipped>",
    "&amp;",
    "it's",
]
ROUGE = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
ascii_text = st.one_of(
    st.text(st.characters(max_codepoint=127), max_size=80),
    st.lists(st.sampled_from([*PIECES, "a", "b", "c d", "a b", "B"]), max_size=40).map("".join),
)


def check_against_references(output: str, truth: str) -> None:
    scores = metrics.score_rows([output], [truth])
    for name, value in ROUGE.score(truth, output).items():
        assert scores[name][0] == pytest.approx(value.fmeasure, abs=1e-12), name
    assert scores["fuzzy_match"][0] == fuzz.ratio(output, truth) / 100
    sentence = sacrebleu.sentence_bleu(output, [truth]).score / 100
    assert scores["bleu"][0] == pytest.approx(sentence, abs=1e-9)


@given(ascii_text, ascii_text)
def test_equals_the_reference_packages_on_ascii(output: str, truth: str) -> None:
    check_against_references(output, truth)


@given(st.lists(st.tuples(ascii_text, ascii_text), min_size=1, max_size=6))
def test_corpus_bleu_equals_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    outputs, truths = map(list, zip(*pairs, strict=True))
    expected = sacrebleu.corpus_bleu(outputs, [truths]).score / 100
    assert metrics.aggregate(metrics.score_rows(outputs, truths))["bleu"] == pytest.approx(expected, abs=1e-9)


def test_equals_the_reference_packages_on_long_answers() -> None:
    draw = random.Random(0)
    vocabulary = [f"w{number}" for number in range(40)] + ["db.log:17", "[error]", "No space left."]

    def answer() -> str:
        return "".join(draw.choice(vocabulary) + draw.choice(" " * 9 + "\n") for _ in range(300))

    for _ in range(3):
        check_against_references(answer(), answer())


@given(st.text(max_size=60), st.text(max_size=60))
def test_every_text_scores_between_0_and_1_and_itself_best(output: str, truth: str) -> None:
    scores = metrics.score_rows([output, truth], [truth, truth])
    for name in metrics.NAMES:
        assert 0 <= scores[name][0] <= scores[name][1] + 1e-12 <= 1 + 1e-9
    if words.rouge_words(truth):
        assert scores["rouge1"][1] == scores["rougeL"][1] == scores["rougeLsum"][1] == 1


@pytest.mark.parametrize(
    ("truth", "close", "far"),
    [
        ("ディスクの空き容量が不足しています", "ディスクの空き容量が足りません", "接続が拒否されました"),
        ("磁盘空间不足,写入失败", "磁盘空间不足", "连接被拒绝"),
        ("Не удалось подключиться к базе", "Не удалось подключиться", "диск заполнен"),
        ("พื้นที่ดิสก์เต็ม", "ดิสก์เต็ม", "หมดเวลา"),
    ],
)
def test_other_scripts_score_by_what_they_say(truth: str, close: str, far: str) -> None:
    reference = ROUGE.score(truth, truth)
    assert reference["rouge1"].fmeasure == 0, "the reference package drops these scripts, which is why ours differ"
    scores = metrics.score_rows([truth, close, far], [truth] * 3)
    for name in ("rouge1", "rougeL", "rougeLsum", "fuzzy_match", "bleu"):
        same, near, other = scores[name]
        assert same == pytest.approx(1)
        assert same > near > other, name


def test_width_of_characters_does_not_matter_to_rouge() -> None:
    scores = metrics.score_rows(["ﾃﾞｨｽｸ ＥＲＲＯＲ"], ["ディスク error"])
    assert scores["rouge1"][0] == 1


def test_text_with_accents_only_keeps_13a() -> None:
    text, truth = "Le café — déjà fermé.", "Le café — est fermé."
    expected = sacrebleu.corpus_bleu([text], [[truth]]).score / 100
    assert metrics.aggregate(metrics.score_rows([text], [truth]))["bleu"] == pytest.approx(expected, abs=1e-12)


def test_lsum_differs_from_l_only_by_newlines() -> None:
    truth, output = "the disk is full\nrestart the database", "restart the database\nthe disk is full"
    with_lines = metrics.score_rows([output], [truth])
    flat = metrics.score_rows([output.replace("\n", " ")], [truth.replace("\n", " ")])
    assert with_lines["rougeLsum"][0] == 1 > with_lines["rougeL"][0]
    assert flat["rougeLsum"][0] == flat["rougeL"][0] == with_lines["rougeL"][0]


def test_totals_are_sums_of_rows() -> None:
    outputs, truths = ["a b c d e", "", "x y"], ["a b c d f", "x", "x y z"]
    scores = metrics.score_rows(outputs, truths)
    found = dict(zip(metrics.NAMES, metrics.from_totals(metrics.sufficient(scores).sum(axis=0)), strict=True))
    for name in set(metrics.NAMES) - {"bleu"}:
        assert found[name] == pytest.approx(np.mean(scores[name]))
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(outputs, [truths]).score / 100)


def test_every_score_has_a_signature_of_one_line() -> None:
    signatures = metrics.signatures()
    assert set(signatures) == set(metrics.NAMES)
    assert all("\n" not in line and "|" in line for line in signatures.values())


@pytest.mark.parametrize(("outputs", "truths"), [([], []), (["a"], ["a", "b"])])
def test_unequal_or_no_rows_are_refused(outputs: list[str], truths: list[str]) -> None:
    with pytest.raises(InputError, match="expected the same number"):
        metrics.score_rows(outputs, truths)
