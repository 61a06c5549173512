"""The maintenance of the relay: its tasks do not affect each other, nor the publishing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from sqlalchemy import event, insert, select, text
from structlog.testing import capture_logs

from bulksend.ledger import campaigns, event_numbers, events, receipts
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import messages
from bulksend.ledger.schema import receipts as receipts_table
from producer.maintenance import FAILED_S, Maintenance
from producer.receipt_effects import AT_ONCE
from tests.integration.test_relay import a_campaign, a_relay, ids_waiting


def breaking(ledger: Database, table: str) -> Callable[[], None]:
    """Make the ledger refuse every UPDATE of a table; returns the function that repairs it."""
    if ledger.is_sqlite:
        broken, mended = (
            f"CREATE TRIGGER broken BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END",
            "DROP TRIGGER broken",
        )
        with ledger.write() as tx:
            tx.execute(text(broken))
    else:
        with ledger.write() as tx:
            tx.execute(
                text(
                    "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE EXCEPTION 'disk full'; END $$"
                )
            )
            tx.execute(
                text(f"CREATE TRIGGER broken BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION broken()")
            )
        mended = f"DROP TRIGGER broken ON {table}"

    def mend() -> None:
        with ledger.write() as tx:
            tx.execute(text(mended))

    return mend


def test_a_task_that_fails_is_logged_and_stops_no_other_task(ledger: Database) -> None:
    expiring = a_campaign(ledger, 3, due_in_ms=-5000, key="expiring")
    done = a_campaign(ledger, 0, key="done")
    with ledger.write() as tx:
        tx.execute(text("UPDATE messages SET expires_at = 1"))
    mend = breaking(ledger, "messages")
    now = [0.0]
    maintenance = Maintenance(ledger, resend_wait_ms=1, clock=lambda: now[0])
    with capture_logs() as logs:
        maintenance.run_due()
    failed = [line for line in logs if line["event"] == "relay_maintenance_failed"]
    assert [line["task"] for line in failed] == ["expire"]
    assert "disk full" in failed[0]["error"]
    assert "4477" not in str(logs)
    with ledger.read() as tx:
        assert campaigns.get(tx, done.id).status.value == "finished"

    # The wait before the next try doubles up to FAILED_S.
    waits = []
    for _ in range(8):
        with capture_logs() as logs:
            now[0] += FAILED_S
            maintenance.run_due()
        waits += [line["again_in_s"] for line in logs if line["event"] == "relay_maintenance_failed"]
    assert waits == [4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]
    mend()
    now[0] += FAILED_S
    maintenance.run_due()
    with ledger.read() as tx:
        assert campaigns.status_counts(tx, expiring.id) == {"expired": 3}


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_the_relay_publishes_while_a_task_waits_for_a_lock(
    ledger: Database, valkey_url: str, valkey: redis.Redis
) -> None:
    campaign = a_campaign(ledger, 10, due_in_ms=-5000)
    ended = a_campaign(ledger, 0, key="ended")
    relay, stop, asked = a_relay(ledger, valkey_url), threading.Event(), threading.Event()

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE campaigns SET status"):
            asked.set()

    def wait_for_locks(connection: Any, _record: object) -> None:
        connection.execute("SET lock_timeout = 0")
        connection.commit()

    # The wait lasts as long as the test needs, and does not end by the ledger's limit.
    event.listen(ledger.engine, "connect", wait_for_locks)
    ledger.engine.dispose()
    event.listen(ledger.engine, "before_cursor_execute", note)
    thread = threading.Thread(target=relay.run, args=(stop,))
    try:
        with ledger.engine.connect() as other, other.begin():
            other.execute(
                text("SELECT 1 FROM campaigns WHERE id = CAST(:id AS uuid) FOR UPDATE"), {"id": ended.id}
            )
            thread.start()
            assert asked.wait(60)
            more = a_campaign(ledger, 5, due_in_ms=-5000, key="more")
            deadline = time.monotonic() + 60
            while len(ids_waiting(valkey)) < 15:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert more.id != campaign.id
    finally:
        stop.set()
        thread.join(60)
        event.remove(ledger.engine, "before_cursor_execute", note)
    assert not thread.is_alive()


def test_old_events_go_by_their_numbers_and_late_codes_are_said_once_by_any_relay(ledger: Database) -> None:
    a_campaign(ledger, 2)
    with ledger.write() as tx:
        tx.execute(text("UPDATE messages SET status = 'accepted', kind = 'otp', accepted_at = 1"))
        tx.execute(text("UPDATE events SET at = 1"))
        now = read_clock(tx)
        receipts.take(tx, [receipts.Receipt("mid-of-another", "sent", 1)])
        tx.execute(text("UPDATE messages SET accepted_at = :then"), {"then": now - 61_000})
    # The second relay took over from one that was killed.
    for _ in range(2):
        Maintenance(ledger, resend_wait_ms=1).run_due()
    with ledger.read() as tx:
        kept = events.after(tx, event_numbers.oldest(tx) - 1, 100)
    late = [event for event in kept if event.type == events.UNDELIVERED]
    assert len({event.data["id"] for event in late}) == len(late) == 2
    assert [event.type for event in kept if event.at == 1] == []
    assert kept[0].seq > 1


def test_a_task_with_much_to_do_runs_again_at_once_for_a_second_at_most(ledger: Database) -> None:
    a_campaign(ledger, 2 * AT_ONCE + 5)
    with ledger.write() as tx:
        tx.execute(
            insert(receipts_table),
            [
                {
                    "id": new_id(),
                    "message_id": f"mid{n}",
                    "message_pk": row.id,
                    "status": "failed",
                    "code": "#130472",
                    "why": "",
                    "at": 1,
                    "received_at": 1,
                }
                for n, row in enumerate(tx.execute(select(messages.c.id)))
            ],
        )
    now = [0.0]

    def done(parts_a_second: int) -> list[int]:
        def clock() -> float:
            now[0] += 1 / parts_a_second
            return now[0]

        with capture_logs() as logs:
            Maintenance(ledger, resend_wait_ms=1, clock=clock).run_due()
        return [line["failed_receipts"] for line in logs if line.get("task") == "act_on_receipts"]

    assert done(parts_a_second=1) == [AT_ONCE]
    assert done(parts_a_second=100) == [AT_ONCE, 5]
