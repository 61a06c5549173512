"""Each change updates the counts of a campaign, which always equal the number of its messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, text, update

from bulksend.ledger import campaigns, counters
from bulksend.ledger.counters import Counts
from bulksend.ledger.database import Database, insert_if_new
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import messages
from bulksend.messaging.outcome import Accepted, NotSent, Refused
from bulksend.messaging.states import Status
from tests.integration.ledger.conftest import Desk

REFUSED = Refused("17009", "no such template")


def campaign_of(desk: Any, id: str) -> str:
    return str(desk.row(id)["campaign_id"])


def counts(desk: Any, campaign: str) -> Counts:
    found: Counts = desk.read(counters.of, [campaign])[campaign]
    return found


def test_messages_are_counted_by_status_and_attempts_as_well(desk: Any) -> None:
    ids = desk.queued(n=4)
    campaign, lease = campaign_of(desk, ids[0]), desk.lease()
    assert counts(desk, campaign) == Counts({"queued": 4}, 0)
    first, second, third = desk.sent(lease, ids[:3])
    assert counts(desk, campaign) == Counts({"queued": 1, "sending": 3}, 3)
    desk.settle(first, Accepted("mid-1", "rid"))
    desk.settle(second, REFUSED)
    desk.settle(third, NotSent("ConnectError"))
    desk.sent(lease, [third.message.id])
    assert counts(desk, campaign) == Counts({"accepted": 1, "failed": 1, "queued": 1, "sending": 1}, 4)
    assert desk.read(campaigns.status_counts, campaign) == counts(desk, campaign).statuses


def test_each_campaign_has_its_own_counts(desk: Any) -> None:
    one, other = (campaign_of(desk, desk.queued(n=n)[0]) for n in (2, 3))
    assert desk.read(counters.of, [one, other]) == {one: Counts({"queued": 2}), other: Counts({"queued": 3})}


def test_a_campaign_without_messages_counts_none(desk: Any) -> None:
    campaign = desk.campaign().id
    assert counts(desk, campaign) == Counts()


def test_campaigns_are_found_by_the_status_of_their_messages(desk: Any) -> None:
    done, waiting = desk.queued(), desk.queued()
    desk.accepted(done)
    with desk.database.read() as tx:
        found = {
            status: list(tx.execute(counters.statuses_held(status)).scalars())
            for status in ("accepted", "queued")
        }
    assert found == {"accepted": [campaign_of(desk, done[0])], "queued": [campaign_of(desk, waiting[0])]}


def test_a_rollback_takes_its_counts_back(desk: Any) -> None:
    (id,) = desk.queued()
    with desk.database.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(text("UPDATE messages SET status = 'failed'"))
        transaction.rollback()
    assert counts(desk, campaign_of(desk, id)) == Counts({"queued": 1})


def test_a_change_by_plain_sql_is_counted(desk: Any) -> None:
    ids = desk.queued(n=3)
    campaign = campaign_of(desk, ids[0])
    desk.sql("UPDATE messages SET status = 'cancelled', attempts = 2 WHERE row = 1")
    desk.sql("DELETE FROM messages WHERE row = 2")
    assert counts(desk, campaign) == Counts({"cancelled": 1, "queued": 1}, 2)


def test_deleting_a_campaign_deletes_its_counts(desk: Any) -> None:
    desk.queued(n=3)
    desk.sql("DELETE FROM messages")
    desk.sql("DELETE FROM acts")
    desk.sql("DELETE FROM campaigns")
    assert desk.scalar("SELECT count(*) FROM campaign_counts") == 0


# -- concurrent connections, on PostgreSQL ----------------------------------------------------------------


#: Connections that wait for another's commit.
WAITING = """SELECT count(*) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND datname = current_database()"""


@contextmanager
def failing(database: Database, row: int) -> Iterator[Connection]:
    """An open transaction in which one message failed."""
    with database.write() as tx:
        tx.execute(text("SET LOCAL lock_timeout = '2s'"))
        tx.execute(text("UPDATE messages SET status = 'failed', ended_at = 1 WHERE row = :row"), {"row": row})
        yield tx


def test_two_transactions_of_one_campaign_count_without_waiting_for_each_other(server: Desk) -> None:
    (campaign,) = {campaign_of(server, id) for id in server.queued(n=4)}
    with ExitStack() as stack:
        for row in (1, 2, 3):
            stack.enter_context(failing(server.database, row))
        assert counts(server, campaign) == Counts({"queued": 4})
    assert counts(server, campaign) == Counts({"failed": 3, "queued": 1})


def test_merging_parts_keeps_the_counts_and_leaves_one_row_for_each_status(server: Desk) -> None:
    (campaign,) = {campaign_of(server, id) for id in server.queued(n=4)}
    with failing(server.database, 1), failing(server.database, 2):
        pass
    before = counts(server, campaign)
    for _ in range(2):
        server.write(counters.merge_parts)
        assert counts(server, campaign) == before
        assert server.scalar("SELECT count(*) FROM campaign_counts") == 2
    assert server.broken() == {}


def test_merging_parts_does_not_wait_for_an_open_transaction(server: Desk) -> None:
    (campaign,) = {campaign_of(server, id) for id in server.queued(n=4)}
    with failing(server.database, 1):
        with server.database.write() as tx:
            tx.execute(text("SET LOCAL lock_timeout = '2s'"))
            counters.merge_parts(tx)
        assert counts(server, campaign) == Counts({"queued": 4})
    assert counts(server, campaign) == Counts({"failed": 1, "queued": 3})
    assert server.broken() == {}


def test_a_connection_counts_on_after_its_part_was_merged(server: Desk) -> None:
    (campaign,) = {campaign_of(server, id) for id in server.queued(n=4)}
    with server.database.engine.connect() as worker, ThreadPoolExecutor(1) as thread:

        def fail(row: int) -> None:
            with worker.begin():
                worker.execute(
                    text("UPDATE messages SET status = 'failed', ended_at = 1 WHERE row = :row"), {"row": row}
                )

        fail(1)
        with server.database.write() as tx:
            counters.merge_parts(tx)
            waiting = thread.submit(fail, 2)
            deadline = time.monotonic() + 60
            while not server.scalar(WAITING):
                assert time.monotonic() < deadline
        waiting.result(timeout=60)
    assert counts(server, campaign) == Counts({"failed": 2, "queued": 2})
    assert server.broken() == {}


# -- any changes ----------------------------------------------------------------------------------------------

ROWS = 6
#: A change of these rows to this status, with this many attempts, over one of two connections; whether it commits.
CHANGES = st.tuples(
    st.sampled_from(["move", "move", "move", "take", "drop", "fold"]),
    st.tuples(st.integers(1, ROWS), st.integers(1, ROWS)),
    st.sampled_from(list(Status)),
    st.integers(0, 3),
    st.integers(0, 1),
    st.booleans(),
)


@given(changes=st.lists(CHANGES, max_size=12))
@settings(max_examples=40, deadline=None)
def test_after_any_changes_the_counts_equal_the_messages(two: tuple[Desk, Desk], changes: list[Any]) -> None:
    desk = two[0]
    ids = [desk.campaign().id for _ in range(2)]
    for act, (low, high), status, attempts, n, commits in changes:
        with two[n].database.engine.connect() as connection:
            tx = connection.execution_options(bulksend_write=True)
            with tx.begin() as transaction:
                change(tx, act, ids, range(low, high + 1), status.value, attempts)
                if not commits:
                    transaction.rollback()
        assert desk.read(counters.of, ids) == {id: truth(desk, id) for id in ids}


def change(tx: Connection, act: str, ids: list[str], rows: range, status: str, attempts: int) -> None:
    """One statement, or one for each inserted row; the rows alternate between two campaigns."""
    of_both = messages.c.campaign_id.in_(ids) & messages.c.row.between(rows.start, rows.stop - 1)
    if act == "fold":
        counters.merge_parts(tx)
    elif act == "move":
        tx.execute(update(messages).where(of_both).values(status=status, attempts=attempts))
    elif act == "drop":
        tx.execute(delete(messages).where(of_both))
    else:
        for row in rows:
            tx.execute(insert_if_new(tx, messages).values(**message(ids[row % 2], row, status, attempts)))


def message(campaign: str, row: int, status: str, attempts: int) -> dict[str, object]:
    """The values of a message to insert."""
    nothing = dict.fromkeys(("sender", "recipient", "type"), "") | dict.fromkeys(
        ("due_at", "tries", "waits", "strikes", "queued_at"), 0
    )
    return nothing | {
        "id": new_id(),
        "campaign_id": campaign,
        "key": str(row),
        "row": row,
        "kind": "marketing",
        "fingerprint": b"",
        "status": status,
        "attempts": attempts,
    }


def truth(desk: Any, campaign: str) -> Counts:
    with desk.database.read() as tx:
        rows = tx.execute(
            text(
                "SELECT status, count(*), sum(attempts) FROM messages WHERE CAST(campaign_id AS text) = :id"
                " GROUP BY status ORDER BY status"
            ),
            {"id": campaign},
        ).all()
    return Counts({status: n for status, n, _ in rows}, int(sum(posts for _, _, posts in rows)))


@pytest.fixture
def two(ledger: Database) -> Iterator[tuple[Desk, Desk]]:
    """Two processes with one ledger."""
    other = Database(ledger.url.render_as_string(hide_password=False))
    yield Desk(ledger), Desk(other)
    other.close()
