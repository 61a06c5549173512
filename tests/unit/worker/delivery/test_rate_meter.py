"""The rate meter follows the rate of recent events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.rate_meter import RateMeter


@given(every_s=st.floats(0.0005, 0.01), over_s=st.floats(0.2, 2.0))
def test_steady_events_show_their_rate(every_s: float, over_s: float) -> None:
    meter = RateMeter(over_s)
    events = int(8 * over_s / every_s)
    for n in range(events):
        meter.note(n * every_s)
    assert meter.rate((events - 1) * every_s) == pytest.approx(1 / every_s, rel=0.05)


def test_the_rate_is_zero_before_the_first_event() -> None:
    assert RateMeter().rate(1e9) == 0.0


def test_the_rate_decays_without_events() -> None:
    meter = RateMeter(0.25)
    for n in range(1000):
        meter.note(n / 1000)
    assert meter.rate(1.0) > 900
    assert meter.rate(3.0) < 1


def test_a_clock_that_stands_still_or_steps_back_does_not_change_the_rate() -> None:
    meter = RateMeter(0.25)
    meter.note(5.0)
    meter.note(5.0)
    assert meter.rate(4.0) == meter.rate(5.0) == 8.0
