"""Write-ahead: the last look at the ledger, and the attempt committed before its POST."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import campaign_control, in_flight, pauses, senders, suppressions
from bulksend.ledger.release import end_claimed
from bulksend.ledger.write_ahead import Opened, Opening
from bulksend.messaging.outcome import Accepted, Unknown
from bulksend.messaging.states import Kind, OnUnknown, Status


def test_an_open_attempt_is_on_record_before_its_post(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    (attempt,) = desk.attempts(id)
    row = desk.row(id)
    assert (row["status"], row["attempts"]) == ("sending", 1)
    assert (attempt["id"], attempt["n"], attempt["owner"]) == (opening.attempt_id, 1, lease)
    assert (attempt["worker"], attempt["sender"], attempt["outcome"]) == ("host:1", "15550100100", None)
    assert attempt["started_at"] == row["sent_at"]
    assert desk.broken() == {}


def test_opening_again_after_a_lost_commit_opens_nothing_new(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    first = desk.open(lease, openings)
    again = desk.open(lease, openings)
    assert first == again
    assert len(desk.attempts(id)) == 1


def test_another_attempt_of_a_message_being_sent_is_not_opened(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (message,) = desk.claim(lease, [id])
    desk.open(lease, desk.openings([message]))
    assert desk.open(lease, desk.openings([message])).attempts == frozenset()
    assert len(desk.attempts(id)) == 1


def test_nothing_is_opened_under_a_lease_that_has_lapsed(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    desk.lapse(lease)
    opened = desk.open(lease, openings)
    assert opened == Opened(frozenset(), [], [], [], [])
    assert desk.attempts(id) == []
    assert desk.status(id) == "claimed"


def test_a_zombie_opens_nothing_of_what_was_rescued_from_it(desk: Any) -> None:
    (id,) = desk.queued()
    zombie, other = desk.lease("host:1"), desk.lease("host:2")
    openings = desk.openings(desk.claim(zombie, [id]))
    desk.lapse(zombie)
    desk.rescue()
    desk.claim(other, [id])
    desk.sql("UPDATE workers SET lease_until = lease_until + 900000")
    assert desk.open(zombie, openings).attempts == frozenset()
    assert desk.read(in_flight.claimed_under, other) == [id]


def test_what_expired_by_the_ledgers_clock_is_ended_and_not_opened(desk: Any) -> None:
    (late,), (good,) = desk.queued(Kind.OTP, life_ms=60_000), desk.queued(Kind.OTP, life_ms=60_000)
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [late, good]))
    desk.sql("UPDATE messages SET expires_at = :now WHERE CAST(id AS text) = :id", now=desk.now(), id=late)
    opened = desk.open(lease, openings)
    assert opened.expired == [late]
    assert opened.attempts == {o.attempt_id for o in openings if o.message.id == good}
    assert desk.status(late) == "expired"
    assert desk.payload(late) is None
    assert desk.attempts(late) == []
    assert desk.broken() == {}


def test_a_number_suppressed_since_the_claim_is_ended_and_not_opened(desk: Any) -> None:
    (id,) = desk.queued(Kind.OTP)
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    desk.write(
        suppressions.add, {"447700900001": None}, scope="all", reason="wrong person", source="hand", actor="a"
    )
    assert desk.open(lease, openings).suppressed == [id]
    row = desk.row(id)
    assert (row["status"], row["error"]) == ("suppressed", "suppressed: wrong person")
    assert desk.payload(id) is None


def test_a_suppression_of_marketing_spares_a_code_at_the_last_look(desk: Any) -> None:
    codes, offers = desk.queued(Kind.OTP), desk.queued(Kind.MARKETING)
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, codes + offers))
    desk.write(
        suppressions.add, {"447700900001": None}, scope="marketing", reason="stop", source="hand", actor="a"
    )
    opened = desk.open(lease, openings)
    assert opened.suppressed == offers
    assert len(opened.attempts) == 1


def test_what_is_in_hand_when_its_campaign_is_cancelled_is_cancelled(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    desk.write(campaign_control.mark_cancelled, desk.row(id)["campaign_id"], actor="ada", why="wrong list")
    assert desk.status(id) == "claimed"
    assert desk.open(lease, openings).cancelled == [id]
    assert desk.status(id) == "cancelled"


def pause_campaign(desk: Any, id: str) -> None:
    desk.write(pauses.pause_campaign, desk.row(id)["campaign_id"], actor="ada", why="typo")


def pause_sender(desk: Any, id: str) -> None:
    desk.write(senders.register, "15550100100")
    desk.write(pauses.pause_sender, "15550100100", actor="ada", why="red")


def pause_account(desk: Any, id: str) -> None:
    desk.write(pauses.pause_account, "default", actor="ada", why="no money")


PAUSES = {"campaign_paused": pause_campaign, "sender_paused": pause_sender, "account_paused": pause_account}


@pytest.mark.parametrize("gate", PAUSES)
def test_a_pause_since_the_claim_gives_it_back_and_names_the_gate(desk: Any, gate: str) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    PAUSES[gate](desk, id)
    assert desk.open(lease, openings).held == [id]
    row = desk.row(id)
    assert (row["status"], row["gate"], row["tries"]) == ("queued", gate, 0)


@pytest.mark.parametrize("gate", PAUSES)
def test_an_attempt_whose_commit_was_lost_stays_open_whatever_is_paused_meanwhile(
    desk: Any, gate: str
) -> None:
    """Else it would be 'sending' for as long as its worker lives, and nobody would send or settle it."""
    (id,) = desk.queued()
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    first = desk.open(lease, openings)
    PAUSES[gate](desk, id)
    assert desk.open(lease, openings) == first
    desk.settle(openings[0], Accepted("mid-1", "rid-1"))
    assert desk.status(id) == "accepted"


def test_an_attempt_whose_commit_was_lost_for_longer_than_its_life_was_none(desk: Any) -> None:
    (id,) = desk.queued(Kind.OTP, life_ms=60_000)
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    desk.open(lease, openings)
    desk.sql("UPDATE messages SET expires_at = :now", now=desk.now())
    again = desk.open(lease, openings)
    assert (again.attempts, again.expired) == (frozenset(), [id])
    assert desk.status(id) == "expired"
    assert (desk.row(id)["attempts"], desk.outcomes(id)) == (0, [])
    assert desk.payload(id) is None
    assert desk.broken() == {}


def test_one_blocked_message_does_not_hold_up_its_batch(desk: Any) -> None:
    ids = desk.queued(n=5)
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, ids))
    blocked = openings[2].message
    desk.write(
        suppressions.add, {blocked.recipient: None}, scope="all", reason="stop", source="hand", actor="a"
    )
    opened = desk.open(lease, openings)
    assert opened.attempts == {o.attempt_id for o in openings if o.message.id != blocked.id}


def test_what_cannot_be_rendered_fails_without_an_attempt(desk: Any) -> None:
    (id,) = desk.queued(Kind.OTP)
    lease = desk.lease()
    desk.claim(lease, [id])
    desk.write(end_claimed, [(id, "cannot be rendered: no \x00 key")], Status.FAILED, lease)
    assert (desk.status(id), desk.row(id)["error"]) == ("failed", "cannot be rendered: no \ufffd key")
    assert desk.payload(id) is None
    assert desk.attempts(id) == []


# -- a second attempt that was asked for, because the first may have gone out -------------------------------


def unknown_and_claimed_again(desk: Any, lease: str) -> Opening:
    """Its first attempt may have gone out; its campaign asked for a second one, which a worker has in hand."""
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    (first,) = desk.sent(lease, [id])
    desk.settle(first, Unknown("ReadTimeout"), status=Status.RETRY, due_at=0)
    (message,) = desk.claim(lease, [id])
    return Opening(message, desk.openings([message])[0].attempt_id)


def test_the_second_attempt_is_opened_with_the_next_number(desk: Any) -> None:
    lease = desk.lease()
    second = unknown_and_claimed_again(desk, lease)
    assert desk.open(lease, [second]).attempts == {second.attempt_id}
    assert [a["n"] for a in desk.attempts(second.message.id)] == [1, 2]
    assert desk.broken() == {}


@pytest.mark.parametrize("end", ["expired", "suppressed", "cancelled", "failed"])
def test_what_may_have_gone_out_ends_as_unknown_and_not_as_unsent(desk: Any, end: str) -> None:
    lease = desk.lease()
    second = unknown_and_claimed_again(desk, lease)
    id = second.message.id
    if end == "failed":
        desk.write(end_claimed, [(id, "cannot be rendered")], Status.FAILED, lease)
    else:
        if end == "expired":
            desk.sql("UPDATE messages SET expires_at = :now", now=desk.now())
        elif end == "suppressed":
            desk.write(
                suppressions.add,
                {second.message.recipient: None},
                scope="all",
                reason="stop",
                source="hand",
                actor="a",
            )
        else:
            desk.write(
                campaign_control.mark_cancelled, second.message.campaign_id, actor="ada", why="wrong list"
            )
        opened = desk.open(lease, [second])
        assert getattr(opened, end) == [id]
    assert desk.status(id) == "unknown"
    assert desk.outcomes(id) == ["unknown"]
    assert set(desk.broken()) <= {"never late"}
