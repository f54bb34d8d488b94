"""When a request may be sent: requests and tokens a minute, backoff after a fault, and the budget. Pure arithmetic.

Pacing is even, one request every 60/limit seconds, rather than a burst at each full minute: in any 60 seconds at most
`limit` requests and one more start, whatever window the server counts by.
"""

import email.utils
import math
from collections.abc import Mapping
from dataclasses import dataclass

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0
# Longer waits than this are not honoured but reported: a job should not sleep for a day.
LONGEST_RETRY_AFTER_S = 3600.0


class Pace:
    """A limit a minute. Times are in seconds of one monotonic clock.

    >>> pace = Pace(60)
    >>> [pace.reserve(1, now=0.0), pace.reserve(1, now=0.0), pace.reserve(1, now=10.0)]
    [0.0, 1.0, 10.0]
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds_each = 60.0 / per_minute if per_minute else 0.0
        self._next = -math.inf

    def reserve(self, amount: float, now: float) -> float:
        """When something that takes `amount` may start, now or later; what comes next waits for it."""
        start = max(now, self._next)
        self._next = start + amount * self._seconds_each
        return start

    def correct(self, amount: float) -> None:
        """The last reservations took `amount` more than said (negative: less)."""
        self._next += amount * self._seconds_each


def backoff(attempt: int, retry_after: float | None, random: float) -> float:
    """Seconds to wait before attempt `attempt` + 1 (0-based), never shorter than the server asked for.

    `random` in [0, 1): with many requests in flight they come back spread over half of the wait, not all at once.

    >>> backoff(0, None, 0.0), backoff(3, None, 0.5), backoff(0, 7.0, 0.0)
    (0.25, 3.0, 7.0)
    """
    full = min(FIRST_BACKOFF_S * 2.0 ** min(attempt, 20), LONGEST_BACKOFF_S)
    jittered = full * (0.5 + random / 2)
    return jittered if retry_after is None else retry_after + jittered * random


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a response asks to wait: `retry-after-ms`, else `Retry-After` in seconds or as a date (RFC 9110).

    `now`: seconds since 1970, for the date. None when the response does not say, or nothing that can be read.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(email.utils.mktime_tz(date) - now, 0.0)


@dataclass
class Budget:
    """Most dollars and tokens that a job may use, and what it has used. What is in flight counts at its highest cost.

    So the limit holds to the last request, at the price of stopping early by what was in flight and came out shorter.
    """

    dollars: float | None = None
    tokens: int | None = None
    spent_dollars: float = 0.0
    spent_tokens: int = 0
    _held_dollars: float = 0.0
    _held_tokens: int = 0

    def hold(self, dollars: float, tokens: int) -> bool:
        """Whether a request that may cost so much still fits; if so it is held until `settle`."""
        if self.dollars is not None and self.spent_dollars + self._held_dollars + dollars > self.dollars:
            return False
        if self.tokens is not None and self.spent_tokens + self._held_tokens + tokens > self.tokens:
            return False
        self._held_dollars += dollars
        self._held_tokens += tokens
        return True

    def settle(self, held_dollars: float, held_tokens: int) -> None:
        """A held request is over."""
        self._held_dollars -= held_dollars
        self._held_tokens -= held_tokens

    def spend(self, dollars: float, tokens: int) -> None:
        """An answer is used, whenever it was paid for: a job that goes on counts what it had before."""
        self.spent_dollars += dollars
        self.spent_tokens += tokens
