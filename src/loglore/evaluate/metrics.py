"""The tutorial's six scores under stated definitions, each between 0 and 1.

| name | definition |
|---|---|
| `fuzzy_match` | `rapidfuzz.fuzz.ratio` / 100: 1 - insertions and deletions / total length, on characters |
| `bleu` | corpus BLEU of sacrebleu (13a, exponential smoothing) / 100; per row: sentence BLEU with effective order |
| `rouge1`, `rouge2` | F-measure of shared words and word pairs |
| `rougeL` | F-measure of the longest common subsequence of words |
| `rougeLsum` | the same by lines, as the union over candidate lines; differs from `rougeL` only at newlines |

Equal to `rapidfuzz`, `sacrebleu` and `rouge_score` on ASCII; `words` says how other text is split. The corpus value of
BLEU is not the mean of its rows: `score_rows` therefore also returns the ten counts it is computed from, so that a
bootstrap can recompute it for every resample.

    >>> scores = score_rows(["the disk is full"], ["the disk was full"])
    >>> {name: round(value, 3) for name, value in aggregate(scores).items()}
    {'fuzzy_match': 0.909, 'bleu': 0.354, 'rouge1': 0.75, 'rouge2': 0.333, 'rougeL': 0.75, 'rougeLsum': 0.75}
"""

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from loglore.errors import InputError
from loglore.evaluate import rouge, words

NAMES = ("fuzzy_match", "bleu", "rouge1", "rouge2", "rougeL", "rougeLsum")
LABELS = {
    "fuzzy_match": "Fuzzy match",
    "bleu": "BLEU",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
}
BLEU_COUNTS = "bleu_counts"
_ORDER = 4

Floats: TypeAlias = NDArray[np.float64]
Scores: TypeAlias = Mapping[str, Floats]
Item = TypeVar("Item")


