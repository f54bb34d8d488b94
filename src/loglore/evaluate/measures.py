"""What else an answer is measured by, beside the six table scores: one `Measure` each, from counts that can be summed.

A measure gives every row some counts, or None where it does not fit; its value over any rows is a function of the sums.
So means, F1 over all lines and corpus chrF get intervals from the same resamples. Measures that fit no row of a dataset
are left out of its report, with the reason.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loglore.evaluate import chrf, structured
from loglore.evaluate.metrics import Floats

Counts = tuple[float, ...]


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: column in `rows.parquet`; label: for people.
        better: whether `higher` or `lower` is better; "" where neither is.
        counts: (truth, output) to counts, None where it does not fit.
        value: counts of shape [..., width] to values [...]; NaN where nothing was counted.
        width: number of counts.
        fits: which rows it fits, in words.
        signature: everything that changes its value.
        task: only rows of this task; "" for all.
    """

    name: str
    label: str
    better: Literal["higher", "lower", ""]
    counts: Callable[[str, str], Counts | None]
    value: Callable[[Floats], Floats]
    width: int
    fits: str
    signature: str
    task: str = ""


def share(totals: Floats) -> Floats:
    """Second count over the first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(totals[..., 1] / totals[..., 0])


def f1(totals: Floats) -> Floats:
    """F1 from hits, false alarms and misses."""
    hits = totals[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2 * hits / (2 * hits + totals[..., 1] + totals[..., 2]))


def exact(truth: str, output: str) -> Counts:
    """(1, equal): NFC, outer blanks taken off, nothing else forgiven."""
    ours, theirs = (unicodedata.normalize("NFC", text).strip() for text in (output, truth))
    return 1.0, float(ours == theirs)


def length(truth: str, output: str) -> Counts:
    """Characters of truth and output."""
    return float(len(truth)), float(len(output))


_JSON = "rows whose truth is a JSON object"
_ALERT = "rows whose truth is an alert (`risk_score`, `should_alert_user`)"
_F1 = "F1 of summed hits, false alarms and misses"
MEASURES = (
    Measure("chrf", "chrF", "higher", lambda truth, output: chrf.counts(output, truth), chrf.score, 18, "all rows",
            "corpus|chars:6|words:0|beta:2|space:no|case:mixed|/100|equals sacrebleu 2.6"),
    Measure("exact_match", "Exact match", "higher", exact, share, 2, "all rows", "NFC|outer blanks off|mean over rows"),
    Measure("length_ratio", "Length ratio", "", length, share, 2, "all rows", "characters of answers / of truths"),
    Measure("json_valid", "JSON valid", "higher", structured.json_valid, share, 2, _JSON,
            "one object, code fence off|all fields of the truth with their JSON types|mean over rows"),
    Measure("json_fields", "JSON field accuracy", "higher", structured.json_fields, share, 2,
            "rows whose truth is a JSON object with a field that is a number, a boolean or a list of them",
            "numbers and booleans equal, lists equal in any order, texts left out|share of all fields"),
    Measure("alert_decision", "Alert decision", "higher", structured.alert_decision, share, 2, _ALERT,
            "should_alert_user equal|unreadable is wrong|mean over rows"),
    Measure("alert_risk_error", "Risk score error", "lower", structured.alert_risk_error, share, 2,
            _ALERT + ", and whose answer has a risk score from 0 to 100", "absolute difference / 100|mean over rows"),
    Measure("alert_lines_f1", "Alert lines F1", "higher", structured.alert_lines, f1, 3,
            _ALERT + ", and where truth or answer name a line", f"(kind, line) pairs under messages|{_F1}"),
    Measure("template_accuracy", "Template accuracy", "higher", structured.templates, share, 2, "rows of task parsing",
            "line by line equal, blanks collapsed, code marks off|share of all lines", "parsing"),
    Measure("anomaly_f1", "Anomaly F1", "higher", structured.anomalies, f1, 3,
            "rows of task anomaly where truth or answer say abnormal", f"positive: abnormal|no label: normal|{_F1}",
            "anomaly"),
    Measure("anomaly_accuracy", "Anomaly accuracy", "higher", structured.labels, share, 2, "rows of task anomaly",
            "normal or abnormal, first label of each line|no label is wrong|share of all entries", "anomaly"),
)  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}


def column(
    measure: Measure, truths: Sequence[str], outputs: Sequence[str | None], tasks: Sequence[str]
) -> list[Counts | None]:
    """A measure's counts of every row; None for rows it does not fit and rows without answer."""
    return [
        None if output is None or (measure.task and measure.task != task) else measure.counts(truth, output)
        for truth, output, task in zip(truths, outputs, tasks, strict=True)
    ]


def row_values(measure: Measure, counts: Sequence[Counts | None]) -> list[float | None]:
    """The measure of each row alone."""
    return [None if row is None else float(measure.value(np.array(row))) for row in counts]


def matrix(measure: Measure, counts: Sequence[Counts | None]) -> Floats:
    """Counts of shape [rows, width]; rows that do not fit are zero, which changes no sum."""
    empty = (0.0,) * measure.width
    return np.array([empty if row is None else row for row in counts], dtype=np.float64).reshape(-1, measure.width)
