"""On PostgreSQL one statement does the work of a transaction, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bulksend.ledger import campaign_control, pauses, senders, suppressions
from bulksend.ledger.database import Database
from bulksend.ledger.settle import settle, settle_in_one_statement
from bulksend.ledger.write_ahead import Opening, open_in_one_statement
from bulksend.messaging.outcome import Accepted, Refused
from tests.integration.ledger.conftest import ACCOUNT, ACTOR, SENDER, Desk


@pytest.fixture
def desk(postgres_ledger_url: str) -> Iterator[Desk]:
    database = Database(postgres_ledger_url, by_key=True)
    yield Desk(database)
    database.close()


def opened_at_once(desk: Desk, lease: str, openings: list[Opening]) -> frozenset[str] | None:
    return desk.autocommit(open_in_one_statement, openings, lease=lease, account=ACCOUNT)


def test_what_nothing_stands_in_the_way_of_is_opened_and_written_ahead(desk: Desk) -> None:
    ids, lease = desk.queued(n=3), desk.lease()
    openings = desk.openings(desk.claim(lease, ids))
    assert opened_at_once(desk, lease, openings) == {o.attempt_id for o in openings}
    assert [desk.status(id) for id in ids] == ["sending"] * 3
    assert [[a["owner"] for a in desk.attempts(id)] for id in ids] == [[lease]] * 3
    assert desk.broken() == {}


def test_asked_again_after_a_lost_answer_it_opens_nothing_new(desk: Desk) -> None:
    (id,), lease = desk.queued(), desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    assert opened_at_once(desk, lease, openings) == opened_at_once(desk, lease, openings)
    assert len(desk.attempts(id)) == 1


OBSTACLES: dict[str, Callable[[Desk, str], object]] = {
    "a paused campaign": lambda desk, of: desk.write(
        pauses.pause_campaign, of, actor=ACTOR, why="wrong picture"
    ),
    "a cancelled campaign": lambda desk, of: campaign_control.cancel(
        desk.database, of, actor=ACTOR, why="wrong picture"
    ),
    "a paused sender": lambda desk, of: desk.write(
        pauses.pause_sender, SENDER, actor=ACTOR, why="complaints"
    ),
    "a paused account": lambda desk, of: desk.write(pauses.pause_account, ACCOUNT, actor=ACTOR, why="money"),
    "a suppressed recipient": lambda desk, of: desk.write(
        suppressions.add, {"447700900002": None}, scope="all", reason="asked", source="test", actor=ACTOR
    ),
    "a suppressed country": lambda desk, of: desk.write(
        suppressions.add, {"country:GB": None}, scope="all", reason="law", source="test", actor=ACTOR
    ),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_where_something_may_stand_in_the_way_of_one_none_is_opened(desk: Desk, obstacle: str) -> None:
    desk.write(senders.register, SENDER, rate=80.0)
    ids, lease = desk.queued(n=3), desk.lease()
    claimed = desk.claim(lease, ids)
    OBSTACLES[obstacle](desk, claimed[0].campaign_id)
    assert opened_at_once(desk, lease, desk.openings(claimed)) is None
    assert [desk.attempts(id) for id in ids] == [[], [], []]


def test_another_senders_pause_stands_in_no_messages_way(desk: Desk) -> None:
    for phone in (SENDER, "15550100199"):
        desk.write(senders.register, phone, rate=80.0)
    desk.write(pauses.pause_sender, "15550100199", actor=ACTOR, why="complaints")
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, desk.queued()))
    assert opened_at_once(desk, lease, openings) == {openings[0].attempt_id}


def test_results_of_all_that_were_accepted_are_stored_with_their_message_ids(desk: Desk) -> None:
    ids, lease = desk.queued(n=3), desk.lease()
    sent = desk.sent(lease, ids)
    results = [desk.settlement(o, Accepted(f"mid-{o.message.id}", "rid")) for o in sent]
    assert desk.autocommit(settle_in_one_statement, results) == {o.attempt_id for o in sent}
    assert [desk.row(id)["message_id"] for id in ids] == [f"mid-{id}" for id in ids]
    assert [[a["outcome"] for a in desk.attempts(id)] for id in ids] == [["accepted"]] * 3
    assert desk.broken() == {}


def test_a_result_that_is_no_acceptance_takes_the_long_way_and_so_do_those_beside_it(desk: Desk) -> None:
    first, second = desk.sent(desk.lease(), desk.queued(n=2))
    results = [desk.settlement(first, Accepted("mid-1", "rid")), desk.settlement(second, Refused("1", "no"))]
    assert not desk.autocommit(settle_in_one_statement, results)
    assert [desk.status(o.message.id) for o in (first, second)] == ["sending"] * 2


def test_a_message_that_was_moved_meanwhile_is_left_with_its_attempt_for_the_transaction(desk: Desk) -> None:
    first, second = desk.sent(desk.lease(), desk.queued(n=2))
    results = [desk.settlement(o, Accepted(f"mid-{o.message.id}", "rid")) for o in (first, second)]
    desk.sql("UPDATE messages SET status = 'cancelled' WHERE CAST(id AS text) = :id", id=second.message.id)
    assert desk.autocommit(settle_in_one_statement, results) == {first.attempt_id}
    assert [desk.status(o.message.id) for o in (first, second)] == ["accepted", "cancelled"]
    assert [a["outcome"] for o in (first, second) for a in desk.attempts(o.message.id)] == ["accepted", None]
    desk.write(settle, results[1:])
    assert [desk.status(o.message.id) for o in (first, second)] == ["accepted", "accepted"]
