"""When a single send is due by the clocks at its recipient's. Nothing is stored."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import InvalidValue
from bulksend.ledger.direct_sends import DirectSend
from bulksend.ledger.encryption import Cipher
from bulksend.messaging import Kind
from bulksend.messaging.quiet_hours import read_quiet_hours
from bulksend.messaging.time_rules import TimeRules
from bulksend.messaging.units import parse_instant_ms
from producer.direct_sends import DirectSends

LONDON, SATELLITE = "447700900123", "881612345678"
NIGHT = read_quiet_hours("kind,where,quiet,days\nutility,*,21:00-08:00,\n")


def at(text: str) -> int:
    return parse_instant_ms(text, timezone=None, now_ms=0)


EVENING, MORNING = at("2030-01-10T22:30:00Z"), at("2030-01-11T08:00:00Z")


def ready(**more: Any) -> DirectSend:
    """A message that is checked in the evening."""
    rules = TimeRules({Kind.OTP: 60_000, Kind.UTILITY: 120_000}, NIGHT)
    direct = DirectSends(
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        Cipher([b"k" * 32]),
        encrypts=lambda kind: kind is Kind.OTP,
        timezone="Europe/London",
        rules=rules,
        clock=lambda: EVENING / 1000,
    )
    message = {
        "to": LONDON,
        "sender": "8615000579987",
        "kind": "utility",
        "type": "text",
        "content": {"body": "hello"},
    }
    return direct.read(message | more).send


@pytest.mark.parametrize(
    ("more", "due_at", "in_quiet_hours"),
    [
        ({}, MORNING, True),
        ({"kind": "marketing"}, None, False),
        ({"kind": "otp"}, None, False),
        ({"timezone": "America/New_York"}, None, False),
        ({"send_at": "2030-01-12T23:00:00Z"}, at("2030-01-13T08:00:00Z"), True),
        (
            {"send_at": "2030-01-12T12:00:00", "timezone": "America/New_York"},
            at("2030-01-12T17:00:00Z"),
            False,
        ),
        ({"local_time": "09:00"}, at("2030-01-11T09:00:00Z"), False),
        ({"local_time": "07:00"}, MORNING, True),
        ({"local_time": "09:00", "send_at": "2030-02-01T12:00:00Z"}, at("2030-02-02T09:00:00Z"), False),
        (
            {"local_time": "09:00", "to": SATELLITE, "timezone": "Asia/Omsk"},
            at("2030-01-11T03:00:00Z"),
            False,
        ),
        # The ledger refuses it, unless its key has a message.
        ({"local_time": "2030-01-01 23:00"}, at("2030-01-01T23:00:00Z"), False),
    ],
)
def test_a_single_send_is_due_by_the_clocks_at_its_recipients(
    more: dict[str, Any], due_at: int | None, in_quiet_hours: bool
) -> None:
    send = ready(**more)
    assert (send.due_at, send.in_quiet_hours) == (due_at, in_quiet_hours)
    body = send.message(EVENING).body
    assert body.get("z") == more.get("timezone")


def test_each_kind_has_its_time_to_live_by_default() -> None:
    assert [ready(kind=kind).lives_ms for kind in Kind] == [60_000, 120_000, None]
    assert ready(ttl_seconds=5).lives_ms == 5_000


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"to": SATELLITE}, "timezone"),
        ({"to": SATELLITE, "kind": "marketing", "local_time": "09:00"}, "timezone"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"local_time": "9am"}, "local_time"),
    ],
)
def test_what_cannot_be_placed_is_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        ready(**more)
    assert refused.value.field == field
