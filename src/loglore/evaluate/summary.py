"""A table of rows to what is said about all of them: scores and measures with intervals, groundedness, counts."""

import dataclasses
from typing import TYPE_CHECKING, Any

from loglore.evaluate import bootstrap, grounded, measures, metrics, rows

if TYPE_CHECKING:
    import polars as pl


def summarize(table: "pl.DataFrame", resamples: int, seed: int) -> dict[str, Any]:
    """Scores with intervals, further measures, groundedness, and counts of cut-off, empty and missing answers.

    Rows without answer count in `unanswered` and nowhere else. With rows of several turns, `last_turn` has the six
    scores of the last turns alone.
    """
    found = rows.answered(table)
    clusters = found["chunk"].to_list()
    several = bool((~table["last_turn"]).any())
    return {
        "rows": table.height,
        "chunks": len(set(clusters)),
        "unanswered": table.height - found.height,
        "scores": scores(found, resamples, seed),
        "last_turn": _last_turn(found, resamples, seed) if several else None,
        "measures": further(found, resamples, seed),
        **grounding(found, resamples, seed),
        "truncated": int((found["finish"] == "length").sum()),
        "empty": int((found["output"] == "").sum()),
        "bootstrap": {"resamples": resamples, "seed": seed, "level": bootstrap.LEVEL, "clusters": "chunk"},
    }


def scores(table: "pl.DataFrame", resamples: int, seed: int) -> dict[str, Any]:
    """The six table scores of answered rows, each as value, low and high."""
    found = bootstrap.intervals(rows.row_scores(table), table["chunk"].to_list(), resamples, seed)
    return {name: dataclasses.asdict(value) for name, value in found.items()}


def further(table: "pl.DataFrame", resamples: int, seed: int) -> dict[str, Any]:
    """Every measure that fits a row: value, low, high and the number of rows it fits; left out where it fits none."""
    found: dict[str, Any] = {}
    for measure in measures.MEASURES:
        counts = rows.counts_of(table, measure)
        fitting = [place for place, row in enumerate(counts) if row is not None]
        if not fitting:
            continue
        clusters = table["chunk"].gather(fitting).to_list()
        columns = measures.matrix(measure, [counts[place] for place in fitting])
        (value,) = bootstrap.interval(columns, column_of(measure), clusters, resamples, seed)
        found[measure.name] = dataclasses.asdict(value) | {"rows": len(fitting)}
    return found


def column_of(measure: measures.Measure) -> bootstrap.Statistic:
    """The measure as a statistic with one value."""
    return lambda sums: measure.value(sums)[..., None]


def not_fitting(found: dict[str, Any]) -> dict[str, str]:
    """Why measures are missing: what rows they would fit."""
    return {each.name: f"no row fits: {each.fits}" for each in measures.MEASURES if each.name not in found}


def grounding(table: "pl.DataFrame", resamples: int, seed: int, of: str = "") -> dict[str, Any]:
    """Number of claims, and share of each verdict with interval, in the answers or (`of="truth_"`) in the truth."""
    with_log = table.filter(table[f"{of}{grounded.VERDICTS[0]}"].is_not_null())
    claims = with_log.select(f"{of}{verdict}" for verdict in grounded.VERDICTS).to_numpy().astype(float)
    shares = grounded.shares(claims, with_log["chunk"].to_list(), resamples, seed)
    found = {name: dataclasses.asdict(share) if share else None for name, share in shares.items()}
    return {"claims": int(claims.sum()), "groundedness": found}


def signatures(decoding: str) -> dict[str, str]:
    """One line for every score and measure with everything that changes its value, the decoding of answers included."""
    lines = metrics.signatures() | {each.name: each.signature for each in measures.MEASURES}
    return {name: f"{line}|decoding:{decoding}" for name, line in lines.items()}


def _last_turn(table: "pl.DataFrame", resamples: int, seed: int) -> dict[str, Any]:
    last = table.filter(table["last_turn"])
    return {"rows": last.height, "scores": scores(last, resamples, seed) if last.height else {}}
