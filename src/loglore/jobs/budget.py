"""The month's budget: which jobs cost money, and whether any is left. It is one for all jobs, whoever queued them."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from loglore import settings
from loglore.store import costs
from loglore.store.database import Database

# Keys of specs that take endpoints.
ENDPOINTS = ("endpoint", "teacher")
PRICES = ("price_in", "price_out")


def costs_money(spec: Mapping[str, Any], gpus: int | None, price: float) -> bool:
    """Whether a job costs money.

    Args:
        spec: its values.
        gpus: how many it is billed for; None for as many as its worker has.
        price: dollars for a GPU-hour.
    """
    return (price > 0 and gpus != 0) or any(each.get(name) for each in endpoints(spec) for name in PRICES)


def endpoints(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The endpoints that a job asks."""
    for key in ENDPOINTS:
        value = spec.get(key)
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Mapping))


def over(database: Database) -> str | None:
    """The reason to run nothing that costs money now, with both numbers; None while there is money or no budget."""
    budget = settings.load().budget
    if budget is None:
        return None
    month = costs.month_of(time.time())
    spent = costs.spent(database, month)
    return f"the budget of {month} is spent: ${spent:,.2f} of ${budget:,.2f}" if spent >= budget else None
