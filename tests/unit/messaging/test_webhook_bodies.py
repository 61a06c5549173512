"""Which events an endpoint gets, and how they are put together."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from bulksend.errors import InvalidValue
from bulksend.ledger import events
from bulksend.messaging.webhook_bodies import (
    BATCH,
    BATCH_MS,
    MAX_BODY,
    TYPES,
    WebhookBody,
    compose,
    happened_at,
    is_wanted,
    parse_filter,
    trial_body,
)

NOW = 1_900_000_000_000


@dataclass(frozen=True)
class Happened:
    seq: int
    type: str = "message.delivered"
    at: int = NOW
    data: dict[str, Any] = field(default_factory=lambda: {"campaign_id": "file"})


def composed(
    happened: list[Happened], *, filter: tuple[str, ...] = (), now_ms: int = NOW, full: bool = False
) -> tuple[list[WebhookBody], int | None]:
    return compose(
        happened,
        filter=filter,
        now_ms=now_ms,
        is_of_a_file=lambda event: event.data.get("campaign_id") == "file",
        is_full_page=full,
    )


SINGLE = {"campaign_id": "standing"}


def test_every_type_of_the_ledger_can_be_asked_for() -> None:
    assert set(events.TYPES) <= set(TYPES)


def test_an_event_of_a_single_send_goes_alone_and_at_once() -> None:
    (body,), done = composed([Happened(7, data=SINGLE)])
    assert (body.type, body.first_seq, body.last_seq, done) == ("message.delivered", 7, 7, 7)
    assert json.loads(body.body) == {
        "type": "message.delivered",
        "timestamp": "2030-03-17T17:46:40.000+00:00",
        "data": {"seq": 7, "campaign_id": "standing"},
    }


def test_events_of_a_file_wait_for_each_other_for_a_second() -> None:
    few = [Happened(n) for n in (1, 2, 3)]
    assert composed(few) == ([], None)
    (body,), done = composed(few, now_ms=NOW + BATCH_MS)
    assert (body.type, body.first_seq, body.last_seq, done) == (BATCH, 1, 3, 3)
    items = json.loads(body.body)["data"]["items"]
    assert [item["data"]["seq"] for item in items] == [1, 2, 3]
    assert items[0] == {
        "type": "message.delivered",
        "timestamp": "2030-03-17T17:46:40.000+00:00",
        "data": {"seq": 1, "campaign_id": "file"},
    }


def test_a_hundred_events_of_a_file_wait_for_nothing() -> None:
    bodies, done = composed([Happened(n) for n in range(1, 251)])
    assert [(b.first_seq, b.last_seq) for b in bodies] == [(1, 100), (101, 200), (201, 250)]
    assert done == 250


def test_what_is_due_at_once_takes_along_what_would_wait() -> None:
    bodies, done = composed([Happened(1), Happened(2, data=SINGLE), Happened(3)])
    assert [(b.type, b.first_seq, b.last_seq) for b in bodies] == [
        ("message.delivered", 2, 2),
        (BATCH, 1, 3),
    ]
    assert done == 3
    assert composed([Happened(1)], full=True)[1] == 1


def test_events_that_an_endpoint_does_not_want_are_passed_over() -> None:
    happened = [Happened(1, "message.read"), Happened(2, "campaign.finished", data={}), Happened(3)]
    bodies, done = composed(happened, filter=("campaign.*",))
    assert [b.type for b in bodies] == ["campaign.finished"]
    assert done == 3
    assert composed(happened, filter=("sender.changed",)) == ([], 3)
    assert composed([]) == ([], None)


@pytest.mark.parametrize("length", [10, 400, 3_000, 25_000])
def test_no_body_is_longer_than_20_kb(length: int) -> None:
    data = {"campaign_id": "file", "error": "é" * length, "id": "x"}
    bodies, _ = composed([Happened(n, data=data) for n in range(1, 301)])
    bodies += composed([Happened(1, data=data | {"campaign_id": "standing"})])[0]
    assert max(len(body.body) for body in bodies) <= MAX_BODY
    items = [item for body in bodies[:-1] for item in json.loads(body.body)["data"]["items"]]
    assert [item["data"]["seq"] for item in items] == list(range(1, 301))
    assert items[0]["data"].get("truncated", False) is (length > 15_000)
    assert items[0]["data"]["id"] == "x"


def test_a_body_says_when_it_happened() -> None:
    for data in (SINGLE, {"campaign_id": "file"}):
        (body,), _ = composed([Happened(1, data=data)], full=True)
        assert happened_at(body.body) == NOW / 1000
    assert happened_at(trial_body(NOW).body) == NOW / 1000


def test_a_filter_names_types_or_groups_of_them() -> None:
    assert parse_filter(["message.*", " sender.changed", ""]) == ("message.*", "sender.changed")
    assert parse_filter([]) == ()
    assert is_wanted("message.read", ("message.*",))
    assert not is_wanted("messages.batch", ("message.*",))
    for wrong in ("message", "message.sent", "*", "messages.batch"):
        with pytest.raises(InvalidValue, match="is not a type of event"):
            parse_filter([wrong])
