"""Messages: found by filters in pages, and shown with all that happened to them."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.errors import CampaignNotFound, InvalidValue, MessageNotFound
from bulksend.ledger import campaigns, counters
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.release import Release, release
from bulksend.messaging.outcome import Accepted, NotSent
from bulksend.messaging.states import Kind
from bulksend.operations.contents import CODE_WITHHELD, WIPED
from bulksend.operations.json_shape import Page
from bulksend.operations.messages import Filter, find, show, zone_of
from tests.integration.ledger.conftest import SENDER, Desk

#: The interface's fields of ``messages find``.
FIELDS = [
    *("id", "campaign_id", "row", "key", "kind", "sender", "to", "type", "status", "attempts", "message_id"),
    *("request_id", "ret_code", "error", "due_at", "expires_at", "queued_at", "sent_at", "accepted_at"),
    *("delivered_at", "read_at", "ended_at", "purpose", "superseded_by"),
]


def found(desk: Desk, limit: int = 50, before: str | None = None, **of: Any) -> Page:
    return desk.read(find, Filter(**of), limit=limit, before=before)


def ids(page: Page) -> list[str]:
    return [str(item["id"]) for item in page.items]


def test_an_item_has_the_fields_of_the_interface(desk: Desk) -> None:
    desk.queued()
    (item,) = found(desk).items
    assert list(item) == FIELDS
    assert item["to"] == "447700900001"
    assert item["queued_at"].endswith("+00:00")


def test_pages_follow_each_other_and_the_last_one_has_no_next(desk: Desk) -> None:
    newest_first = sorted(desk.queued(n=5), reverse=True)
    first = found(desk, limit=2)
    second = found(desk, limit=2, before=first.next)
    third = found(desk, limit=2, before=second.next)
    assert ids(first) + ids(second) + ids(third) == newest_first
    assert (first.next, third.next) == (newest_first[1], None)


def test_every_field_of_a_filter_filters(desk: Desk) -> None:
    (wanted,) = desk.queued(name="wanted")
    desk.queued(name="other", n=3)
    (opening,) = desk.sent(desk.lease(), [wanted])
    desk.settle(opening, Accepted("mid-7", "rid-7"))
    for of in (
        {"campaign": "wanted"},
        {"message_id": "mid-7"},
        {"request_id": "rid-7"},
        {"message_id": " mid-7\r\n", "request_id": "rid-7\r"},
        {"status": "accepted"},
    ):
        assert ids(found(desk, **of)) == [wanted], of
    assert len(ids(found(desk, phone="07700 900001", default_region="GB"))) == 2
    assert ids(found(desk, since="2099-01-01T00:00")) == ids(found(desk, until="2001-01-01T00:00")) == []
    assert not Filter(default_region="GB", timezone="UTC", phone="1").is_empty
    assert Filter(default_region="GB", timezone="UTC").is_empty


def test_what_a_worker_has_is_found_counted_and_shown_as_claimed_or_sending(desk: Desk) -> None:
    queued, claimed, sending, retry, claimed_again, sending_again = every = desk.queued(n=6)
    lease, tried = desk.lease(), [retry, claimed_again, sending_again]
    for opening in desk.sent(lease, tried):
        desk.settle(opening, NotSent("no connection"))
    desk.claim(lease, [claimed])
    desk.write(release, [Release(claimed, 0, "outage", 1)], lease=lease)
    assert desk.row(claimed)["gate"] == "outage"
    assert len(desk.claim(lease, [claimed, claimed_again])) == 2
    desk.sent(lease, [sending, sending_again])
    campaign = str(desk.row(queued)["campaign_id"])
    by_status = {
        "queued": [queued],
        "retry": [retry],
        "claimed": [claimed_again, claimed],
        "sending": [sending_again, sending],
    }
    for status, wanted in by_status.items():
        for of in (
            {},
            {"campaign": campaign},
            {"kind": "marketing"},
            {"sender": SENDER},
            {"phone": "447700900006"},
        ):
            expected = [id for id in wanted if "phone" not in of or id == sending_again]
            assert ids(found(desk, status=status, **of)) == expected, (status, of)
    first = found(desk, limit=1, status="claimed")
    assert ids(found(desk, limit=1, status="claimed", before=first.next)) == [claimed]
    shown = {item["id"]: item for item in found(desk).items}
    assert [shown[id]["status"] for id in every] == [
        "queued",
        "claimed",
        "sending",
        "retry",
        "claimed",
        "sending",
    ]
    assert [shown[id]["attempts"] for id in every] == [0, 0, 1, 1, 1, 2]
    for id in every:
        one = desk.read(show, id, desk.cipher)
        assert {**one, "attempts": len(one["attempts"])}.items() >= shown[id].items()
        assert [attempt["n"] for attempt in one["attempts"]] == [*range(1, len(one["attempts"]) + 1)]
    (open_one,) = desk.read(show, sending, desk.cipher)["attempts"]
    assert (open_one["outcome"], open_one["worker"]) == (None, "host:1")
    assert open_one["started_at"] == shown[sending]["sent_at"]
    (counts,) = desk.read(counters.of, [campaign]).values()
    assert (counts.statuses, counts.attempts) == ({status: len(by_status[status]) for status in by_status}, 5)
    assert desk.row(claimed)["gate"] is None
    assert desk.broken() == {}


@pytest.mark.parametrize(
    ("field", "of"),
    [
        ("status", {"status": "sent"}),
        ("phone", {"phone": "12"}),
        ("since", {"since": "soon"}),
        *((field, {field: ""}) for field in ("phone", "status", "kind", "sender", "since")),
        *((field, {field: " "}) for field in ("message_id", "request_id")),
        ("until", {"since": "2030-03-02T00:00Z", "until": "2030-03-01T00:00Z"}),
    ],
)
def test_a_wrong_field_is_named(desk: Desk, field: str, of: dict[str, str]) -> None:
    with pytest.raises(InvalidValue) as error:
        found(desk, **of)
    assert error.value.field == field


def test_an_unknown_campaign_raises_instead_of_matching_nothing(desk: Desk) -> None:
    with pytest.raises(CampaignNotFound):
        found(desk, campaign="none")


def test_show_gives_content_attempts_receipts_and_acts(desk: Desk) -> None:
    (id,) = desk.queued()
    desk.accepted([id])
    shown = desk.read(show, id, desk.cipher)
    assert [name for name in FIELDS if name not in shown] == []
    assert (shown["id"], shown["status"], shown["receipts"], shown["acts"]) == (id, "accepted", [], [])
    (attempt,) = shown["attempts"]
    assert list(attempt) == [
        *("n", "started_at", "finished_at", "outcome", "http_status", "ret_code", "whatsapp_code"),
        *(
            "vendor_message",
            "request_id",
            "message_id",
            "worker",
            "latency_ms",
            "bytes_sent",
            "reply_began",
            "error",
        ),
    ]
    assert (attempt["n"], attempt["outcome"], attempt["message_id"]) == (1, "accepted", shown["message_id"])
    assert not {"owner", "attempt_id", "payload"} & shown.keys()


def test_the_content_is_shown_with_its_variables_filled_in(desk: Desk) -> None:
    (id,) = desk.queued()
    shown = desk.read(show, id, desk.cipher)
    assert (shown["content"], shown["content_why"]) == ({"body": "hello Ada"}, None)


def test_a_one_time_code_is_not_shown(desk: Desk) -> None:
    (id,) = desk.queued(Kind.OTP)
    shown = desk.read(show, id, desk.cipher)
    assert (shown["content"], shown["content_why"]) == (None, CODE_WITHHELD)
    assert "Ada" not in str(shown)


def test_why_a_content_is_not_shown_is_said(desk: Desk) -> None:
    (id,) = desk.queued()
    desk.sql("UPDATE messages SET payload = NULL")
    assert desk.read(show, id, Cipher([]))["content_why"] == WIPED


def test_an_id_that_no_message_has_raises(desk: Desk) -> None:
    for id in ("nonsense", "01890000-0000-7000-8000-000000000000"):
        with pytest.raises(MessageNotFound):
            desk.read(show, id, desk.cipher)


def test_an_id_in_capitals_is_that_message_and_that_campaign(desk: Desk) -> None:
    (id,) = desk.queued(name="spring")
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, NotSent("no connection"))
    shown = desk.read(show, id.upper(), desk.cipher)
    assert shown == desk.read(show, id, desk.cipher)
    assert len(shown["attempts"]) == 1
    assert ids(found(desk, campaign=shown["campaign_id"].upper())) == [id]


def test_times_are_shown_in_the_zone_of_the_campaign(desk: Desk) -> None:
    (id,), (other,) = desk.queued(timezone="Asia/Shanghai"), desk.queued()
    assert desk.read(zone_of, id, "Europe/Berlin") == "Asia/Shanghai"
    assert desk.read(zone_of, other, "Europe/Berlin") == "Europe/Berlin"
    assert desk.read(zone_of, other, None) == "UTC"
    assert desk.read(campaigns.get, str(desk.row(other)["campaign_id"])).timezone is None
