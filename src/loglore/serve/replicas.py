"""Which of several replicas of a session takes a request.

The one that answered a request with the same opening before: its engine still has keys and values of that prompt, and
reads the log of a follow-up question not again. When all its seats are taken and another replica has a free one, that
one: reading a prompt again is sooner done than waiting. Without a memory of the opening the least busy, of those the
one that was asked least.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol, TypeVar

from loglore.serve.seats import Seats

REMEMBERED = 10_000  # openings; of older ones no engine has anything left


class Replica(Protocol):
    """One of them: its id, who sits and waits there, and how many requests it has taken."""

    id: str
    seats: Seats
    interactions: int


One = TypeVar("One", bound=Replica)


class Routes:
    """Remembers which replica had which opening. Belongs to one event loop."""

    def __init__(self) -> None:
        self._had: OrderedDict[bytes, str] = OrderedDict()

    def choose(self, model: str, opening: str, replicas: Sequence[One]) -> One:
        """The replica for a request.

        Args:
            model: that is asked; adapters have keys and values of their own.
            opening: the text that follow-ups begin with as well.
            replicas: those that are open, at least one.
        """
        key = hashlib.blake2b(f"{model}\0{opening}".encode(), digest_size=16).digest()
        least = min(replicas, key=_business)
        chosen = next((each for each in replicas if each.id == self._had.get(key)), least)
        if chosen.seats.taken >= chosen.seats.size and least.seats.taken < least.seats.size:
            chosen = least
        self._had[key] = chosen.id
        self._had.move_to_end(key)
        if len(self._had) > REMEMBERED:
            self._had.popitem(last=False)
        return chosen


def _business(replica: Replica) -> tuple[float, int]:
    seats = replica.seats
    return (seats.taken + seats.waiting) / seats.size, replica.interactions
