"""How far verdicts can be trusted: precision, coverage and abstention over statements whose truth is known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loglore.logs.claims import Claim


@dataclass(frozen=True)
class Measures:
    """Of some statements, each with its claims.

    precision: of the decided ones, the share decided rightly (a false one contradicted, a true one supported).
    coverage: the share that is decided. abstention: the share that is not. flagged_false, flagged_true: the shares of
    the false and of the true ones with a contradicted claim. Shares of nothing are 0.
    """

    statements: int
    precision: float
    coverage: float
    abstention: float
    flagged_false: float
    flagged_true: float


def measure(statements: Iterable[tuple[bool, Sequence[Claim]]]) -> Measures:
    """Compare verdicts with what is known.

    A statement is decided by its claims: contradicted when one is, else supported when one is, else left open.

    Args:
        statements: whether each is true, and what `grounding.check` says of it.

    >>> measure([(True, [Claim(0, 1, "count", "a.log", "supported")]), (False, [])])
    Measures(statements=2, precision=1.0, coverage=0.5, abstention=0.5, flagged_false=0.0, flagged_true=0.0)
    """
    decided = [(true, _verdict(claims)) for true, claims in statements]
    said = [(true, verdict) for true, verdict in decided if verdict]
    right = sum(verdict == ("supported" if true else "contradicted") for true, verdict in said)
    false = [verdict for true, verdict in decided if not true]
    kept = [verdict for true, verdict in decided if true]
    return Measures(
        statements=len(decided),
        precision=_share(right, len(said)),
        coverage=_share(len(said), len(decided)),
        abstention=_share(len(decided) - len(said), len(decided)),
        flagged_false=_share(false.count("contradicted"), len(false)),
        flagged_true=_share(kept.count("contradicted"), len(kept)),
    )


def _verdict(claims: Sequence[Claim]) -> str:
    verdicts = {claim.verdict for claim in claims}
    return next((verdict for verdict in ("contradicted", "supported") if verdict in verdicts), "")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
