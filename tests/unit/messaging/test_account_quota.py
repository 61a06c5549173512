"""The account's quota follows from what operators set and what the vendor tells of its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bulksend.messaging.account_quota import AccountQuota, account_quota, tier_limit


@dataclass(frozen=True)
class Sender:
    phone: str
    tier: str | None = None
    quota: int | None = None
    status: str | None = None


@pytest.mark.parametrize(
    ("tier", "limit"),
    [
        *(
            ("TIER_250", 250),
            ("TIER_1K", 1000),
            ("TIER_2K", 2000),
            ("tier_10k", 10_000),
            ("TIER_100K", 100_000),
            ("2000", 2000),
        ),
        *((tier, None) for tier in ("TIER_UNLIMITED", "TIER_NOT_SET", "TIER_", "TIER_0", "-1", "", None)),
    ],
)
def test_a_tier_is_a_number_of_recipients_and_one_that_is_not_known_limits_nothing(
    tier: str | None, limit: int | None
) -> None:
    assert tier_limit(tier) == limit


def test_the_least_tier_counts_because_only_that_surely_holds() -> None:
    found = account_quota(
        [Sender("1", "TIER_10K"), Sender("2", "TIER_2K"), Sender("3", "TIER_UNLIMITED"), Sender("4")]
    )
    assert found == AccountQuota(2000, "TIER_2K of sender 2")


def test_what_an_operator_set_wins_over_every_tier_and_the_least_of_several_counts() -> None:
    found = account_quota(
        [Sender("1", "TIER_250"), Sender("2", "TIER_250", quota=5000), Sender("3", None, quota=9000)]
    )
    assert found == AccountQuota(5000, "set at sender 2")


@pytest.mark.parametrize("status", ["BANNED", "DELETED", "DISCONNECTED", "MIGRATED"])
def test_the_tier_of_a_number_that_sends_nothing_more_does_not_count(status: str) -> None:
    gone = Sender("1", "TIER_250", status=status)
    assert account_quota([gone, Sender("2", "TIER_10K", status="FLAGGED")]).limit == 10_000
    assert account_quota([gone]) == AccountQuota(None, None)


def test_without_a_word_of_operator_or_vendor_there_is_no_quota() -> None:
    assert account_quota([]) == account_quota([Sender("1"), Sender("2", "")]) == AccountQuota()
