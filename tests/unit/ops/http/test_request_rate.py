"""The request rate: a bound for each caller in any second, and no memory of callers that have gone."""

from __future__ import annotations

import pytest

from bulksend.errors import TooManyRequests
from ops.http.request_rate import RequestRate


class Clock:
    """A clock that is set by hand."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_each_caller_has_its_own_second_which_moves() -> None:
    clock = Clock()
    rate = RequestRate(3, clock)
    for at in (100.0, 100.5, 100.9):
        clock.seconds = at
        rate.check("key a")
    with pytest.raises(TooManyRequests, match=r"key a makes more than 3 .*BULKSEND_REQUESTS_PER_SECOND"):
        rate.check("key a")
    rate.check("key b")
    clock.seconds = 101.0
    rate.check("key a")
    with pytest.raises(TooManyRequests):
        rate.check("key a")


def test_what_is_refused_does_not_count() -> None:
    clock = Clock()
    rate = RequestRate(1, clock)
    rate.check("key a")
    for _ in range(5):
        with pytest.raises(TooManyRequests):
            rate.check("key a")
    clock.seconds += 1.0
    rate.check("key a")


def test_callers_that_have_gone_are_forgotten_and_those_of_this_second_are_not() -> None:
    clock = Clock()
    rate = RequestRate(1, clock)
    for n in range(10_000):
        rate.check(f"address {n}")
    clock.seconds += 1.0
    rate.check("key a")
    assert len(rate._seen) == 1
    with pytest.raises(TooManyRequests):
        rate.check("key a")


def test_the_requests_of_callers_that_have_gone_are_forgotten_before_they_fill_the_memory() -> None:
    clock = Clock()
    rate = RequestRate(100, clock, most_requests=1000)
    for n in range(10):
        for _ in range(100):
            rate.check(f"key {n}")
        clock.seconds += 1.0
    rate.check("key a")
    assert list(rate._seen) == ["key a"]
