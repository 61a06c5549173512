"""Exact sliding windows."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.windows import Limit, PeakRate

# Eighths of a second are exact as floats, so that "exactly one second later" occurs often. In any order.
instants = st.lists(st.integers(0, 48), max_size=80).map(lambda eighths: [one / 8 for one in eighths])


def fullest_window(times: list[float]) -> int:
    """Every window that matters begins at an event: [t, t + 1 s)."""
    return max((sum(begin <= one < begin + 1 for one in times) for begin in times), default=0)


@given(instants)
def test_the_peak_is_the_highest_count_of_all_windows(times: list[float]) -> None:
    busiest = PeakRate()
    for one in times:
        busiest.add(one)
    assert busiest.most == fullest_window(times)
    assert busiest.count == len(times)


def test_a_request_that_is_read_late_counts_in_the_second_in_which_it_arrived() -> None:
    busiest = PeakRate()
    for one in (0.5, 1.5, 0.25, 1.75):
        busiest.add(one)
    assert busiest.most == 2
    assert (busiest.first, busiest.last) == (0.25, 1.75)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_peak_is_exact_over_a_long_run_of_requests_that_are_read_seconds_late(seed: int) -> None:
    fate = random.Random(seed)
    read = sorted(fate.randrange(800) / 8 for _ in range(1000))
    arrived = [one - fate.choice((0, 0, 0, fate.randrange(40) / 8)) for one in read]
    busiest = PeakRate()
    for one in arrived:
        busiest.add(one)
    assert busiest.most == fullest_window(arrived)


def test_two_events_exactly_a_second_apart_are_not_in_one_window() -> None:
    busiest = PeakRate()
    busiest.add(0.0)
    busiest.add(1.0)
    assert busiest.most == 1


def test_the_mean_rate_is_between_the_first_and_the_last_event() -> None:
    busiest = PeakRate()
    assert busiest.mean_per_second is None
    for one in (0.0, 0.5, 1.0, 1.5, 2.0):
        busiest.add(one)
    assert busiest.mean_per_second == 2.0


@given(instants, st.integers(1, 5))
def test_a_limit_is_never_exceeded_in_any_window_and_rejects_only_what_would_exceed_it(
    times: list[float], per_second: int
) -> None:
    limit, admitted = Limit(per_second), list[float]()
    for one in times:
        if limit.has_room(one):
            limit.take(one)
            admitted.append(one)
        else:
            assert fullest_window([*admitted, one]) > per_second
    assert fullest_window(admitted) <= per_second
