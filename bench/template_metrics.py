"""How well templates agree with labelled ones: GA, FGA, PA, FTA.

Definitions as in Jiang et al., "A Large-Scale Evaluation for Log Parsing Techniques: How Far Are We?", ISSTA 2024:
GA is
the share of lines whose group has exactly the lines of the true event; FGA the F1 of groups that are right in that
sense; PA the share of lines whose template text is the true one; FTA the F1 of templates whose lines all have one true
template with the same text. Texts are compared as that evaluation does, after a clean-up that is the same for every
parser and for the labels: white space is one blank, and wildcards with nothing or one separator between them are one.
"""

import re
from collections.abc import Sequence

import polars as pl

_WILDCARD = re.compile(r"<(?:\*|IP|HEX|NUM|[a-z]+)>")
_RUN = re.compile(r"<\*>(?:[.:/,@#_=-]?<\*>)+")
_NEXT = re.compile(r"<\*>(?:<\*>)+")


def normalise(template: str, *, strict: bool = False) -> str:
    """A template for comparison; strict: only wildcards with nothing between them are joined."""
    text = " ".join(template.split())
    return (_NEXT if strict else _RUN).sub("<*>", text)


def generic(template: str) -> str:
    """A template of Drain3 with its named masks as plain wildcards."""
    return _WILDCARD.sub("<*>", template)


def harmonic(precision: float, recall: float) -> float:
    """F1."""
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def grouping(found: Sequence[object], true: Sequence[str]) -> tuple[float, float]:
    """GA and FGA of a grouping; `found[i]` and `true[i]` are the group and the event of line i."""
    frame = pl.DataFrame({"found": [str(one) for one in found], "true": list(true)})
    groups = frame.group_by("found").agg(size=pl.len(), events=pl.col("true").n_unique(), true=pl.col("true").first())
    events = frame.group_by("true").agg(event_size=pl.len())
    right = groups.filter(pl.col("events") == 1).join(events, on="true").filter(pl.col("size") == pl.col("event_size"))
    return right["size"].sum() / frame.height, harmonic(right.height / groups.height, right.height / events.height)


def texts(found: Sequence[str], true: Sequence[str], *, strict: bool = False) -> tuple[float, float]:
    """PA and FTA; `found[i]` and `true[i]` are the templates of line i."""
    frame = pl.DataFrame(
        {
            "found": [normalise(one, strict=strict) for one in found],
            "true": [normalise(one, strict=strict) for one in true],
        }
    )
    lines = (frame["found"] == frame["true"]).mean()
    groups = frame.group_by("found").agg(events=pl.col("true").n_unique(), true=pl.col("true").first())
    right = groups.filter((pl.col("events") == 1) & (pl.col("found") == pl.col("true"))).height
    return float(lines or 0), harmonic(right / groups.height, right / frame["true"].n_unique())


def _check() -> None:
    """Worked by hand: of 5 lines, group x is exactly event A, y mixes B and C."""
    assert grouping("xxyyy", "AABBC") == (2 / 5, harmonic(1 / 2, 1 / 3))
    assert texts(["a <*>"] * 2 + ["b"] * 3, ["a <*>:<*>"] * 2 + ["b"] * 2 + ["c"]) == (4 / 5, harmonic(1 / 2, 1 / 3))
    assert texts(["a <*>"], ["a <*>:<*>"], strict=True) == (0, 0)


_check()
