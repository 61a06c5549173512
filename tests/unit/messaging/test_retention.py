"""What is due of a message by its age: content before row, and nothing of what is open."""

from __future__ import annotations

import pytest

from bulksend.messaging.retention import DAY_MS, Due, Retention, in_order, parse_days
from bulksend.messaging.states import ENDED, Kind, Status

NOW = 1_900_000_000_000
POLICY = Retention(
    content={Kind.MARKETING: 10}, rows={Kind.MARKETING: 20, Kind.OTP: 5}, totals={Kind.MARKETING: 30}
)


def due(kind: Kind, status: Status, days: float | None) -> Due:
    ended = None if days is None else NOW - int(days * DAY_MS)
    return POLICY.of_message(kind, status, ended, NOW)


@pytest.mark.parametrize(
    ("kind", "days", "what"),
    [
        (Kind.MARKETING, 9.9, Due.NOTHING),
        (Kind.MARKETING, 10.1, Due.CONTENT),
        (Kind.MARKETING, 20.1, Due.ROW),
        (Kind.OTP, 4.9, Due.NOTHING),
        (Kind.OTP, 5.1, Due.ROW),
        (Kind.UTILITY, 5_000, Due.NOTHING),
    ],
)
def test_content_goes_before_the_row_by_kind(kind: Kind, days: float, what: Due) -> None:
    assert due(kind, Status.READ, days) is what


@pytest.mark.parametrize("status", Status)
def test_only_what_has_ended_and_is_known_goes(status: Status) -> None:
    goes = status in ENDED and status is not Status.UNKNOWN
    assert (due(Kind.MARKETING, status, 1_000) is Due.ROW) is goes
    assert due(Kind.MARKETING, status, None) is Due.NOTHING


def test_the_youngest_age_bounds_what_is_looked_at() -> None:
    assert POLICY.youngest_ms == 5 * DAY_MS
    assert Retention().youngest_ms is None
    assert POLICY.totals_end_before(Kind.MARKETING, NOW) == NOW - 30 * DAY_MS
    assert POLICY.totals_end_before(Kind.OTP, NOW) is None


def test_days_are_read_for_all_kinds_or_by_kind() -> None:
    assert parse_days("400") == dict.fromkeys(Kind, 400.0)
    assert parse_days(" otp=30, marketing=1.5 ") == {Kind.OTP: 30.0, Kind.MARKETING: 1.5}
    for wrong in ("otp", "otp=", "sms=3", "otp=0", "otp=x", "-1", "otp=3,otp=4", "nan"):
        with pytest.raises(ValueError, match="write days"):
            parse_days(wrong)


def test_an_order_is_broken_by_the_kind_that_is_kept_longer() -> None:
    assert in_order({Kind.OTP: 5}, {Kind.OTP: 5, Kind.MARKETING: 1}) is None
    assert in_order({Kind.OTP: 6}, {Kind.OTP: 5}) is Kind.OTP
