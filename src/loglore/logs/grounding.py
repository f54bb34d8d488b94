"""Grounding: the claims in a text about a log, each checked against the log.

The rule is precision before coverage: `contradicted` is said only where the log shows otherwise whatever reading of the
sentence is taken; what cannot be bound to something countable or findable is `unverifiable`. Advice ("check …",
"set …", "could …") claims nothing about the log. A cause is at best
unverifiable: its claim names the lines in question.

>>> from loglore.logs.reader import table_of
>>> log = table_of(["GET /a refused", "GET /b refused"])
>>> [(claim.kind, claim.verdict, claim.lines) for claim in check('"GET /b" is refused (line 2).', log)]
[('quote', 'supported', (2,)), ('line', 'supported', (2,))]
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import polars as pl

from loglore.logs.claims import Claim, Sentence, claim, sentences
from loglore.logs.counting import judge_counts
from loglore.logs.disk_lookup import TableIndex, TooManyError
from loglore.logs.judges import judge_entities, judge_lines, judge_quotes, judge_times
from loglore.logs.lookup import LogIndex
from loglore.logs.relations import judge_causes, judge_order, judge_ranges
from loglore.logs.table import LogTable

__all__ = ["Claim", "LogIndex", "check", "index_of", "tally"]

_Judge = Callable[[Sentence, LogIndex], Iterator[Claim]]
# Each judge with what it judges: attribute of a sentence and kind of claim.
_JUDGES: tuple[tuple[_Judge, str, str], ...] = (
    (judge_quotes, "quotes", "quote"),
    (judge_lines, "lines", "line"),
    (judge_entities, "entities", "entity"),
    (judge_times, "times", "time"),
    (judge_ranges, "", "time"),
    (judge_counts, "counts", "count"),
    (judge_order, "", "order"),
    (judge_causes, "", "cause"),
)


def check(text: str, log: pl.DataFrame | LogIndex | LogTable) -> list[Claim]:
    """Check what a text says about a log.

    Args:
        text: an answer in English or Japanese, plain or Markdown.
        log: a log table (read, mined, or a slice of one: line numbers are those of the file), or its `LogIndex` when
            several texts are checked against one log, or a table on disk. Template ids (`T12`) are known only in a
            mined table. What stands in too many lines of a table on disk to be looked at is unverifiable.

    Returns:
        The claims, by position in the text.
    """
    index = index_of(log)
    found = [each for sentence in sentences(text) for judge in _JUDGES for each in _judged(sentence, index, *judge)]
    return sorted(found, key=lambda claim: (claim.start, claim.end))


def index_of(log: pl.DataFrame | LogIndex | LogTable) -> LogIndex:
    """The look-ups of a log, in memory or on disk."""
    if isinstance(log, LogTable):
        return TableIndex(log)
    return log if isinstance(log, LogIndex) else LogIndex(log)


def _judged(sentence: Sentence, index: LogIndex, judge: _Judge, mentions: str, kind: str) -> list[Claim]:
    try:
        return list(judge(sentence, index))
    except TooManyError:
        return [claim(one, kind, "unverifiable") for one in (getattr(sentence, mentions) if mentions else ())]


def tally(claims: Iterable[Claim]) -> dict[str, int]:
    """How many claims have each verdict; the three keys are always there."""
    counts = Counter(claim.verdict for claim in claims)
    return {verdict: counts[verdict] for verdict in ("supported", "contradicted", "unverifiable")}
