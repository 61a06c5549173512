"""Exact sliding windows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from simulator.windows import Limit, PeakRate

# Eighths of a second are exact as floats, so that "exactly one second later" occurs often.
instants = st.lists(st.integers(0, 60), max_size=80).map(lambda eighths: [one / 8 for one in sorted(eighths)])


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
            assert sum(one - earlier < 1 for earlier in admitted) == per_second
    assert fullest_window(admitted) <= per_second
