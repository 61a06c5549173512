"""131030, 133016 and every code that is not listed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulksend.gateway import Family, find_row, read_reply
from bulksend.messaging import AttemptedMessage, Decision, Kind, OnUnknown, Policy, Scope, Status, decide


def decided(message: str) -> Decision:
    body = json.dumps({"RetCode": 17115, "Message": message}).encode()
    subject = AttemptedMessage(
        kind=Kind.MARKETING, tries=0, waits=0, expires_at_ms=None, on_unknown=OnUnknown.HOLD
    )
    return decide(read_reply(200, {}, body).outcome, subject, Policy(), 1_000_000, 0.5)


@pytest.mark.parametrize("code", [131030, 133000, 133005, 133006, 133008, 133009, 133010, 133015, 133016])
def test_a_fault_of_the_setup_pauses_the_sender_at_the_first_message(code: int) -> None:
    """Case 24: the message waits behind the pause, and the reason names the code."""
    decision = decided(f"(#{code}) Recipient phone number not in allowed list")
    assert decision.status is Status.QUEUED
    assert decision.pause is not None
    assert (decision.pause.scope, decision.pause.after) == (Scope.SENDER, 1)
    assert str(code) in decision.pause.why


@given(st.integers(300, 9_999_999).filter(lambda code: find_row(Family.WHATSAPP, code) is None))
def test_an_unlisted_code_is_shown_and_does_not_count_as_an_outage(code: int) -> None:
    """Case 24: it fails its message with the number, and ten in a row pause the campaign."""
    decision = decided(f"(#{code}) Something new")
    assert decision.status is Status.FAILED
    assert str(code) in decision.error
    assert decision.outage is not True
    assert decision.alert
    assert decision.pause is not None
    assert decision.pause.scope is Scope.CAMPAIGN
    assert str(code) in decision.pause.why


@pytest.mark.parametrize(
    ("status", "code", "shown"),
    [
        (200, 17125, "17125"),
        (200, 171, "171"),
        (200, 153, "153"),
        (200, 4242, "4242"),
        (503, None, "HTTP 503"),
    ],
)
def test_every_reason_names_its_code(status: int, code: int | None, shown: str) -> None:
    body = b"" if code is None else json.dumps({"RetCode": code, "Message": "x"}).encode()
    subject = AttemptedMessage(
        kind=Kind.MARKETING, tries=0, waits=0, expires_at_ms=None, on_unknown=OnUnknown.HOLD
    )
    decision = decide(read_reply(status, {}, body).outcome, subject, Policy(), 1_000_000, 0.5)
    assert shown in decision.error
