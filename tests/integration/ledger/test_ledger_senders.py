"""Senders with their limits, and the pauses of senders and accounts."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import InvalidInput, InvalidValue
from bulksend.ledger import operator_log, pauses, senders

PHONE = "15550100100"
BY = {"actor": "ada", "why": "quality is red"}


def test_a_sender_is_registered_once_with_whatsapps_default_rate(desk: Any) -> None:
    assert desk.write(senders.register, PHONE) is True
    assert desk.write(senders.register, PHONE, rate=5.0, name="other") is False
    sender = desk.read(senders.get, PHONE)
    assert (sender.rate, sender.quota, sender.name) == (80.0, None, "")


def test_a_change_of_a_sender_is_logged_and_keeps_the_other_values(desk: Any) -> None:
    desk.write(senders.register, PHONE, name="shop")
    assert desk.write(senders.change, PHONE, actor="ada", rate=40.0, quota=2_000).quota == 2_000
    changed = desk.write(senders.change, PHONE, actor="ada", no_quota=True)
    assert (changed.name, changed.rate, changed.quota) == ("shop", 40.0, None)
    assert desk.write(senders.change, PHONE, actor="ada") == changed
    assert [act.why for act in desk.read(operator_log.of, "sender", PHONE)] == [
        "rate=40.0, quota=2000",
        "quota=None",
    ]


def test_a_sender_one_digit_away_from_a_known_one_is_refused(desk: Any) -> None:
    desk.write(senders.register, PHONE)
    with pytest.raises(InvalidValue, match=f"one digit away from {PHONE}.*senders add 15550100101") as asked:
        desk.read(senders.check_spelling, "15550100101", "--sender")
    assert (asked.value.field, asked.value.value) == ("--sender", "15550100101")


def test_a_sender_on_record_is_accepted_next_to_a_similar_one(desk: Any) -> None:
    for phone in (PHONE, "15550100101"):
        desk.write(senders.register, phone)
        desk.read(senders.check_spelling, phone, "--sender")


def test_the_first_sender_and_one_unlike_the_others_are_accepted(desk: Any) -> None:
    desk.read(senders.check_spelling, PHONE, "--sender")
    desk.write(senders.register, PHONE)
    desk.read(senders.check_spelling, "447700900123", "--sender")


@pytest.mark.parametrize("act", [senders.get, senders.change])
def test_a_sender_that_is_not_on_record_is_refused_with_how_to_register_it(desk: Any, act: Any) -> None:
    named = {"actor": "ada", "rate": 1.0} if act is senders.change else {}
    with pytest.raises(InvalidInput, match="senders add"):
        desk.write(act, PHONE, **named)


def test_senders_are_listed_by_number_and_found_by_many_numbers(desk: Any) -> None:
    for phone in ("3", "1", "2"):
        desk.write(senders.register, phone)
    assert [s.phone for s in desk.read(senders.all_senders)] == ["1", "2", "3"]
    assert set(desk.read(senders.by_phones, ["1", "3", "9"])) == {"1", "3"}


def test_pausing_and_resuming_a_sender_is_logged_once(desk: Any) -> None:
    desk.write(senders.register, PHONE)
    assert [desk.write(pauses.pause_sender, PHONE, **BY) for _ in range(2)] == [True, False]
    assert desk.read(senders.get, PHONE).pause_why == "quality is red"
    assert [desk.write(pauses.resume_sender, PHONE, **BY) for _ in range(2)] == [True, False]
    assert desk.read(senders.get, PHONE).paused_at is None
    assert [act.act for act in desk.read(operator_log.of, "sender", PHONE)] == ["pause", "resume"]


def test_an_account_is_paused_without_being_registered_first(desk: Any) -> None:
    assert desk.read(pauses.account_pause, "default") is None
    assert [
        desk.write(pauses.pause_account, "default", actor="host:1", why="no money") for _ in range(2)
    ] == [
        True,
        False,
    ]
    since, why = desk.read(pauses.account_pause, "default")
    assert since <= desk.now()
    assert why == "no money"
    assert [desk.write(pauses.resume_account, "default", **BY) for _ in range(2)] == [True, False]
    assert desk.read(pauses.account_pause, "default") is None


def test_current_pauses_name_campaigns_senders_and_accounts(desk: Any) -> None:
    paused, running = desk.campaign(), desk.campaign()
    desk.write(pauses.pause_campaign, paused.id, **BY)
    for phone in ("1", "2"):
        desk.write(senders.register, phone)
    desk.write(pauses.pause_sender, "1", **BY)
    desk.write(pauses.pause_account, "default", **BY)
    assert desk.read(pauses.current) == pauses.Pauses(
        frozenset({paused.id}), frozenset({"1"}), frozenset({"default"})
    )
    assert running.id not in desk.read(pauses.current).campaigns
