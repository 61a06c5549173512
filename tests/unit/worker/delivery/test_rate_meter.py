"""A rate of late: steady events show their rate, silence forgets it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.rate_meter import Pace


@given(every_s=st.floats(0.0005, 0.01), over_s=st.floats(0.2, 2.0))
def test_what_happens_steadily_is_known_after_a_while(every_s: float, over_s: float) -> None:
    pace = Pace(over_s)
    events = int(8 * over_s / every_s)
    for n in range(events):
        pace.note(n * every_s)
    assert pace.rate((events - 1) * every_s) == pytest.approx(1 / every_s, rel=0.05)


def test_nothing_has_happened_at_first() -> None:
    assert Pace().rate(1e9) == 0.0


def test_silence_forgets() -> None:
    pace = Pace(0.25)
    for n in range(1000):
        pace.note(n / 1000)
    assert pace.rate(1.0) > 900
    assert pace.rate(3.0) < 1


def test_a_clock_that_stands_still_or_steps_back_breaks_nothing() -> None:
    pace = Pace(0.25)
    pace.note(5.0)
    pace.note(5.0)
    assert pace.rate(4.0) == pace.rate(5.0) == 8.0
