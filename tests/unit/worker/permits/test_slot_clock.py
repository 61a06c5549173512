"""Redis's clock and ours, brought together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.permits.slot_clock import SlotClock


def test_a_slot_is_turned_into_our_own_time() -> None:
    clock = SlotClock()
    clock.observe(100.0, 100.002, 5_000_001.0)
    assert clock.loop_time(5_000_001.0) == pytest.approx(100.001)
    assert clock.loop_time(5_000_501.0) == pytest.approx(100.501)


def test_a_slow_call_does_not_spoil_what_a_quick_one_has_shown() -> None:
    clock = SlotClock()
    clock.observe(100.0, 100.001, 5_000_000.5)
    clock.observe(101.0, 101.400, 5_001_010.0)  # most of the 400 ms were on one way only
    assert clock.loop_time(5_002_000.0) == pytest.approx(102.0, abs=0.001)


def test_a_drifting_clock_is_followed_in_the_end() -> None:
    clock = SlotClock()
    clock.observe(0.0, 0.0002, 1_000_000.1)
    for second in range(1, 601):
        drift = second * 0.0005  # half a millisecond a second
        clock.observe(second, second + 0.004, 1_000_000 + (second + 0.002 - drift) * 1000)
    now_by_redis = 1_000_000 + (600 - 0.3) * 1000
    assert clock.loop_time(now_by_redis) == pytest.approx(600.0, abs=0.02)


@given(
    offset=st.floats(-1e6, 1e6),
    delays=st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)), min_size=1, max_size=20),
)
def test_the_error_is_never_more_than_half_of_the_best_call(
    offset: float, delays: list[tuple[float, float]]
) -> None:
    clock = SlotClock()
    now = 1000.0
    best = float("inf")
    for out, back in delays:
        clock.observe(now, now + out + back, (now + out - offset) * 1000)
        best = min(best, (out + back) / 2)
        now += 0.01
    assert abs(clock.loop_time((now - offset) * 1000) - now) <= best + 0.01


def test_before_any_call_nothing_is_known() -> None:
    with pytest.raises(RuntimeError):
        SlotClock().loop_time(1.0)
