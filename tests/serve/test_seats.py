"""The queue in front of an engine: order, bounds, and seats that are not lost when somebody leaves."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.serve.seats import FullError, Seats


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_first_come_first_served_and_the_next_is_refused() -> None:
    async def scenario() -> None:
        seats = Seats(1, 2)
        order: list[int] = []
        await seats.take()

        async def wait(number: int) -> None:
            await seats.take()
            order.append(number)

        waiting = [asyncio.ensure_future(wait(number)) for number in range(2)]
        await settle()
        assert (seats.taken, seats.waiting) == (1, 2)
        with pytest.raises(FullError) as fault:
            await seats.take()
        assert fault.value.retry_after_s >= 1
        for _ in range(2):
            seats.give(0.1)
            await settle()
        assert order == [0, 1]
        await asyncio.gather(*waiting)
        seats.give(0.1)
        assert seats.taken == 0

    run(scenario())


def test_the_time_to_retry_follows_what_requests_take() -> None:
    async def scenario() -> None:
        seats = Seats(2, 0)
        for _ in range(50):
            await seats.take()
            seats.give(20.0)
        assert seats.retry_after_s() == 10

    run(scenario())


def test_everyone_who_waits_can_be_sent_away() -> None:
    async def scenario() -> None:
        seats = Seats(1, 5)
        await seats.take()
        waiting = [asyncio.ensure_future(seats.take()) for _ in range(3)]
        await settle()
        seats.refuse_all(LookupError("over"))
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in results] == [LookupError] * 3
        seats.give(1.0)
        assert seats.taken == 0

    run(scenario())


@given(st.lists(st.tuples(st.sampled_from(["take", "give", "leave"]), st.integers(0, 9)), max_size=60))
def test_no_seat_is_lost_or_given_twice(steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        seats = Seats(2, 3)
        tasks: list[asyncio.Task[None]] = []
        held = 0
        for what, number in steps:
            if what == "take":
                tasks.append(asyncio.ensure_future(seats.take()))
            elif what == "give" and held:
                seats.give(0.1)
                held -= 1
                if number % 2:  # who got the seat leaves in the same moment
                    for task in [each for each in tasks if not each.done()][:1]:
                        task.cancel()
            elif what == "leave":
                for task in [each for each in tasks if not each.done()][number % 3 :][:1]:
                    task.cancel()
            await settle()
            done, tasks = [each for each in tasks if each.done()], [each for each in tasks if not each.done()]
            held += sum(not each.cancelled() and each.exception() is None for each in done)
            assert held == seats.taken <= 2
            assert seats.waiting == len(tasks) <= 3
            assert seats.waiting == 0 or seats.taken == 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(scenario())
