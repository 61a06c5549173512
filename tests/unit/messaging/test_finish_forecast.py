"""When a campaign is done, under the limits in force and beside others."""

from __future__ import annotations

import pytest

from bulksend.messaging.finish_forecast import OtherCampaign, Quota, finish_ms
from bulksend.messaging.states import Kind
from bulksend.messaging.units import sent_by_ms

DAY_MS = 86_400_000
MARKETING, OTP = Kind.MARKETING, Kind.OTP


def other(
    left: int, *, kind: Kind = MARKETING, rate: float | None = None, due_at: int = 0, weight: int = 1
) -> OtherCampaign:
    return OtherCampaign(kind, left, rate, due_at, weight)


def test_alone_it_takes_its_messages_at_the_lower_of_both_rates() -> None:
    assert finish_ms({0: 800}, MARKETING, None, 80) == 10_000
    assert finish_ms({0: 800}, MARKETING, 20, 80) == 40_000
    assert finish_ms({0: 800}, MARKETING, 100, 80) == 10_000


@pytest.mark.parametrize(
    ("others", "done_ms"),
    [
        ([other(800)], 20_000),
        ([other(400)], 15_000),  # half the rate for 10 s, then all of it
        ([other(8000, rate=20)], 13_333),  # the other one uses a quarter
        ([other(800, kind=OTP)], 20_000),  # codes come first
        ([other(800, due_at=5_000)], 15_000),  # not before its due time
        ([other(0)], 10_000),
        ([other(8000), other(8000), other(8000)], 40_000),
        ([other(8000, weight=3)], 40_000),  # a quarter is ours
        ([other(8000, weight=3, rate=20)], 13_333),  # it does not use its part
    ],
)
def test_campaigns_of_one_sender_share_its_rate(others: list[OtherCampaign], done_ms: int) -> None:
    assert finish_ms({0: 800}, MARKETING, None, 80, others) == pytest.approx(done_ms, abs=2)


def test_its_own_weight_counts_beside_those_of_the_others() -> None:
    assert finish_ms({0: 900}, MARKETING, None, 80, [other(8000)], weight=9) == pytest.approx(12_500, abs=2)


def test_a_later_lane_takes_nothing_from_codes() -> None:
    assert finish_ms({0: 800}, OTP, None, 80, [other(8000)]) == 10_000


def test_its_own_limit_leaves_the_rest_to_the_other() -> None:
    assert finish_ms({0: 800}, MARKETING, 20, 80, [other(100_000)]) == 40_000


def test_rows_with_times_of_their_own_wait_for_them() -> None:
    due = {0: 80, 60_000: 80}
    assert finish_ms(due, MARKETING, None, 80, [other(160)]) == pytest.approx(61_000, abs=2)


def test_many_due_times_are_rounded_up_and_never_too_early() -> None:
    due = {n * 1000: 8 for n in range(10_000)}
    exact = sent_by_ms(due, 80)
    beside = finish_ms(due, MARKETING, None, 80, [other(1, due_at=0)])
    assert exact <= beside <= exact + 10_000


def test_a_quota_spreads_it_over_days() -> None:
    assert finish_ms({0: 800}, MARKETING, None, 80, quota=Quota(1000, 200)) == 10_000
    assert finish_ms({0: 1000}, MARKETING, None, 80, quota=Quota(1000, 200)) == DAY_MS + 2_500
    # 800 now, 1,000 a day later, the last 200 after two days.
    assert finish_ms({0: 2000}, MARKETING, None, 80, quota=Quota(1000, 200)) == 2 * DAY_MS + 2_500
