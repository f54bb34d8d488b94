"""Which replica takes a request: the one that knows its opening, else the least busy."""

import asyncio
from dataclasses import dataclass, field

import pytest

from loglore.serve import replicas
from loglore.serve.replicas import Routes
from loglore.serve.seats import Seats


@dataclass
class One:
    id: str
    interactions: int = 0
    seats: Seats = field(default_factory=lambda: Seats(2, 8))

    async def take(self, count: int) -> None:
        for _ in range(count):
            await self.seats.take()


def test_a_follow_up_goes_where_its_log_is_and_others_to_the_least_busy() -> None:
    async def story() -> None:
        a, b, c = three = [One("a"), One("b"), One("c")]
        routes = Routes()
        assert routes.choose("m", "log one", three) is a
        await a.take(1)
        assert routes.choose("m", "log two", three) is b
        await b.take(1)
        assert routes.choose("m", "log three", three) is c
        await c.take(1)
        # All as busy: each opening stays where it was.
        assert [routes.choose("m", f"log {name}", three) for name in ("three", "one", "two")] == [c, a, b]
        # An adapter of the same session has keys and values of its own.
        a.interactions, b.interactions, c.interactions = 5, 4, 3
        assert routes.choose("m-tuned", "log one", three) is c
        # Full here, free there: it moves, and stays.
        await a.take(1)
        await b.take(1)
        assert routes.choose("m", "log one", three) is c
        a.seats.give(1.0)
        a.seats.give(1.0)
        assert routes.choose("m", "log one", three) is c
        # Full everywhere: it waits where its log is.
        await a.take(2)
        await c.take(1)
        assert routes.choose("m", "log one", three) is c
        # One that has ended is not among those to choose from.
        assert routes.choose("m", "log one", [a, b]) in (a, b)

    asyncio.run(story())


def test_openings_are_forgotten_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "REMEMBERED", 2)
    a, b = both = [One("a"), One("b")]
    routes = Routes()
    assert routes.choose("m", "first", both) is a
    a.interactions = 1
    assert routes.choose("m", "second", both) is b
    b.interactions = 2
    assert routes.choose("m", "third", both) is a
    # Only the oldest is forgotten.
    a.interactions = 9
    assert routes.choose("m", "second", both) is b
    assert routes.choose("m", "first", both) is b
