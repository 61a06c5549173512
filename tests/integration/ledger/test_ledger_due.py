"""The queries of the relay: due messages, the next due time, expiry."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import due
from bulksend.messaging.outcome import NotSent, Unknown
from bulksend.messaging.states import Kind, OnUnknown, Status


def test_due_messages_come_longest_due_first(desk: Any) -> None:
    campaign = desk.campaign()
    now = desk.now()
    rows = [
        desk.new_message(n, due_at=at)
        for n, at in enumerate([now - 5, now - 9, now + 60_000, now - 7], start=1)
    ]
    desk.take(campaign, *rows)
    found = desk.read(due.due_messages, campaign.id, 10)
    assert [item.due_at for item in found] == [now - 9, now - 7, now - 5]
    assert all(item.was_due_at_intake and item.age_ms >= 0 for item in found)
    assert [item.due_at for item in desk.read(due.due_messages, campaign.id, 1)] == [now - 9]


def test_claimed_and_ended_messages_are_not_due(desk: Any) -> None:
    ids = desk.queued(n=3)
    campaign = desk.row(ids[0])["campaign_id"]
    lease = desk.lease()
    desk.claim(lease, ids[:1])
    desk.accepted(ids[1:2], lease)
    assert [item.id for item in desk.read(due.due_messages, campaign, 10)] == ids[2:]


def test_what_is_claimed_is_found_where_it_is_asked_for_until_its_attempt_is_open(desk: Any) -> None:
    ids = desk.queued(n=3)
    campaign = desk.row(ids[0])["campaign_id"]
    lease = desk.lease()
    desk.claim(lease, ids[:1])
    desk.sent(lease, ids[1:2])
    found = desk.read(due.due_messages, campaign, 10, claimed=True)
    assert [(item.id, item.is_claimed) for item in found] == [(ids[0], True), (ids[2], False)]
    up_to = found[-1].due_at, found[-1].id
    assert desk.read(due.count_waiting_up_to, campaign, up_to, 10) == 1
    assert desk.read(due.count_waiting_up_to, campaign, up_to, 10, claimed=True) == 2


def test_a_retry_that_is_due_was_not_published_by_its_producer(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, NotSent("ConnectError"))
    (item,) = desk.read(due.due_messages, desk.row(id)["campaign_id"], 10)
    assert (item.id, item.was_due_at_intake) == (id, False)


def test_the_next_due_time_is_known_also_while_nothing_is_due(desk: Any) -> None:
    campaign = desk.campaign()
    assert desk.read(due.next_due_at, campaign.id) is None
    at = desk.now() + 60_000
    desk.take(campaign, desk.new_message(1, due_at=at), desk.new_message(2, due_at=at + 5))
    assert desk.read(due.next_due_at, campaign.id) == at


def test_a_waiting_code_past_its_time_to_live_expires_and_is_wiped(desk: Any) -> None:
    late, good = desk.queued(Kind.OTP, n=2, life_ms=60_000)
    desk.sql("UPDATE messages SET expires_at = :now WHERE CAST(id AS text) = :id", now=desk.now(), id=late)
    assert desk.write(due.expire) == 1
    assert (desk.status(late), desk.status(good)) == ("expired", "queued")
    assert desk.payload(late) is None
    assert desk.row(late)["error"] == "its time to live passed before it could be sent"
    assert desk.broken() == {}


def test_claimed_messages_and_those_without_a_time_to_live_do_not_expire(desk: Any) -> None:
    ids = desk.queued(n=2)
    desk.claim(desk.lease(), ids[:1])
    desk.sql("UPDATE messages SET expires_at = 1 WHERE status = 'claimed'")
    assert desk.write(due.expire) == 0


def test_messages_expire_in_chunks(desk: Any) -> None:
    desk.queued(n=5)
    desk.sql("UPDATE messages SET expires_at = 1")
    assert [desk.write(due.expire, limit=2) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("status", [Status.RETRY])
def test_a_message_that_may_have_been_sent_is_unknown_and_not_expired(desk: Any, status: Status) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND, life_ms=60_000)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Unknown("ReadTimeout"), status=status, due_at=0)
    desk.sql("UPDATE messages SET expires_at = :now", now=desk.now())
    desk.sql("UPDATE attempts SET started_at = 1")
    assert desk.write(due.expire) == 1
    assert desk.status(id) == "unknown"
    assert desk.broken() == {}
