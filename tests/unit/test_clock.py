"""The clock of another machine, read by this machine's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.clock import ClockOffset, RemoteClock


def test_a_remote_instant_is_turned_into_local_time_and_back() -> None:
    offset = ClockOffset()
    offset.observe(100_000, 100_002, 5_000_001)
    assert offset.local_ms(5_000_001) == 100_001
    assert offset.local_ms(5_000_501) == 100_501
    assert offset.remote_ms(100_501) == 5_000_501


def test_a_slow_call_does_not_spoil_what_a_quick_one_has_shown() -> None:
    offset = ClockOffset()
    offset.observe(100_000, 100_001, 5_000_000.5)
    offset.observe(101_000, 101_400, 5_001_010)  # most of the 400 ms were on one way only
    assert offset.local_ms(5_002_000) == pytest.approx(102_000, abs=1)


def test_a_slow_call_counts_when_another_machine_answers() -> None:
    offset = ClockOffset()
    offset.observe(0, 1, 1000.5)
    offset.distrust()
    offset.observe(401, 801, 9000)
    assert offset.remote_ms(801) == 9200
    assert offset.error_ms == 200


def test_a_drifting_clock_is_followed_in_the_end() -> None:
    offset = ClockOffset()
    offset.observe(0, 0.2, 1_000_000.1)
    for second in range(1, 601):
        drift_ms = second * 0.5
        offset.observe(second * 1000, second * 1000 + 4, 1_000_002 + second * 1000 - drift_ms)
    assert offset.local_ms(1_600_000 - 300) == pytest.approx(600_000, abs=20)


@given(
    ahead_ms=st.floats(-1e9, 1e9),
    delays_ms=st.lists(st.tuples(st.floats(0, 300), st.floats(0, 300)), min_size=1, max_size=20),
)
def test_the_error_is_never_more_than_half_of_the_best_call(
    ahead_ms: float, delays_ms: list[tuple[float, float]]
) -> None:
    offset = ClockOffset()
    now = 1_000_000.0
    best = float("inf")
    for out, back in delays_ms:
        offset.observe(now, now + out + back, now + out + ahead_ms)
        best = min(best, (out + back) / 2)
        now += 10
    assert abs(offset.local_ms(now + ahead_ms) - now) <= best + 10


def test_before_the_first_call_nothing_is_known() -> None:
    with pytest.raises(RuntimeError):
        ClockOffset().local_ms(1.0)


def test_a_remote_clock_goes_on_by_the_steady_one_whatever_the_wall_clock_says() -> None:
    steady = [5.0]
    clock = RemoteClock(lambda: steady[0])
    clock.observe(1_800_000_000_000)
    steady[0] += 0.2505
    assert int(clock()) == 1_800_000_000_250


def test_a_remote_clock_bounds_an_answer_by_the_time_before_its_call() -> None:
    steady = [0.0]
    clock = RemoteClock(lambda: steady[0])
    steady[0] = 0.4
    clock.observe(1000.0, asked_ms=0.0)
    assert clock() == 1200.0
