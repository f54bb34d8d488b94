"""Numbers as the cells and sentences of a report show them."""

from collections.abc import Mapping
from typing import Any

MINUS = "\N{MINUS SIGN}"


def with_interval(found: Mapping[str, float] | None) -> str:
    """`0.410 [0.380, 0.440]`; empty where there is no value."""
    if found is None:
        return ""
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def signed(found: Mapping[str, float]) -> str:
    """`+0.003 [−0.004, +0.010]`."""
    value, low, high = (_plus(found[name]) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    """`p = 0.38`, three digits below 0.1, `p < 0.001` below that."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def mark(found: Mapping[str, Any]) -> str:
    """▲ higher, ▼ lower, ≈ not distinguishable from zero."""
    if not found["significant"]:
        return "≈"
    return "▲" if found["value"] > 0 else "▼"


def from_to(ends: Mapping[str, float] | None) -> str:
    """First and last of a series."""
    return f"{ends['first']:.3f} → {ends['last']:.3f}" if ends else ""


def number(value: float | None, places: int) -> str:
    """With thousands separated; empty for None."""
    return "" if value is None else f"{value:,.{places}f}"


def plain(value: Any) -> str:
    """A JSON value as people write it."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _plus(value: float) -> str:
    return f"{value:+.3f}".replace("-", MINUS)
