"""How long to wait before the next try."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging import backoff_ms, pair_backoff_ms


@pytest.mark.parametrize(
    ("tries", "dice", "ms"),
    [
        (0, 0.5, 1_000),
        (1, 0.5, 2_000),
        (2, 0.5, 4_000),
        (0, 0.0, 0),
        (3, 0.25, 4_000),
        (9, 0.5, 300_000),
        (99, 0.5, 300_000),
    ],
)
def test_the_wait_is_a_fair_share_of_a_ceiling_that_doubles_up_to_its_cap(
    tries: int, dice: float, ms: int
) -> None:
    assert backoff_ms(tries, base_ms=2_000, cap_ms=600_000, dice=dice) == ms


@given(
    st.integers(0, 10_000), st.integers(1, 10**6), st.integers(1, 10**8), st.floats(0, 1, exclude_max=True)
)
def test_no_wait_is_negative_or_above_its_ceiling(tries: int, base_ms: int, cap_ms: int, dice: float) -> None:
    assert (
        0
        <= backoff_ms(tries, base_ms=base_ms, cap_ms=cap_ms, dice=dice)
        <= min(cap_ms, base_ms * 2 ** min(tries, 60))
    )


def test_a_pair_waits_four_to_the_x_seconds_and_at_most_an_hour() -> None:
    waits = [pair_backoff_ms(x) // 1000 for x in range(8)]
    assert waits == [1, 4, 16, 64, 256, 1024, 3600, 3600]
    assert pair_backoff_ms(10_000) == 3_600_000
