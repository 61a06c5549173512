"""A campaign pauses when more than a share of its last messages failed."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging.failure_share import (
    FailureLimit,
    FailureWindow,
    Results,
    format_max_failed,
    parse_max_failed,
    results_of,
    too_many_failed,
)
from bulksend.messaging.states import Kind

LIMIT = FailureLimit(0.05, 200)


@pytest.mark.parametrize(
    ("tried", "failed", "pauses"),
    [(200, 10, False), (200, 11, True), (11, 11, True), (10, 10, False), (1000, 50, False), (1000, 51, True)],
)
def test_more_failures_than_the_share_of_the_window_pause_it(tried: int, failed: int, pauses: bool) -> None:
    assert (too_many_failed(Results(tried, failed), LIMIT) is not None) is pauses


def test_a_share_of_one_never_pauses() -> None:
    assert too_many_failed(Results(500, 500), FailureLimit(1.0, 200)) is None


def test_the_reason_names_the_counts_and_the_limit() -> None:
    assert (
        too_many_failed(Results(60, 11), LIMIT) == "11 of its last 60 messages failed; the limit is 5% of 200"
    )


def test_a_window_holds_the_last_messages_only() -> None:
    window = FailureWindow(Results(0, 0))
    # All failures are among the first 100; then 100 succeed at each look.
    assert window.add(Results(100, 10), 200) == (100, 10)
    assert window.add(Results(200, 10), 200) == (200, 10)
    assert window.add(Results(300, 10), 200) == (200, 0)


def test_a_look_after_many_messages_takes_them_all() -> None:
    window = FailureWindow(Results(0, 0))
    window.add(Results(50, 0), 200)
    assert window.add(Results(1_000, 60), 200) == (950, 60)


def test_failures_that_receipts_report_later_count_in_the_window_in_which_they_come() -> None:
    window = FailureWindow(Results(0, 0))
    for tried in range(100, 600, 100):
        window.add(Results(tried, 0), 200)
    assert window.add(Results(500, 12), 200) == (200, 12)


def test_a_new_watcher_counts_from_its_first_look() -> None:
    window = FailureWindow(None)
    assert window.add(Results(5_000, 400), 200) == (0, 0)
    assert window.add(Results(5_100, 405), 200) == (100, 5)


def test_a_resume_begins_another_window() -> None:
    window = FailureWindow(Results(0, 0))
    window.add(Results(100, 20), 200)
    window.restart(Results(100, 20))
    assert window.add(Results(150, 21), 200) == (50, 1)


def test_failed_messages_that_are_queued_again_begin_another_window() -> None:
    window = FailureWindow(Results(0, 0))
    window.add(Results(100, 20), 200)
    assert window.add(Results(80, 0), 200) == (0, 0)
    assert window.add(Results(90, 1), 200) == (10, 1)


def test_results_are_what_the_vendor_took_and_what_failed() -> None:
    statuses = {
        "accepted": 1,
        "delivered": 2,
        "read": 3,
        "failed": 4,
        "unknown": 5,
        "expired": 6,
        "queued": 7,
    }
    assert results_of(statuses) == (10, 4)


def test_codes_pause_only_by_a_limit_of_their_campaign() -> None:
    assert LIMIT.of(Kind.MARKETING, None) == LIMIT
    assert LIMIT.of(Kind.OTP, None).share == 1.0
    assert LIMIT.of(Kind.OTP, 0.1) == FailureLimit(0.1, 200)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.5 %", 0.005), ("0%", 0.0), ("none", 1.0)])
def test_a_limit_is_a_share_or_none(text: str, share: float) -> None:
    assert parse_max_failed(text) == pytest.approx(share)
    assert parse_max_failed(format_max_failed(share)) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "5", "101%", "five", "-1%"])
def test_what_is_no_share_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidValue, match="--max-failed"):
        parse_max_failed(text, field="--max-failed")
