"""Ten tries in three days; Retry-After lengthens a wait, within a day."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.messaging.webhook_retries import (
    GONE_MS,
    LONGEST_MS,
    WAITS_MS,
    is_delivered,
    is_gone,
    next_wait_ms,
    read_retry_after_ms,
)

HOUR = 3_600_000


def test_the_waits_are_those_of_standard_webhooks() -> None:
    waits = [next_wait_ms(tries, retry_after_ms=None, dice=0.0) for tries in range(1, 11)]
    assert waits == [
        *(5_000, 300_000, 1_800_000, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
        None,
    ]


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_jitter_only_lengthens_and_by_a_tenth_at_most(tries: int, dice: float) -> None:
    wait = next_wait_ms(tries, retry_after_ms=None, dice=dice)
    assert wait is not None
    assert WAITS_MS[tries] <= wait <= WAITS_MS[tries] * 1.1


def test_a_receiver_can_ask_for_a_longer_wait_and_not_for_a_shorter_or_endless_one() -> None:
    assert next_wait_ms(1, retry_after_ms=60_000, dice=0.0) == 60_000
    assert next_wait_ms(2, retry_after_ms=1_000, dice=0.0) == 300_000
    assert next_wait_ms(1, retry_after_ms=99 * LONGEST_MS, dice=0.0) == LONGEST_MS


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        *(("120", 120_000), (" 7 ", 7_000), ("9" * 400, LONGEST_MS), ("-5", None), ("soon", None)),
        *((None, None), ("", None), ("Thu, 01 Jan 1970 00:01:40 GMT", 90_000)),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, ms: int | None) -> None:
    assert read_retry_after_ms(text, now_ms=10_000) == ms


def test_only_2xx_is_a_success() -> None:
    assert [status for status in (None, 100, 199, 200, 204, 299, 301, 400, 500) if is_delivered(status)] == [
        *(200, 204, 299)
    ]


def test_an_endpoint_is_gone_after_five_days_of_nothing_but_failure() -> None:
    assert not is_gone(None, GONE_MS)
    assert not is_gone(1, GONE_MS)
    assert is_gone(0, GONE_MS)
