"""From a change in the ledger to the bodies that programs get."""

from __future__ import annotations

import json
from typing import Any

from bulksend.ledger import event_numbers, events, webhook_deliveries
from bulksend.ledger.database import Database
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.outcome import Accepted
from bulksend.messaging.states import Kind
from bulksend.operations.health import notifier_is_running
from notifier.fan_out import FanOut, Round
from tests.integration.ledger.conftest import Desk, plans_in
from tests.integration.notifier.conftest import PostOffice
from tests.receiver import receiving

CANARY = "817263"


def _bodies(database: Database, endpoint_id: str) -> list[dict[str, Any]]:
    with database.write() as tx:
        tx.exec_driver_sql("UPDATE webhook_deliveries SET next_at = 0")
        claimed = webhook_deliveries.claim(tx, endpoint_id, limit=1000, lease_ms=1)
    return [json.loads(each.body) for each in claimed]


def _is_at_end(database: Database) -> bool:
    with database.read() as tx:
        newest = event_numbers.newest(tx)
        cursors = tx.exec_driver_sql("SELECT cursor FROM webhook_endpoints").scalars().all()
    return all(cursor == newest for cursor in cursors)


def test_messages_of_a_file_go_together_and_a_single_one_alone(ledger: Database) -> None:
    desk, office = Desk(ledger), PostOffice(ledger)
    made = office.add("http://127.0.0.1:9/", "message.*")
    full = office.add("http://127.0.0.1:9/", "message.delivered", numbers=True)
    ids = desk.queued(n=3)
    mids = desk.accepted(ids)
    (sent,) = desk.send(desk.new_send(content=f'{{"body":"Your code is {CANARY}"}}'))
    (opening,) = desk.sent(desk.lease(), [sent.id])
    desk.settle(opening, Accepted("mid-code", "rid"))
    desk.receive(*(Receipt(mid, "delivered", 5) for mid in mids))
    fan_out = FanOut(ledger)
    fan_out.round()
    while not _is_at_end(ledger):
        fan_out.round()
    bodies = _bodies(ledger, made["id"])
    alone = [body for body in bodies if body["type"] == "message.accepted"]
    together = [item for body in bodies if body["type"] == "messages.batch" for item in body["data"]["items"]]
    assert [body["data"]["id"] for body in alone] == [sent.id]
    assert sorted((item["type"], item["data"]["id"]) for item in together) == sorted(
        (f"message.{status}", id) for status in ("accepted", "delivered") for id in ids
    )
    assert {item["data"]["to"] for item in together} <= {"4477*****001", "4477*****002", "4477*****003"}
    (batch,) = _bodies(ledger, full["id"])
    assert [item["data"]["to"] for item in batch["data"]["items"]] == [
        *("447700900001", "447700900002", "447700900003")
    ]
    for body in (*bodies, batch):
        assert CANARY not in json.dumps(body)
        assert "payload" not in json.dumps(body)


def test_each_event_is_in_one_delivery_when_two_notifiers_fan_out_at_once(ledger: Database) -> None:
    office = PostOffice(ledger)
    made = office.add("http://127.0.0.1:9/")
    office.happen(50)
    first, second = FanOut(ledger, page=7), FanOut(ledger, page=11)
    first.round()
    while not _is_at_end(ledger):
        second.round()
        first.round()
    seqs = sorted(body["data"]["seq"] for body in _bodies(ledger, made["id"]))
    assert len(seqs) == 50
    assert seqs == list(range(seqs[0], seqs[0] + 50))


def test_a_cursor_that_has_moved_meanwhile_leaves_the_events_to_the_next_round(ledger: Database) -> None:
    """Another notifier has fanned the page out between our reading and our writing."""
    office = PostOffice(ledger)
    made = office.add("http://127.0.0.1:9/")
    office.happen(5)

    def overtaken(tx: Any, seq: int, limit: int, *, numbers: bool) -> Any:
        page = events.after(tx, seq, limit, numbers=numbers)
        assert FanOut(ledger).round().made == 5
        return page

    assert FanOut(ledger, read=overtaken).round() == Round()
    assert len(_bodies(ledger, made["id"])) == 5


