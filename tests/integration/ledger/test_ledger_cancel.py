"""A cancel while workers send the same messages: a sent message never becomes cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from bulksend.ledger import campaign_control, campaigns, due, in_flight
from bulksend.ledger.campaign_control import Cancelled
from bulksend.ledger.claim import claim
from bulksend.ledger.idempotency import OneTransaction
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.release import Release, release
from bulksend.ledger.settle import settle
from bulksend.ledger.write_ahead import Opening, open_attempts
from bulksend.messaging.outcome import Accepted, Evidence, NotSent, Unknown
from bulksend.messaging.states import Status
from tests.integration.ledger.conftest import ACCOUNT, ACTOR, PATIENCE_S, Desk, in_between

BY = {"actor": ACTOR, "why": "wrong list"}


def campaign_of(desk: Desk, id: str) -> str:
    return str(desk.row(id)["campaign_id"])


# -- changes of a waiting message by another transaction ---------------------------


def _begin(tx: Connection, opening: Opening, lease: str) -> None:
    opened = open_attempts(tx, [opening], lease=lease, account=ACCOUNT)
    assert opened.attempts == {opening.attempt_id}


ON_ITS_WAY: dict[str, tuple[Status, Callable[[Desk, Opening, Connection], object]]] = {
    "sending": (Status.SENDING, lambda desk, opening, tx: None),
    "accepted": (
        Status.ACCEPTED,
        lambda desk, opening, tx: settle(tx, [desk.settlement(opening, Accepted("mid-1", "rid"))]),
    ),
    "unknown": (
        Status.UNKNOWN,
        lambda desk, opening, tx: settle(tx, [desk.settlement(opening, Unknown("ReadTimeout"))]),
    ),
}


@pytest.mark.parametrize("state", ON_ITS_WAY)
@pytest.mark.parametrize("ender", ["cancel", "the relay's stragglers", "expire"])
def test_a_message_that_began_to_be_sent_while_locked_is_neither_cancelled_nor_expired(
    server: Desk, state: str, ender: str
) -> None:
    """The cancel reads the rows as waiting, while a transaction that sends them is about to commit."""
    going, waiting = server.queued(n=2, life_ms=700 if ender == "expire" else None)
    campaign, lease = campaign_of(server, going), server.lease()
    (opening,) = server.openings(server.claim(lease, [going]))
    expected, then = ON_ITS_WAY[state]

    def theirs(tx: Connection) -> None:
        _begin(tx, opening, lease)
        then(server, opening, tx)
        if ender == "expire":
            while server.scalar("SELECT max(expires_at) FROM messages") > server.now():
                time.sleep(0.02)
        elif ender != "cancel":
            server.sql(f"UPDATE campaigns SET status = 'cancelled', ended_at = {server.now()}")  # noqa: S608

    ours: dict[str, Callable[[], object]] = {
        "cancel": lambda: campaign_control.cancel(server.database, campaign, **BY),
        "the relay's stragglers": lambda: server.write(campaign_control.end_cancelled),
        "expire": lambda: server.write(due.expire),
    }
    told = in_between(server, theirs, ours[ender])
    if (state, ender) == ("sending", "cancel"):
        assert told == Cancelled(waiting=1, held=0, sending=1)
    assert server.status(going) == expected
    assert server.status(waiting) == ("expired" if ender == "expire" else "cancelled")
    if expected is Status.SENDING:
        server.settle(opening, Accepted("mid-1", "rid"))
        assert server.status(going) == "accepted"
    assert server.broken() == {}


def test_a_cancel_does_not_wait_for_a_claim_under_way_and_what_that_claimed_is_not_opened(
    server: Desk,
) -> None:
    ids = server.queued(n=6)
    campaign, lease = campaign_of(server, ids[0]), server.lease()
    held, done = threading.Event(), threading.Event()
    told: list[Cancelled | None] = []

    def cancel() -> None:
        held.wait(PATIENCE_S)
        told.append(campaign_control.cancel(server.database, campaign, **BY))
        done.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with server.database.write() as tx:
        claimed = claim(tx, [ids[-1]], lease=lease, account=ACCOUNT)
        assert len(claimed) == 1
        held.set()
        assert done.wait(PATIENCE_S), "the cancel waits for a worker"
        assert claim(tx, [ids[0]], lease=lease, account=ACCOUNT) == []
    thread.join(PATIENCE_S)
    assert told == [Cancelled(waiting=6, held=0, sending=0)]
    assert server.open(lease, server.openings(claimed)).attempts == frozenset()
    assert server.read(campaigns.status_counts, campaign) == {"cancelled": 6}
    assert server.read(in_flight.claimed_under, lease) == []


# -- on both databases ------------------------------------------------------------------------------------------


def test_a_cancel_counts_waiting_claimed_and_sending_messages(desk: Any) -> None:
    ids = desk.queued(n=7)
    lease = desk.lease()
    (opening,) = desk.sent(lease, ids[:1])
    held = desk.openings(desk.claim(lease, ids[1:4]))
    campaign = campaign_of(desk, ids[0])
    assert campaign_control.cancel(desk.database, campaign, **BY) == Cancelled(waiting=3, held=3, sending=1)
    assert desk.read(campaigns.status_counts, campaign) == {"cancelled": 6, "sending": 1}
    assert desk.open(lease, held).attempts == frozenset()
    desk.write(release, [Release(o.message.id, 0, None, None) for o in held], lease=lease)
    desk.settle(opening, NotSent("ConnectError"))
    assert desk.write(campaign_control.end_cancelled) == 1
    assert desk.read(campaigns.status_counts, campaign) == {"cancelled": 7}
    assert campaign_control.cancel(desk.database, campaign, **BY) is None
    assert desk.broken() == {}


def test_the_relay_finishes_a_cancel_that_was_killed_after_its_first_commit(desk: Any) -> None:
    ids = desk.queued(n=5)
    campaign = campaign_of(desk, ids[0])
    assert desk.write(campaign_control.mark_cancelled, campaign, **BY)
    assert desk.claim(desk.lease(), ids) == []
    assert [desk.write(campaign_control.end_cancelled, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert desk.read(campaigns.status_counts, campaign) == {"cancelled": 5}
    assert desk.broken() == {}


def test_a_cancel_counts_also_the_messages_that_it_leaves_to_the_relay(desk: Any) -> None:
    ids = desk.queued(n=9)
    done = campaign_control.cancel(desk.database, campaign_of(desk, ids[0]), **BY, at_once=4)
    assert done == Cancelled(waiting=9, held=0, sending=0)
    assert desk.write(campaign_control.end_cancelled) == 5


# -- evidence ---------------------------------------------------------------------------------------------------

ROUNDED = ("cancelled", "expired", "suppressed", "failed")


def rounded(desk: Any, status: str, message_id: str | None) -> Opening:
    """It ended in the moment in which its attempt was opened."""
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.sql(
        "UPDATE messages SET status = :status, ended_at = 5, error = 'campaign cancelled', "
        "message_id = :of WHERE CAST(id AS text) = :id",
        status=status,
        of=message_id,
        id=id,
    )
    assert isinstance(opening, Opening)
    return opening


@pytest.mark.parametrize("status", ROUNDED)
@pytest.mark.parametrize(
    ("outcome", "expected"), [(Accepted("mid-1", "rid"), "accepted"), (Unknown("ReadTimeout"), "unknown")]
)
def test_a_late_answer_decides_over_any_ending(desk: Any, status: str, outcome: Any, expected: str) -> None:
    opening = rounded(desk, status, None)
    seen = Evidence(200, 0, message_id="mid-1" if expected == "accepted" else "")
    desk.settle(opening, outcome, evidence=seen)
    row = desk.row(opening.message.id)
    assert row["status"] == expected
    assert row["message_id"] == ("mid-1" if expected == "accepted" else None)
    assert desk.broken() == {}


@pytest.mark.parametrize("status", ROUNDED)
@pytest.mark.parametrize(
    ("word", "expected"),
    [("sent", "accepted"), ("delivered", "delivered"), ("read", "read"), ("failed", "failed")],
)
def test_a_receipt_decides_over_any_ending(desk: Any, status: str, word: str, expected: str) -> None:
    opening = rounded(desk, status, None)
    desk.settle(opening, Unknown("HTTP 500"), evidence=Evidence(500, 0, message_id="mid-1"))
    desk.receive(Receipt("mid-1", word, 7))
    assert desk.status(opening.message.id) == expected
    assert desk.broken() == {}


def test_a_cancel_that_is_part_of_another_transaction_leaves_most_endings_to_the_relay(desk: Desk) -> None:
    """Its locks are held until that transaction is committed."""
    desk.queued(n=campaign_control.CANCEL_CHUNK + 5)
    campaign = desk.scalar("SELECT CAST(id AS text) FROM campaigns")

    def cancel(tx: Connection) -> Cancelled | None:
        return campaign_control.cancel(OneTransaction(desk.database, tx), campaign, actor=ACTOR, why="w")

    done = desk.write(cancel)
    assert done is not None
    assert done.waiting == campaign_control.CANCEL_CHUNK + 5
    assert desk.scalar("SELECT count(*) FROM messages WHERE status = 'queued'") == 5
    assert desk.write(campaign_control.end_cancelled) == 5
