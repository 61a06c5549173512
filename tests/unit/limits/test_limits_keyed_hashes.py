"""Keyed hashes: the only form in which people and numbers are in Redis."""

from __future__ import annotations

import pytest

from bulksend.limits import Ask, KeyedHashes, LimitRules, SenderLimits
from bulksend.limits.script import build_script
from bulksend.messaging.outcome import Scope
from bulksend.messaging.states import Kind

TAGS = KeyedHashes(b"k" * 32, "100200300")


def test_tags_hold_no_number_and_are_the_same_in_every_process() -> None:
    again = KeyedHashes(b"k" * 32, "100200300")
    for tag, same in (
        (TAGS.recipient("447700900100"), again.recipient("447700900100")),
        (TAGS.sender("447700900001"), again.sender("447700900001")),
        (TAGS.prefix, again.prefix),
    ):
        assert tag == same
        assert "447700" not in tag
        assert "100200300" not in tag


def test_another_key_gives_other_tags() -> None:
    assert KeyedHashes(b"K" * 32, "100200300").recipient("2") != TAGS.recipient("2")


@pytest.mark.parametrize(
    ("one", "other"),
    [("5531985550124", "553185550124"), ("5491155550124", "541155550124"), ("525555550124", "5215555550124")],
)
def test_both_forms_of_a_number_are_one_recipient(one: str, other: str) -> None:
    """Case 04: pair rate and quota count people."""
    assert TAGS.recipient(one) == TAGS.recipient(other)


def test_all_keys_of_an_account_share_one_hash_tag() -> None:
    assert TAGS.prefix.count("{") == TAGS.prefix.count("}") == 1


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="16 to 64 bytes"):
        KeyedHashes(b"short", "1")


def test_fields_lead_back_to_campaign_and_account_and_to_a_senders_tag() -> None:
    assert TAGS.unfield(TAGS.field(Scope.CAMPAIGN, "spring:1")) == (Scope.CAMPAIGN, "spring:1")
    assert TAGS.unfield(TAGS.field(Scope.ACCOUNT, "100200300")) == (Scope.ACCOUNT, "100200300")
    assert TAGS.unfield(TAGS.field(Scope.SENDER, "447700900001")) == (
        Scope.SENDER,
        TAGS.sender("447700900001"),
    )


def test_every_account_has_a_script_of_its_own() -> None:
    one, other = (build_script(KeyedHashes(b"k" * 32, account), LimitRules()) for account in "ab")
    assert one != other


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_of_zero_or_less_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        SenderLimits(rate, None)
    with pytest.raises(ValueError, match="more than 0"):
        LimitRules(account_rate=rate)
    with pytest.raises(ValueError, match="more than 0"):
        Ask(Kind.OTP, "447700900001", "c", "447700900100", SenderLimits(1, None), rate)


def test_rules_out_of_range_are_refused() -> None:
    for wrong in ({"pair_interval_ms": 0.0}, {"pair_burst": 0}, {"otp_reserve": 1.5}):
        with pytest.raises(ValueError, match=r"pair rate|reserve"):
            LimitRules(**wrong)
    with pytest.raises(ValueError, match="quota"):
        SenderLimits(1.0, -1)