def score_rows(outputs: Sequence[str], truths: Sequence[str]) -> dict[str, Floats]:
    """Score every output against its truth.

    Returns:
        one array of shape [rows] per name in `NAMES`, and `bleu_counts` of shape [rows, 10]: output length, truth
        length, matching 1- to 4-grams, 1- to 4-grams of the output.

    Raises:
        InputError: different numbers of outputs and truths, or none at all.
    """
    if len(outputs) != len(truths) or not outputs:
        raise InputError(f"{len(outputs)} outputs and {len(truths)} truths: expected the same number, at least one")
    from rapidfuzz import fuzz

    counts = np.array([_bleu_counts(output, truth) for output, truth in zip(outputs, truths, strict=True)], float)
    ratios = [fuzz.ratio(output, truth) / 100 for output, truth in zip(outputs, truths, strict=True)]
    scores = {"fuzzy_match": np.array(ratios), "bleu": bleu(counts, effective_order=True), BLEU_COUNTS: counts}
    rows = [_rouge(output, truth) for output, truth in zip(outputs, truths, strict=True)]
    return scores | {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def aggregate(scores: Scores) -> dict[str, float]:
    """Scores of the whole set: corpus BLEU, and the mean over rows of everything else."""
    values = from_totals(sufficient(scores).sum(axis=0))
    return dict(zip(NAMES, values.tolist(), strict=True))


def sufficient(scores: Scores) -> Floats:
    """Per-row columns whose sums determine every aggregate; shape [rows, 16]: 1, five scores, ten BLEU counts."""
    means = [scores[name] for name in NAMES if name != "bleu"]
    return np.column_stack([np.ones(len(means[0])), *means, scores[BLEU_COUNTS]])


def from_totals(totals: Floats) -> Floats:
    """Aggregates in the order of `NAMES` from sums of `sufficient` columns; shape [..., 16] to [..., 6]."""
    means = totals[..., 1:6] / totals[..., :1]
    return np.concatenate([means[..., :1], bleu(totals[..., 6:])[..., None], means[..., 1:]], axis=-1)


def bleu(counts: Floats, effective_order: bool = False) -> Floats:
    """BLEU between 0 and 1 from counts of shape [..., 10], as sacrebleu computes it (smoothing `exp`).

    `effective_order` leaves out n-gram orders longer than the output, as is usual for single sentences.
    """
    length, truth_length = counts[..., 0], counts[..., 1]
    matches, total = counts[..., 2 : 2 + _ORDER], counts[..., 2 + _ORDER :]
    defined = total > 0
    halvings = np.cumsum(defined & (matches == 0), axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.where(length < truth_length, np.exp(1 - truth_length / length), 1.0)
        precision = np.where(matches > 0, matches / total, 0.5**halvings / total)
        logs = np.where(defined, np.log(precision), 0.0 if effective_order else -np.inf)
        order = defined.sum(axis=-1) if effective_order else _ORDER
        score = brevity * np.exp(logs.sum(axis=-1) / order)
    return np.where(matches.any(axis=-1), score, 0.0)


def signatures() -> dict[str, str]:
    """One line per score with everything that changes its value."""
    version = importlib.metadata.version
    fuzzy, sacrebleu = version("rapidfuzz"), version("sacrebleu")
    rouge_line = f"F-measure|stemmer:no|tokens:{words.ROUGE_TOKENS}|mean over rows|equals rouge_score 0.1.2 on ASCII"
    return {
        "fuzzy_match": f"rapidfuzz.fuzz.ratio/100|case and punctuation kept|mean over rows|rapidfuzz {fuzzy}",
        "bleu": f"corpus|refs:1|case:mixed|eff:no|tok:{words.BLEU_TOKENS}|smooth:exp|/100|sacrebleu {sacrebleu}",
        "rouge1": f"words|{rouge_line}",
        "rouge2": f"word pairs|{rouge_line}",
        "rougeL": f"longest common subsequence, newlines ignored|{rouge_line}",
        "rougeLsum": f"union of longest common subsequences by line (newline separates)|{rouge_line}",
    }


def _bleu_counts(output: str, truth: str) -> list[int]:
    tokens, truth_tokens = words.bleu_words(output), words.bleu_words(truth)
    matches = []
    for size in range(1, _ORDER + 1):
        ours, theirs = _ngrams(tokens, size), _ngrams(truth_tokens, size)
        matches.append(_shared(ours, theirs))
    totals = [max(len(tokens) - size, 0) for size in range(_ORDER)]
    return [len(tokens), len(truth_tokens), *matches, *totals]


def _rouge(output: str, truth: str) -> dict[str, float]:
    tokens, truth_tokens = words.rouge_words(output), words.rouge_words(truth)
    singles = _shared(Counter(tokens), Counter(truth_tokens))
    pairs = _shared(Counter(pairwise(tokens)), Counter(pairwise(truth_tokens)))
    common = rouge.common_length(truth_tokens, tokens)
    lines, truth_lines = _lines(output), _lines(truth)
    size, truth_size = sum(map(len, lines)), sum(map(len, truth_lines))
    return {
        "rouge1": _f_measure(singles, len(tokens), len(truth_tokens)),
        "rouge2": _f_measure(pairs, len(tokens) - 1, len(truth_tokens) - 1),
        "rougeL": _f_measure(common, len(tokens), len(truth_tokens)),
        "rougeLsum": _f_measure(rouge.union_hits(truth_lines, lines), size, truth_size),
    }


def _lines(text: str) -> list[list[str]]:
    return [tokens for line in text.split("\n") if (tokens := words.rouge_words(line))]


def _ngrams(tokens: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(size)), strict=False))


def _shared(ours: Counter[Item], theirs: Counter[Item]) -> int:
    """Size of the multiset intersection."""
    return sum(min(count, theirs[item]) for item, count in ours.items() if item in theirs)


def _f_measure(hits: int, size: int, truth_size: int) -> float:
    if not hits:
        return 0.0
    precision, recall = hits / size, hits / truth_size
    return 2 * precision * recall / (precision + recall)
