"""Back-pressure: so many requests at a time, so many waiting, first come first served; the next one is refused."""

import asyncio
import math
from collections import deque

# Weight of the newest request in the mean time that one takes.
SMOOTHING = 0.2
LONGEST_RETRY_S = 60


class FullError(Exception):
    """Nobody else may wait. `retry_after_s` is when a seat may be free."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Seats:
    """`size` seats, and a queue of at most `queue` who wait for one. Belongs to one event loop."""

    def __init__(self, size: int, queue: int) -> None:
        self.size, self.queue = size, queue
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_s = 1.0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def take(self) -> None:
        """Wait for a seat.

        Raises:
            FullError: as many as may wait already.
        """
        if self.taken < self.size:
            self.taken += 1
            return
        if len(self._waiting) >= self.queue:
            raise FullError(self.retry_after_s())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # it was handed over while its taker left
            raise

    def give(self, seconds: float) -> None:
        """Give a seat back after `seconds`; the first who waits gets it."""
        self._mean_s += SMOOTHING * (seconds - self._mean_s)
        self._pass_on()

    def refuse_all(self, fault: Exception) -> None:
        """Send everyone who waits away with `fault`."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(fault)

    def retry_after_s(self) -> int:
        """Whole seconds until the queue has moved on by one, by the mean time of a request; at least 1."""
        return max(1, min(LONGEST_RETRY_S, math.ceil(self._mean_s / self.size)))

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1
