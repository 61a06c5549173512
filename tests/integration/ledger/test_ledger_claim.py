"""Claims: a message is in one worker's hands at a time, and only when it may go out."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from bulksend.ledger import pauses, senders
from bulksend.ledger.claim import claim
from bulksend.ledger.ids import new_id
from bulksend.ledger.release import Release, release
from bulksend.messaging.states import Kind
from tests.integration.ledger.conftest import ACCOUNT


def test_a_claimed_message_comes_with_all_that_its_sending_needs(desk: Any) -> None:
    (id,) = desk.queued(Kind.OTP, life_ms=60_000)
    (claimed,) = desk.claim(desk.lease(), [id])
    assert (claimed.id, claimed.kind, claimed.sender) == (id, Kind.OTP, "15550100100")
    assert claimed.recipient == "447700900001"
    assert desk.cipher.decrypt(claimed.payload, id) == {"v": {"name": "Ada"}}
    assert (claimed.attempts, claimed.tries, claimed.waits) == (0, 0, 0)
    assert claimed.left_ms is not None
    assert 0 < claimed.left_ms <= 60_000


def test_of_two_workers_only_the_first_gets_a_message(desk: Any) -> None:
    ids = desk.queued(n=3)
    assert {m.id for m in desk.claim(desk.lease("host:1"), ids)} == set(ids)
    assert desk.claim(desk.lease("host:2"), ids) == []


def test_workers_that_claim_the_same_job_at_once_share_it_without_overlap(desk: Any) -> None:
    ids = desk.queued(n=60)
    found: list[list[str]] = [[] for _ in range(4)]
    start = threading.Barrier(4)

    def work(n: int) -> None:
        lease = desk.lease(f"host:{n}")
        start.wait(timeout=60)
        found[n] = [m.id for m in desk.claim(lease, ids)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    every = [id for each in found for id in each]
    assert len(every) == len(set(every))
    # On PostgreSQL a row that another was claiming is skipped; whoever asks next may have it, nobody lost it.
    assert set(every) | {m.id for m in desk.claim(desk.lease("host:9"), ids)} == set(ids)


@pytest.mark.parametrize("join", ["nestloop", "hashjoin", "mergejoin"])
def test_a_claim_takes_in_the_order_of_ids_by_any_plan_so_that_none_deadlocks(server: Any, join: str) -> None:
    """Few messages beside many campaigns: a plan may read the campaigns first, or put the messages into a table."""
    ids = random.sample([id for _ in range(60) for id in server.queued()], k=10)
    lease = server.lease()
    server.sql("ANALYZE")
    with server.database.write() as tx:
        for other in {"nestloop", "hashjoin", "mergejoin"} - {join}:
            tx.exec_driver_sql(f"SET LOCAL enable_{other} = off")
        claim(tx, ids, lease=lease, account=ACCOUNT)
        taken = (
            tx.exec_driver_sql("SELECT CAST(message_pk AS text) FROM in_flight ORDER BY ctid").scalars().all()
        )
    assert taken == sorted(ids)


def test_a_claim_repeated_after_a_lost_commit_gives_the_same_again(desk: Any) -> None:
    ids = desk.queued(n=2)
    lease = desk.lease()
    assert desk.claim(lease, ids) == desk.claim(lease, ids)


def test_the_longest_due_comes_first(desk: Any) -> None:
    campaign = desk.campaign()
    late, early = desk.take(campaign, desk.new_message(1, due_at=20), desk.new_message(2, due_at=10)).ready
    assert [m.id for m in desk.claim(desk.lease(), [late, early])] == [early, late]


def test_unknown_ids_are_no_error(desk: Any) -> None:
    assert desk.claim(desk.lease(), [new_id()]) == []
    assert desk.claim(desk.lease(), []) == []


def test_what_is_not_due_yet_is_not_claimed(desk: Any) -> None:
    campaign = desk.campaign()
    desk.take(campaign, desk.new_message(1, due_at=desk.now() + 60_000))
    id = str(desk.scalar("SELECT CAST(id AS text) FROM messages"))
    assert desk.claim(desk.lease(), [id]) == []


@pytest.mark.parametrize(
    "status", ["accepted", "failed", "expired", "cancelled", "suppressed", "unknown", "sending"]
)
def test_what_is_past_waiting_is_not_claimed(desk: Any, status: str) -> None:
    (id,) = desk.queued()
    desk.sql("UPDATE messages SET status = :status", status=status)
    assert desk.claim(desk.lease(), [id]) == []


def test_nothing_of_a_paused_campaign_is_claimed_until_it_is_resumed(desk: Any) -> None:
    (id,) = desk.queued()
    campaign = desk.row(id)["campaign_id"]
    desk.write(pauses.pause_campaign, campaign, actor="ada", why="typo")
    assert desk.claim(desk.lease(), [id]) == []
    desk.write(pauses.resume_campaign, campaign, actor="ada", why="mended")
    assert len(desk.claim(desk.lease(), [id])) == 1


def test_messages_go_out_while_rows_are_still_being_read(desk: Any) -> None:
    (id,) = desk.take(desk.campaign(), desk.new_message(1)).ready
    assert len(desk.claim(desk.lease(), [id])) == 1


def test_nothing_of_a_paused_sender_is_claimed(desk: Any) -> None:
    (id,) = desk.queued()
    desk.write(senders.register, "15550100100")
    desk.write(pauses.pause_sender, "15550100100", actor="ada", why="quality is red")
    assert desk.claim(desk.lease(), [id]) == []
    desk.write(pauses.resume_sender, "15550100100", actor="ada", why="green again")
    assert len(desk.claim(desk.lease(), [id])) == 1


def test_nothing_is_claimed_for_a_paused_account_and_other_accounts_go_on(desk: Any) -> None:
    ids = desk.queued(n=2)
    desk.write(pauses.pause_account, "default", actor="host:1", why="no money")
    assert desk.claim(desk.lease(), ids) == []
    assert len(desk.claim(desk.lease(), ids, account="other")) == 2


def test_nothing_is_claimed_under_a_lease_that_has_lapsed_or_ended_or_never_was(desk: Any) -> None:
    (id,) = desk.queued()
    lapsed, ended = desk.lease("host:1"), desk.lease("host:2")
    desk.lapse(lapsed)
    desk.end(ended)
    for lease in (lapsed, ended, new_id()):
        assert desk.claim(lease, [id]) == []
    assert desk.status(id) == "queued"


def test_what_was_given_back_can_be_claimed_by_another(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    desk.claim(lease, [id])
    desk.write(release, [Release(id, 0, None, None)], lease=lease)
    assert desk.status(id) == "queued"
    assert len(desk.claim(desk.lease("host:2"), [id])) == 1


def test_a_claim_takes_down_the_gate_that_held_it(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    desk.claim(lease, [id])
    until = desk.now() - 1
    desk.write(release, [Release(id, until, "sender_rate", until)], lease=lease)
    assert (desk.row(id)["gate"], desk.row(id)["gate_until"]) == ("sender_rate", until)
    desk.claim(lease, [id])
    assert desk.row(id)["gate"] is None


def test_a_message_given_back_until_later_waits_until_then(desk: Any) -> None:
    (id,) = desk.queued()
    lease, until = desk.lease(), desk.now() + 60_000
    desk.claim(lease, [id])
    desk.write(release, [Release(id, until, "quota", until)], lease=lease)
    assert desk.row(id)["due_at"] == until
    assert desk.claim(lease, [id]) == []


def test_giving_back_never_makes_a_message_due_sooner(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    due_at = desk.row(id)["due_at"]
    desk.claim(lease, [id])
    desk.write(release, [Release(id, due_at - 5, None, None)], lease=lease)
    assert desk.row(id)["due_at"] == due_at + 1  # a job for the relay again


def test_what_another_holds_or_what_is_being_sent_is_not_given_back(desk: Any) -> None:
    held, going = desk.queued(n=2)
    lease = desk.lease()
    desk.claim(lease, [held])
    desk.sent(lease, [going])
    desk.write(release, [Release(held, 0, None, None)], lease=desk.lease("host:2"))
    desk.write(release, [Release(going, 0, None, None)], lease=lease)
    assert (desk.status(held), desk.status(going)) == ("claimed", "sending")


def test_after_an_attempt_it_goes_back_as_a_retry(desk: Any) -> None:
    from bulksend.messaging.outcome import Scope, Throttled

    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.settle(opening, Throttled("429", "too fast", Scope.SENDER))
    desk.claim(lease, [id])
    desk.write(release, [Release(id, 0, None, None)], lease=lease)
    assert desk.status(id) == "retry"
