"""The hot path reads the rows it was sent for and no others, whatever PostgreSQL believes of its tables.

A ledger in its first minute was never analyzed, and a plan that suits an empty table walks a full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, text

from bulksend.ledger import campaigns, intake
from bulksend.ledger.claim import claim
from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.ledger.settle import settle, settle_in_one_statement
from bulksend.ledger.write_ahead import open_attempts, open_in_one_statement
from bulksend.messaging.exclusions import Cap, Exclusions, PeopleOf
from bulksend.messaging.outcome import Accepted
from tests.integration.ledger.conftest import ACCOUNT, Desk

WAITING = 40_000
BATCH = 20
#: Each row of a batch may be read a few times over in one statement.
READS_A_ROW = 8

_READ = """SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables
           WHERE relname IN ('messages', 'attempts')"""


#: As many more like that one, by the server itself: waiting messages, and attempts of an accepted one.
_COPIES = (
    """INSERT INTO messages (id, campaign_id, key, row, kind, sender, recipient, type, payload, fingerprint, status,
           due_at, attempts, tries, waits, strikes, queued_at)
       SELECT gen_random_uuid(), m.campaign_id, 'copy ' || n, n, m.kind, m.sender, m.recipient, m.type, m.payload,
           m.fingerprint, m.status, m.due_at, 0, 0, 0, 0, m.queued_at
       FROM messages m, generate_series(1, CAST(:many AS bigint)) AS n WHERE m.id = CAST(:id AS uuid)""",
    """INSERT INTO attempts (id, message_pk, n, owner, worker, sender, started_at, finished_at, outcome)
       SELECT gen_random_uuid(), a.message_pk, a.n + more, a.owner, a.worker, a.sender, a.started_at, a.finished_at,
           a.outcome
       FROM attempts a, generate_series(1, CAST(:many AS bigint)) AS more WHERE CAST(:id AS uuid) IS NOT NULL""",
)


@pytest.fixture
def desk(postgres_ledger_url: str) -> Iterator[Desk]:
    database = Database(postgres_ledger_url, by_key=True)
    yield Desk(database)
    database.close()


def reads(desk: Desk, work: Callable[[Connection], object]) -> int:
    """How many rows of messages and attempts ``work`` read."""
    with desk.database.write() as tx:
        # What this connection did shortly before may be counted still.
        before = int(tx.execute(text(_READ)).scalar_one())
        work(tx)
        return int(tx.execute(text(_READ)).scalar_one()) - before


@pytest.mark.parametrize("rounds_before", [0, 8])
def test_each_step_of_a_batch_reads_its_own_rows_and_not_all_that_waits(
    desk: Desk, rounds_before: int
) -> None:
    """Also with the plans that a connection made, and keeps, while the ledger was all but empty."""
    lease = desk.lease()
    for _ in range(rounds_before):
        life = desk.openings(desk.claim(lease, desk.queued(n=2)))
        desk.open(lease, life)
        results = [desk.settlement(o, Accepted(f"mid-{o.message.id}", "rid")) for o in life]
        desk.write(settle, results)
    ids = desk.queued(n=BATCH)
    desk.accepted(desk.queued())
    with desk.database.write() as tx:
        set_statement_timeout(tx, 0)
        for copied in _COPIES:
            tx.execute(text(copied), {"many": WAITING, "id": ids[0]})

    claiming = reads(desk, lambda tx: claim(tx, ids, lease=lease, account=ACCOUNT))
    openings = desk.openings(desk.claim(lease, ids))
    assert len(openings) == BATCH
    opening = reads(
        desk,
        lambda tx: open_attempts(tx, openings, lease=lease, account=ACCOUNT),
    )
    answers = [desk.settlement(o, Accepted(f"mid-{o.message.id}", "rid")) for o in openings]
    settling = reads(desk, lambda tx: settle(tx, answers))

    # The same once more, each as the single statement that it nearly always is.
    again = desk.openings(desk.claim(lease, desk.queued(n=BATCH)))
    opening_at_once = reads(desk, lambda tx: open_in_one_statement(tx, again, lease=lease, account=ACCOUNT))
    more = [desk.settlement(o, Accepted(f"mid-{o.message.id}", "rid")) for o in again]
    settling_at_once = reads(desk, lambda tx: settle_in_one_statement(tx, more))

    read = {
        "claim": claiming,
        "open": opening,
        "settle": settling,
        "open at once": opening_at_once,
        "settle at once": settling_at_once,
    }
    assert {step: rows for step, rows in read.items() if rows > BATCH * READS_A_ROW} == {}


@pytest.mark.parametrize("leaves_out", [False, True])
def test_a_chunk_of_a_file_looks_for_its_own_keys_and_people_and_not_through_its_campaign(
    postgres_ledger_url: str, leaves_out: bool
) -> None:
    database = Database(postgres_ledger_url)
    desk = Desk(database)
    exclusions = Exclusions(cap=Cap(9, 60_000), exclude=(PeopleOf(desk.campaign().id),))
    campaign = desk.campaign(exclusions=exclusions.to_json() if leaves_out else None)
    # So often that the server keeps a plan, made while there was next to nothing.
    for first in range(1, 200, BATCH):
        taken = desk.take(campaign, *(desk.new_message(row) for row in range(first, first + BATCH)))
    desk.sql(_COPIES[0], many=WAITING, id=taken.ready[0])
    chunks = {
        "new": [desk.new_message(row) for row in range(1_000, 1_000 + BATCH)],
        "known": [desk.new_message(row) for row in range(1, 1 + BATCH)],
    }
    for rows in chunks.values():
        begun = desk.read(campaigns.get, campaign.id).rows_read
        read = reads(
            desk,
            lambda tx, rows=rows, begun=begun: intake.store_chunk(
                tx, campaign, after_row=begun, planned=rows, refused=[],
                cipher=desk.cipher,
            ),
        )  # fmt: skip
        assert read <= BATCH * READS_A_ROW
    database.close()
