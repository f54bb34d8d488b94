"""Two test runs on the same rows: paired differences, wins and losses, slices, and the rows that changed most."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from loglore.evaluate import bootstrap, measures, metrics, rows, summary

if TYPE_CHECKING:
    import polars as pl

TIE = 0.01  # rows whose scores differ by less are ties
SHOWN = 3  # gains and losses that are shown with their texts
MOST_VALUES = 12  # of one kind of slice
SLICED_BY = ("task", "source", "language", "length", "turn")
# Characters of the true answer.
_SHORT, _LONG = 500, 2000


def difference(table: "pl.DataFrame", against: "pl.DataFrame", resamples: int, seed: int) -> dict[str, Any]:
    """`table` minus `against`, which have the same answered rows in the same order.

    Returns:
        scores and measures: name to value, low, high, p and significant (the interval excludes zero, and is of at least
        `bootstrap.LEAST_CLUSTERS` chunks); wins: name to the numbers of rows won, tied and lost.
    """
    ours, theirs = rows.row_scores(table), rows.row_scores(against)
    clusters = table["chunk"].to_list()
    found = bootstrap.paired_differences(ours, theirs, clusters, resamples, seed)
    return {
        "scores": {name: _plain(value, clusters) for name, value in found.items()},
        "measures": _measures(table, against, resamples, seed),
        "wins": {name: wins(ours[name] - theirs[name]) for name in metrics.NAMES},
    }


def wins(changes: metrics.Floats) -> dict[str, int]:
    """Rows that are better, within `TIE` of each other, and worse.

    >>> wins(np.array([0.2, 0.001, 0.0, -0.5]))
    {'won': 1, 'tied': 2, 'lost': 1}
    """
    won, lost = int((changes >= TIE).sum()), int((changes <= -TIE).sum())
    return {"won": won, "tied": len(changes) - won - lost, "lost": lost}


def slices(tables: dict[str, "pl.DataFrame"], baseline: str, resamples: int, seed: int) -> list[dict[str, Any]]:
    """The six scores of every model on parts of the rows, and each model's paired difference from the baseline there.

    A kind of slice (task, system, language, length of the true answer, turn) is there when the rows have at least two
    of it; of more than `MOST_VALUES` the largest are kept.
    """
    found = []
    for kind, values in _kinds(tables[baseline]).items():
        names = sorted(dict.fromkeys(values), key=lambda name: (-values.count(name), name))
        if len(names) < 2:
            continue
        for name in names[:MOST_VALUES]:
            places = [place for place, value in enumerate(values) if value == name]
            parts = {label: table[places] for label, table in tables.items()}
            found.append({"kind": kind, "value": name, **_slice(parts, baseline, resamples, seed)})
    return found


def extremes(table: "pl.DataFrame", against: "pl.DataFrame") -> dict[str, list[dict[str, Any]]]:
    """The rows with the largest gains and losses in fuzzy match, texts included; ties of the order go by row."""
    changes = (table["fuzzy_match"] - against["fuzzy_match"]).to_list()
    order = sorted(range(len(changes)), key=lambda place: (-changes[place], place))
    gains = [place for place in order if changes[place] >= TIE][:SHOWN]
    losses = [place for place in reversed(order) if changes[place] <= -TIE][:SHOWN]
    return {
        "gains": [_change(table, against, place) for place in gains],
        "losses": [_change(table, against, place) for place in losses],
    }


def _measures(table: "pl.DataFrame", against: "pl.DataFrame", resamples: int, seed: int) -> dict[str, Any]:
    found = {}
    for measure in measures.MEASURES:
        pairs = list(zip(rows.counts_of(table, measure), rows.counts_of(against, measure), strict=True))
        fitting = [place for place, (one, other) in enumerate(pairs) if one is not None or other is not None]
        if not fitting:
            continue
        ours, theirs = (measures.matrix(measure, [pairs[place][side] for place in fitting]) for side in (0, 1))
        clusters = table["chunk"].gather(fitting).to_list()
        (value,) = bootstrap.differences(ours, theirs, summary.column_of(measure), clusters, resamples, seed)
        if not np.isnan(value.value):
            found[measure.name] = _plain(value, clusters)
    return found


def _kinds(table: "pl.DataFrame") -> dict[str, list[str]]:
    lengths = [len(truth) for truth in table["truth"].to_list()]
    bounds = (f"under {_SHORT} characters", f"{_SHORT} to {_LONG}", f"over {_LONG} characters")
    named = {name: [value or "(none)" for value in table[name].to_list()] for name in ("task", "source", "language")}
    return named | {
        "length": [bounds[(length >= _SHORT) + (length > _LONG)] for length in lengths],
        "turn": ["last turn" if last else "earlier turn" for last in table["last_turn"].to_list()],
    }


def _slice(parts: dict[str, "pl.DataFrame"], baseline: str, resamples: int, seed: int) -> dict[str, Any]:
    reference = parts[baseline]
    models = {}
    for label, part in parts.items():
        models[label] = {"scores": summary.scores(part, resamples, seed)}
        if label != baseline:
            clusters = part["chunk"].to_list()
            against = rows.row_scores(reference)
            found = bootstrap.paired_differences(rows.row_scores(part), against, clusters, resamples, seed)
            models[label]["difference"] = {name: _plain(value, clusters) for name, value in found.items()}
    return {"rows": reference.height, "chunks": reference["chunk"].n_unique(), "models": models}


def _change(table: "pl.DataFrame", against: "pl.DataFrame", place: int) -> dict[str, Any]:
    ours, theirs = table.row(place, named=True), against.row(place, named=True)
    kept = ("row", "turn", "task", "chunk", "truth")
    return {
        **{name: ours[name] for name in kept},
        "change": ours["fuzzy_match"] - theirs["fuzzy_match"],
        "output": ours["output"],
        "fuzzy_match": ours["fuzzy_match"],
        "against_output": theirs["output"],
        "against_fuzzy_match": theirs["fuzzy_match"],
    }


def _plain(value: bootstrap.Difference, clusters: Sequence[str]) -> dict[str, Any]:
    enough = len(set(clusters)) >= bootstrap.LEAST_CLUSTERS
    return dataclasses.asdict(value) | {"significant": enough and value.excludes_zero}


def marked(truth: str, answer: str) -> Sequence[tuple[str, bool]]:
    """An answer in pieces, each with whether the truth has the same words in the same order; joined it is the answer.

    >>> marked("the disk is full", "the disk was full")
    [('the disk ', True), ('was ', False), ('full', True)]
    """
    import difflib
    import re

    words = re.findall(r"\S+\s*", answer) if answer.strip() else [answer]
    lead = answer[: len(answer) - len(answer.lstrip())] if answer.strip() else ""
    matcher = difflib.SequenceMatcher(None, truth.split(), [word.strip() for word in words], autojunk=False)
    same = [False] * len(words)
    for block in matcher.get_matching_blocks():
        same[block.b : block.b + block.size] = [True] * block.size
    pieces: list[tuple[str, bool]] = [(lead, False)] if lead else []
    for word, hit in zip(words, same, strict=True):
        if pieces and pieces[-1][1] == hit:
            pieces[-1] = (pieces[-1][0] + word, hit)
        else:
            pieces.append((word, hit))
    return pieces