def test_an_endpoint_that_stays_dead_gets_a_bounded_number_of_deliveries_and_goes_on_later(
    ledger: Database,
) -> None:
    office = PostOffice(ledger)
    made = office.add("http://127.0.0.1:9/")
    office.happen(50)
    fan_out = FanOut(ledger, page=10, most_waiting=20, count_s=0)
    while fan_out.round().more:
        pass
    with ledger.read() as tx:
        assert webhook_deliveries.waiting(tx, made["id"], 1000) == 20
        assert webhook_deliveries.waiting(tx, made["id"], 5) == 5
    assert office.show(made["id"])["behind"] == 30
    with ledger.write() as tx:
        tx.exec_driver_sql("UPDATE webhook_deliveries SET status = 'dead'")
    fan_out.round()
    assert office.show(made["id"])["behind"] == 20
    assert len(_bodies(ledger, made["id"])) == 10


def test_what_was_delivered_long_ago_is_dropped_and_what_is_dead_is_kept(ledger: Database) -> None:
    office = PostOffice(ledger)
    made = office.add("http://127.0.0.1:9/")
    office.happen(4)
    FanOut(ledger).round()
    ids = [each["id"] for each in office.deliveries(made["id"])]
    days = 86_400_000
    with ledger.write() as tx:
        now = tx.exec_driver_sql("SELECT max(created_at) FROM webhook_deliveries").scalar_one()
        for id, status, age in zip(
            ids, ("delivered", "delivered", "delivered", "dead"), (31, 4, 1, 99), strict=True
        ):
            tx.exec_driver_sql(
                f"UPDATE webhook_deliveries SET status = '{status}', ended_at = {now - age * days} "  # noqa: S608
                f"WHERE CAST(id AS text) = '{id}'"
            )
    with ledger.write() as tx:
        assert webhook_deliveries.delete_old(tx) == {"bodies": 1, "rows": 1}
        assert webhook_deliveries.delete_old(tx) == {"bodies": 0, "rows": 0}
        assert webhook_deliveries.replay(tx, made["id"], ids) == 2
    assert [each["id"] for each in office.deliveries(made["id"])] == ids[1:]


def test_a_removed_endpoint_leaves_nothing_behind(ledger: Database) -> None:
    from bulksend.operations import webhooks

    office = PostOffice(ledger)
    made = office.add("http://127.0.0.1:9/")
    kept = office.add("http://127.0.0.1:9/")
    office.happen(3)
    FanOut(ledger).round()
    webhooks.remove(ledger, made["id"], actor="ada", why="moved")
    with ledger.write() as tx:
        assert webhook_deliveries.delete_old(tx)["rows"] == 3
        left = tx.exec_driver_sql("SELECT CAST(id AS text) FROM webhook_endpoints").scalars().all()
    assert left == [kept["id"]]
    assert len(office.deliveries(kept["id"])) == 3


def test_due_deliveries_are_found_by_an_index(ledger: Database) -> None:
    made = PostOffice(ledger).add("http://127.0.0.1:9/")
    plans = plans_in(ledger)
    for plan in (
        plans(webhook_deliveries.claim, made["id"], limit=10, lease_ms=1000),
        plans(webhook_deliveries.next_due_in_ms, [made["id"]]),
    ):
        assert "ix_webhook_deliveries_due" in plan, plan


def test_kinds_without_a_file_are_the_standing_campaigns(ledger: Database) -> None:
    """A campaign of one message is a file's too: it waits its second, and its code would not."""
    desk, office = Desk(ledger), PostOffice(ledger)
    with receiving() as receiver:
        office.add(receiver.url, "message.accepted")
        with office.notifying():
            desk.accepted(desk.queued(Kind.OTP))
            (request,) = receiver.wait_for(1)
    assert request.content["type"] == "messages.batch"


def test_a_notifier_that_works_leaves_a_sign_of_life(post_office: PostOffice) -> None:
    assert not notifier_is_running(post_office.database)
    endpoint = post_office.add("http://127.0.0.1:1/hook")["id"]
    with post_office.notifying():
        post_office.happen()
        post_office.until(endpoint, "pending", 1)
    assert notifier_is_running(post_office.database)
