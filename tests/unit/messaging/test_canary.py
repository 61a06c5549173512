"""A canary passes or fails by its receipts, as early as they are certain, else when its time is over."""

from __future__ import annotations

import pytest

from bulksend.errors import InvalidValue
from bulksend.messaging.canary import CanaryRules, Next, Slice, judge, parse_canary, slice_of, slice_size

RULES = CanaryRules(max_failed=0.05, min_delivered=0.7, wait_ms=60_000)
SENT, OVER = 1_000_000, 1_060_000


@pytest.mark.parametrize(
    ("left", "delivered", "failed", "now_ms", "follows"),
    [
        (60, 30, 0, SENT, Next.WAIT),  # not all is sent
        (60, 30, 6, SENT, Next.PAUSE),  # whatever the rest does
        (60, 35, 5, SENT, Next.WAIT),
        (0, 94, 1, SENT, Next.WAIT),  # five more may still fail
        (0, 95, 1, SENT, Next.GO),
        (0, 94, 6, SENT, Next.PAUSE),
        (0, 70, 5, OVER - 1, Next.WAIT),
        (0, 70, 5, OVER, Next.GO),
        (0, 69, 5, OVER, Next.PAUSE),
        (0, 0, 0, OVER, Next.PAUSE),  # no receipts come at all
    ],
)
def test_what_follows_from_a_slice_of_a_hundred(
    left: int, delivered: int, failed: int, now_ms: int, follows: Next
) -> None:
    assert judge(Slice(100, left, delivered, failed, SENT), RULES, now_ms)[0] is follows


def test_the_reason_names_the_counts_and_the_limit() -> None:
    assert judge(Slice(100, 0, 60, 6, SENT), RULES, SENT)[1] == (
        "of 100 messages 60 delivered, 6 failed: more than 5% failed"
    )
    assert judge(Slice(100, 0, 60, 5, SENT), RULES, OVER)[1] == (
        "of 100 messages 60 delivered, 5 failed within 1m 00s: fewer than 70% were delivered"
    )
    assert "no receipt came within 1m 00s" in judge(Slice(100, 0, 0, 0, SENT), RULES, OVER)[1]


def test_a_slice_of_which_nothing_could_be_sent_does_not_pass() -> None:
    assert judge(Slice(0, 0, 0, 0, None), RULES, OVER)[0] is Next.PAUSE


def test_shares_are_exact_where_their_products_are_not() -> None:
    rules = CanaryRules(max_failed=0.29, min_delivered=0.55, wait_ms=0)
    assert judge(Slice(100, 0, 55, 29, SENT), rules, SENT)[0] is Next.GO


def test_a_read_message_was_delivered_and_an_unknown_one_is_awaited() -> None:
    statuses = {"read": 3, "delivered": 2, "failed": 1, "unknown": 4, "queued": 90}
    assert slice_of(100, 90, statuses, SENT) == Slice(100, 90, 5, 1, SENT)


@pytest.mark.parametrize(
    ("canary", "messages", "size"),
    [
        *(("1%", 10_000, 100), ("1%", 200, 50), ("1%", 30, 30), ("0.5%", 1_000_001, 5_001)),
        *(("7%", 10_000, 700), ("200", 10_000, 200), ("200", 120, 120)),
    ],
)
def test_a_slice_has_at_least_fifty_messages_if_there_are_as_many(
    canary: str, messages: int, size: int
) -> None:
    assert slice_size(canary, messages) == size


@pytest.mark.parametrize(("text", "canary"), [("1%", "1%"), (" 0.50 % ", "0.5%"), ("0200", "200")])
def test_a_canary_is_a_share_or_a_number(text: str, canary: str) -> None:
    assert parse_canary(text) == canary


@pytest.mark.parametrize("text", ["", "1", "49", "one", "0%", "100%", "1e3", "-1%", "1000001", "٥٠%"])
def test_what_is_no_canary_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidValue, match="--canary"):
        parse_canary(text, field="--canary")
