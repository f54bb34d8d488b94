import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loglore.endpoint.limits import LONGEST_BACKOFF_S, Budget, Pace, backoff, retry_after


@given(
    limit=st.integers(1, 600),
    arrivals=st.lists(st.floats(0, 30), min_size=1, max_size=60),
)
def test_no_minute_has_more_than_the_limit_and_one(limit: int, arrivals: list[float]) -> None:
    pace, now, starts = Pace(limit), 0.0, []
    for gap in arrivals:
        now += gap / 10
        starts.append(pace.reserve(1, now))
        assert starts[-1] >= now
    for start in starts:
        assert sum(start <= other < start + 60 for other in starts) <= limit + 1
    assert starts == sorted(starts)


def test_no_limit_means_no_wait() -> None:
    pace = Pace(None)
    assert [pace.reserve(1000, 5.0) for _ in range(3)] == [5.0, 5.0, 5.0]


def test_what_was_not_used_is_given_back() -> None:
    pace = Pace(600)  # tokens a minute
    assert pace.reserve(300, 0.0) == 0.0
    pace.correct(-200)
    assert pace.reserve(300, 0.0) == pytest.approx(10.0)


@given(attempt=st.integers(0, 50), wait=st.none() | st.floats(0, 100), random=st.floats(0, 0.999))
def test_backoff_grows_is_bounded_and_honours_the_server(attempt: int, wait: float | None, random: float) -> None:
    delay = backoff(attempt, wait, random)
    assert delay >= (wait or 0.0)
    assert delay <= (wait or 0.0) + LONGEST_BACKOFF_S
    if wait is None:
        assert backoff(attempt + 1, None, random) >= delay > 0


def test_retry_after_in_every_form() -> None:
    assert retry_after({"retry-after": "7"}, 0) == 7
    assert retry_after({"retry-after": "0.25"}, 0) == 0.25
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}, 0) == 1.5
    date = email.utils.formatdate(1_000_060, usegmt=True)
    assert retry_after({"retry-after": date}, 1_000_000) == 60
    assert retry_after({"retry-after": date}, 2_000_000) == 0
    assert retry_after({"retry-after": "soon"}, 0) is None
    assert retry_after({"retry-after": "inf"}, 0) is None
    assert retry_after({}, 0) is None


def test_the_budget_holds_with_requests_in_flight() -> None:
    budget = Budget(dollars=1.0, tokens=1000)
    assert budget.hold(0.6, 100)
    assert not budget.hold(0.6, 100)
    budget.settle(0.6, 100)
    budget.spend(0.2, 50)
    assert budget.hold(0.6, 100)
    assert not budget.hold(0.0, 900)
    assert Budget().hold(1e9, 10**12)
