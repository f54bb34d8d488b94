"""Grounding: the claims in a text about a log, each checked against the log.

The rule is precision before coverage: `contradicted` is said only where the log shows otherwise whatever reading of the
sentence is taken; what cannot be bound to something countable or findable is `unverifiable`. Advice ("check …",
"set …", "could …") claims nothing about the log. A cause is at best unverifiable: its claim names the lines of its parts.

>>> from loglore.logs.reader import table_of
>>> log = table_of(["GET /a refused", "GET /b refused"])
>>> [(claim.kind, claim.verdict, claim.lines) for claim in check('"GET /b" is refused (line 2).', log)]
[('quote', 'supported', (2,)), ('line', 'supported', (2,))]
"""

from collections import Counter
from collections.abc import Iterable

import polars as pl

from loglore.logs.claims import Claim, sentences
from loglore.logs.counting import judge_counts
from loglore.logs.judges import judge_entities, judge_lines, judge_quotes, judge_times
from loglore.logs.lookup import LogIndex
from loglore.logs.relations import judge_causes, judge_order, judge_ranges

__all__ = ["Claim", "LogIndex", "check", "tally"]

_JUDGES = (
    judge_quotes,
    judge_lines,
    judge_entities,
    judge_times,
    judge_ranges,
    judge_counts,
    judge_order,
    judge_causes,
)


def check(text: str, log: pl.DataFrame | LogIndex) -> list[Claim]:
    """Check what a text says about a log.

    Args:
        text: an answer in English or Japanese, plain or Markdown.
        log: a log table (read, mined, or a slice of one: line numbers are those of the file), or its `LogIndex` when
            several texts are checked against one log. Template ids (`T12`) are known only in a mined table.

    Returns:
        The claims, by position in the text.
    """
    index = log if isinstance(log, LogIndex) else LogIndex(log)
    found = [claim for sentence in sentences(text) for judge in _JUDGES for claim in judge(sentence, index)]
    return sorted(found, key=lambda claim: (claim.start, claim.end))


def tally(claims: Iterable[Claim]) -> dict[str, int]:
    """How many claims have each verdict; the three keys are always there."""
    counts = Counter(claim.verdict for claim in claims)
    return {verdict: counts[verdict] for verdict in ("supported", "contradicted", "unverifiable")}
