"""No statement of relay, worker or command depends on fresh statistics (issue 14, D19).

PostgreSQL plans by what the last ANALYZE saw: an empty ledger, one in which nothing was queued, or other leases. Each
statement is run against 100,000 messages, of which 9,000 are queued, with such statistics, and the rows that it read
are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import Engine

from bulksend.ledger import (
    campaign_control,
    campaign_retry,
    campaigns,
    counters,
    due,
    exclusions,
    intake,
    leases,
    messages,
    pauses,
    progress,
    receipts,
    search,
    senders,
    suppressions,
    unknowns,
)
from bulksend.ledger.claim import claim
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.in_flight import claimed_under
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.release import Release, end_claimed, expire_unposted, release
from bulksend.ledger.search import Query
from bulksend.ledger.settle import Settlement, settle, settle_in_one_statement
from bulksend.ledger.superseding import HELD as HELD_CODES
from bulksend.ledger.superseding import WAITING as WAITING_CODES
from bulksend.ledger.superseding import Walk
from bulksend.ledger.write_ahead import Opening, open_attempts, open_in_one_statement
from bulksend.messaging.exclusions import Cap, Exclusions, PeopleOf
from bulksend.messaging.outcome import Accepted, Evidence, Refused, Unknown
from bulksend.messaging.states import OnUnknown, Status
from bulksend.operations import campaigns as campaign_operations
from tests.conftest import Databases
from tests.integration.ledger.conftest import ACCOUNT, ACTOR, SENDER, Desk

pytestmark = pytest.mark.timeout(300)

SENT, QUEUED, HELD, BATCH = 90_000, 9_000, 1_000, 20
BY = {"actor": ACTOR, "why": "because"}
EVIDENCE = Evidence(200, 0, bytes_sent=True, reply_began=True)

_TABLES = (
    "messages",
    "in_flight",
    "attempts",
    "receipts",
    "campaigns",
    "campaign_counts",
    "workers",
    "refusals",
    "acts",
    "suppressions",
)

#: Copies of one message by the server itself, so that loading takes seconds.
_MESSAGES = """
INSERT INTO messages (id, campaign_id, key, row, kind, sender, recipient, type, payload, fingerprint, status, due_at,
    expires_at, attempt_id, attempts, tries, waits, strikes, message_id, queued_at, sent_at, accepted_at,
    ended_at)
SELECT CAST(lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid),
    CAST(:campaign AS uuid), 'copy ' || n, n, m.kind, m.sender, '4477' || lpad(CAST(n AS text), 8, '0'), m.type,
    m.payload, m.fingerprint, p.status, m.due_at, p.expires,
    CASE WHEN p.posts > 0 THEN CAST(lpad(to_hex(n), 32, '0') AS uuid) END, p.posts, 0, 0, 0,
    CASE WHEN p.posts > 0 THEN 'mid-' || n END, m.queued_at, ended.at, ended.at, ended.at
FROM messages m, generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n,
    (SELECT CAST(:status AS text) AS status, CAST(:expires AS bigint) AS expires,
            CAST(:attempts AS integer) AS posts) AS p,
    LATERAL (SELECT CASE WHEN p.posts > 0 THEN m.queued_at END AS at) AS ended
WHERE m.id = CAST(:like AS uuid)
"""
_ATTEMPTS = """
INSERT INTO attempts (id, message_pk, n, owner, worker, sender, started_at, finished_at, outcome, message_id)
SELECT CAST(lpad(to_hex(n), 32, '0') AS uuid),
    CAST(lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid),
    1, CAST(:owner AS uuid), 'host:1', :sender, :now, :now, 'accepted', 'mid-' || n
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
"""

_CLAIMED = """
INSERT INTO in_flight (message_pk, owner)
SELECT CAST(lpad(to_hex(1700000000000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0') AS uuid),
    CAST(:owner AS uuid)
FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
"""


@dataclass
class Ledger:
    """The full ledger, as seen by a worker or relay and by a command."""

    url: str
    sent: str
    """A campaign of which everything was sent."""
    queued: str
    ids: list[str]
    """Ids of queued messages."""
    held: str
    """The lease that holds HELD messages of the queued campaign."""
    one: str
    """A message that was sent, with its attempt."""
    batch: int = BATCH
    """How many messages a worker takes at once."""


def _load(url: str, *, analyzed: str) -> Ledger:
    desk = Desk(Database(url))
    for table in _TABLES:
        desk.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    if analyzed == "empty":
        desk.sql("ANALYZE")
    desk.write(senders.register, SENDER, rate=80.0, quota=1000)
    (one,) = desk.queued()
    desk.accepted([one])
    (two,) = desk.queued(on_unknown=OnUnknown.RESEND)
    sent, queued = (str(desk.row(id)["campaign_id"]) for id in (one, two))
    held = desk.lease("host:2", 600_000)
    with desk.database.write() as tx:
        tx.execute(text("SET LOCAL statement_timeout = 0"))
        of: dict[str, Any] = {"expires": None, "attempts": 0}

        def put(first: int, last: int, **more: Any) -> None:
            tx.execute(text(_MESSAGES), of | {"first": first, "last": last} | more)

        put(1, SENT, campaign=sent, status="accepted", attempts=1, like=one)
        now = desk.now() - 3_600_000
        tx.execute(text(_ATTEMPTS), {"owner": held, "sender": SENDER, "now": now, "first": 1, "last": SENT})
    if analyzed == "others held":
        # A table that never held a row is planned as one of ten pages; this one by the leases of then.
        was = {"owner": desk.lease("host:1"), "first": 1, "last": 1_000}
        desk.sql(_CLAIMED, **was)
        desk.sql("ANALYZE")
        desk.sql("DELETE FROM in_flight")
    if analyzed == "nothing queued":
        desk.sql("UPDATE messages SET status = 'accepted' WHERE id = CAST(:id AS uuid)", id=two)
        desk.sql("ANALYZE")
        desk.sql("UPDATE messages SET status = 'queued' WHERE id = CAST(:id AS uuid)", id=two)
    with desk.database.write() as tx:
        tx.execute(text("SET LOCAL statement_timeout = 0"))
        far = 4_000_000_000_000
        put(SENT + 1, SENT + QUEUED, campaign=queued, status="queued", expires=far, like=two)
        put(
            SENT + QUEUED + 1, SENT + QUEUED + HELD,
            campaign=queued, status="queued", expires=far, like=two,
        )  # fmt: skip
        tx.execute(text(_CLAIMED), {"owner": held, "first": SENT + QUEUED + 1, "last": SENT + QUEUED + HELD})
    ids = [row.id for row in desk.read(due.due_messages, queued, 4 * BATCH)]
    desk.database.close()
    return Ledger(url, sent, queued, ids, held, one)


@pytest.fixture(scope="module", params=["empty", "nothing queued", "others held"])
def full(
    request: pytest.FixtureRequest, postgres_databases: Databases, postgres_template: str
) -> Iterator[Ledger]:
    url = postgres_databases.new(postgres_template)
    yield _load(url, analyzed=request.param)
    postgres_databases.drop(url)


@pytest.fixture
def young(postgres_databases: Databases, postgres_template: str) -> Iterator[Ledger]:
    """A ledger whose messages were deleted before its last ANALYZE, and which has one campaign now."""
    url = postgres_databases.new(postgres_template)
    desk = Desk(Database(url))
    for table in _TABLES:
        desk.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    # A table that never held a row is planned as one of ten pages; one that was emptied, as empty.
    desk.queued(n=1_100)
    desk.sql("DELETE FROM messages")
    desk.sql("ANALYZE")
    ids = desk.queued(n=1_100)
    campaign = str(desk.row(ids[0])["campaign_id"])
    desk.database.close()
    yield Ledger(url, campaign, campaign, ids, "", ids[0], batch=len(ids))
    postgres_databases.drop(url)


_READ = """SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables"""


def rows_read(engine: Engine, work: Callable[[Connection], object]) -> int:
    """How many rows ``work`` read, of all tables; it is rolled back."""
    with engine.connect() as connection:
        tx = connection.execution_options(bulksend_write=True)
        with tx.begin() as transaction:
            before = int(tx.execute(text(_READ)).scalar_one())
            work(tx)
            read = int(tx.execute(text(_READ)).scalar_one()) - before
            transaction.rollback()
    return read


def cancelled(then: Callable[[Connection], object]) -> Callable[[Connection, Ledger], object]:
    def work(tx: Connection, of: Ledger) -> object:
        campaign_control.mark_cancelled(tx, of.queued, **BY)
        return then(tx)

    return work


def expired(tx: Connection, of: Ledger) -> object:
    tx.execute(
        text("UPDATE messages SET expires_at = 1 WHERE id = ANY(CAST(:ids AS uuid[]))"),
        {"ids": of.ids[:BATCH]},
    )
    return due.expire(tx)


def lapsed(tx: Connection, of: Ledger) -> object:
    tx.execute(text("UPDATE workers SET lease_until = 1 WHERE id = CAST(:id AS uuid)"), {"id": of.held})
    return leases.rescue(tx, resend_wait_ms=600_000)


def orphaned(tx: Connection, of: Ledger) -> object:
    receipts.take(tx, [Receipt(f"mid-of-nobody-{n}", "read", 1) for n in range(BATCH)])
    return receipts.Orphans().match(tx)


def delivered(tx: Connection, of: Ledger) -> object:
    return receipts.take(tx, [Receipt(f"mid-{n}", "delivered", 5) for n in range(1, 1 + BATCH)])


def reported(tx: Connection, of: Ledger) -> object:
    return receipts.take(tx, [Receipt(f"mid-{n}", "failed", 5) for n in range(1, 1 + BATCH)])


def claimed(tx: Connection, of: Ledger) -> tuple[str, list[Opening]]:
    lease, _ = leases.take(tx, "host:3", 60_000)
    rows = claim(tx, of.ids[: of.batch], lease=lease, account=ACCOUNT)
    assert len(rows) == of.batch
    return lease, Desk.openings(rows)


def opened(tx: Connection, of: Ledger) -> tuple[str, list[Opening]]:
    lease, openings = claimed(tx, of)
    done = open_attempts(tx, openings, lease=lease, account=ACCOUNT)
    assert len(done.attempts) == of.batch
    return lease, openings


def settled(outcome: Any, status: Status) -> Callable[[Connection, Ledger], object]:
    def work(tx: Connection, of: Ledger) -> object:
        _, openings = opened(tx, of)
        due_at = 1 if status is Status.RETRY else None
        return settle(
            tx,
            [
                Settlement(o.message.id, o.attempt_id, outcome, EVIDENCE, 1.0, status, due_at, 1, 0, "why")
                for o in openings
            ],
        )

    return work


def sent_in_two_statements(tx: Connection, of: Ledger) -> object:
    lease, openings = claimed(tx, of)
    assert open_in_one_statement(tx, openings, lease=lease, account=ACCOUNT) is not None
    results = [
        Settlement(
            o.message.id, o.attempt_id, Accepted("mid", "rid"), EVIDENCE, 1.0, Status.ACCEPTED, None, 1, 0, ""
        )
        for o in openings
    ]
    done = settle_in_one_statement(tx, results)
    assert len(done) == of.batch
    return done


def given_back(tx: Connection, of: Ledger) -> object:
    lease, openings = claimed(tx, of)
    release(tx, [Release(o.message.id, 0, None, None) for o in openings], lease=lease)
    return claimed_under(tx, lease)


def failed_in_hand(tx: Connection, of: Ledger) -> object:
    lease, openings = claimed(tx, of)
    end_claimed(tx, [(o.message.id, "why") for o in openings], Status.FAILED, lease)
    return expire_unposted(tx, of.ids[: of.batch], lease=lease)


def rescued_while_sending(tx: Connection, of: Ledger) -> object:
    lease, _ = opened(tx, of)
    return leases.reap(tx, lease, rendering=None, begun=None, resend_wait_ms=600_000)


def reaped_after_a_rescue(tx: Connection, of: Ledger) -> object:
    lease, openings = opened(tx, of)
    ended = text("UPDATE workers SET lease_until = :now - 1 WHERE id = CAST(:id AS uuid)")
    tx.execute(ended, {"id": lease, "now": read_clock(tx)})
    leases.rescue(tx, resend_wait_ms=600_000)
    done = leases.reap(tx, lease, rendering=None, begun=[], resend_wait_ms=600_000)
    (attempt,) = messages.attempts_of(tx, openings[0].message.id)
    assert attempt["outcome"] == "not_sent"
    return done


def taken_in(tx: Connection, of: Ledger) -> object:
    tx.execute(
        text("UPDATE campaigns SET intake_done_at = NULL WHERE id = CAST(:id AS uuid)"), {"id": of.queued}
    )
    campaign = campaigns.get(tx, of.queued)
    rows = [Desk.new_message(row) for row in range(1, 1 + BATCH)]
    return intake.store_chunk(
        tx, campaign, after_row=campaign.rows_read,
        planned=rows, refused=[], cipher=Cipher([b"k" * 32]),
    )  # fmt: skip


def asked_ahead(tx: Connection, of: Ledger) -> object:
    """Of a whole chunk, whose people have neither a suppression nor a message."""
    others = {f"4479{n:08d}": None for n in range(20_000)}
    suppressions.add_many(tx, others, scope="marketing", reason="", source="import")
    rows = [Desk.new_message(row, recipient=f"4478{row:08d}") for row in range(1, 4_001)]
    capped = Exclusions(cap=Cap(1, 1_000), exclude=(PeopleOf(of.sent),)).to_json()
    return exclusions.ask_ahead(tx, replace(campaigns.get(tx, of.queued), exclusions=capped), rows)


def resolved(tx: Connection, of: Ledger) -> object:
    settled(Unknown("ReadTimeout"), Status.UNKNOWN)(tx, of)
    unknowns.unknown(tx, Query(campaign_id=of.queued), limit=BATCH)
    for id in of.ids[:BATCH]:
        messages.resolve(tx, id, as_="failed", **BY)
    return campaign_retry.begin(tx, of.queued, limit=BATCH, **BY)


Work = Callable[[Connection, Ledger], object]
#: Of the relay: each work, and how many rows it may read.
RELAY: dict[str, tuple[Work, int]] = {
    "rescue, nothing lapsed": (lambda tx, of: leases.rescue(tx, resend_wait_ms=1), HELD + 50),
    "rescue, 1,000 held": (lapsed, 8 * HELD),
    "any lapsed": (lambda tx, of: leases.any_lapsed(tx), HELD + 50),
    "close ended": (lambda tx, of: leases.close_ended(tx), 50),
    "expire, nothing late": (lambda tx, of: due.expire(tx), 50),
    "expire, 20 late": (expired, 20 * BATCH),
    "end cancelled, none is": (lambda tx, of: campaign_control.end_cancelled(tx), 50),
    "end cancelled, 1,000 of 10,000": (
        cancelled(lambda tx: campaign_control.end_cancelled(tx, 1_000)),
        6_000,
    ),
    "held codes, of a blast": (lambda tx, of: Walk(HELD_CODES).settle(tx), 50),
    "waiting codes, of a blast": (lambda tx, of: Walk(WAITING_CODES).settle(tx), 50),
    "match receipts, 20 of nobody": (orphaned, 10 * BATCH),
    "finish campaigns": (lambda tx, of: campaigns.finish_ended(tx), 100),
    "reopen campaigns": (lambda tx, of: campaigns.reopen_waiting(tx), 100),
    "fold counts": (lambda tx, of: counters.merge_parts(tx), 100),
    "live campaigns": (lambda tx, of: campaigns.active(tx), 50),
    "pauses": (lambda tx, of: (pauses.current(tx), senders.all_senders(tx)), 50),
    "what is due": (lambda tx, of: due.due_messages(tx, of.queued, 100, claimed=True), 300),
    "what is due after": (
        lambda tx, of: due.due_messages(tx, of.queued, 100, after=(1, of.ids[50]), claimed=True),
        300,
    ),
    "how many wait": (
        lambda tx, of: due.count_waiting_up_to(tx, of.queued, (4 * 10**12, of.ids[-1]), 100, claimed=True),
        300,
    ),
    "when the next is due": (lambda tx, of: due.next_due_at(tx, of.queued), 50),
}
WORKER: dict[str, tuple[Work, int]] = {
    "claim": (claimed, 12 * BATCH),
    "open": (opened, 30 * BATCH),
    "settle accepted": (settled(Accepted("mid", "rid"), Status.ACCEPTED), 60 * BATCH),
    "settle refused": (settled(Refused("17009", "no"), Status.FAILED), 60 * BATCH),
    "settle unknown": (settled(Unknown("ReadTimeout"), Status.RETRY), 60 * BATCH),
    "open and settle in one statement each": (sent_in_two_statements, 40 * BATCH),
    "give back": (given_back, 30 * BATCH + HELD),
    "fail": (failed_in_hand, 30 * BATCH),
    "reap": (rescued_while_sending, 60 * BATCH + 3 * HELD),
    "reap after a rescue": (reaped_after_a_rescue, 100 * BATCH + 8 * HELD),
    "suppressed days": (lambda tx, of: suppressions.days_with_code(tx, ["447700000001"], 131026), 50),
    "delivered": (delivered, 30 * BATCH),
    "reported as failed": (reported, 60 * BATCH),
}
COMMANDS: dict[str, tuple[Work, int]] = {
    "campaigns list": (lambda tx, of: campaign_operations.newest(tx, 20), 8_000),
    "reasons": (lambda tx, of: progress.failure_reasons(tx, of.queued), 100),
    "cancel": (cancelled(lambda tx: campaign_control.end_cancelled(tx, 2_000)), 12_000),
    "find by number": (lambda tx, of: search.find(tx, Query(phone="447700000001"), limit=BATCH), 100),
    "find by MessageId": (lambda tx, of: search.find(tx, Query(message_id="mid-7"), limit=BATCH), 100),
    "find in a campaign": (lambda tx, of: search.find(tx, Query(campaign_id=of.queued), limit=BATCH), 500),
    "find by status": (lambda tx, of: search.find(tx, Query(status="queued"), limit=BATCH), 3 * HELD),
    "a page of an export": (lambda tx, of: next(search.export(tx, of.queued, page=100)), 1_000),
    "show": (
        lambda tx, of: (
            messages.get(tx, of.one),
            messages.attempts_of(tx, of.one),
            messages.receipts_of(tx, of.one),
        ),
        50,
    ),
    "resolve and retry": (resolved, 150 * BATCH),
    "take in": (taken_in, 30 * BATCH),
    "ask ahead": (asked_ahead, 100),
    "senders": (lambda tx, of: senders.all_senders(tx), 50),
    "suppressions": (lambda tx, of: suppressions.page(tx), 50),
}


def too_much(full: Ledger, works: dict[str, tuple[Work, int]], *, by_key: bool) -> dict[str, str]:
    database = Database(full.url, by_key=by_key)
    try:
        read = {
            name: (rows_read(database.engine, lambda tx, work=work: work(tx, full)), most)  # type: ignore[misc]
            for name, (work, most) in works.items()
        }
    finally:
        database.close()
    times = full.batch // BATCH
    return {
        name: f"read {rows:,}, may read {most * times:,}"
        for name, (rows, most) in read.items()
        if rows > most * times
    }


def test_the_relay_reads_what_it_works_on(full: Ledger) -> None:
    assert too_much(full, RELAY, by_key=True) == {}


def test_a_worker_reads_what_it_works_on(full: Ledger) -> None:
    assert too_much(full, WORKER, by_key=True) == {}


@pytest.mark.parametrize("by_key", [True, False])
def test_a_big_batch_of_a_young_ledger_is_read_once(young: Ledger, by_key: bool) -> None:
    """A claim of 1,100 looked up all of them for each of them, and ran into the statement timeout of 30 s."""
    assert too_much(young, WORKER, by_key=by_key) == {}


def test_a_command_reads_what_it_shows_or_changes(full: Ledger) -> None:
    assert too_much(full, COMMANDS, by_key=False) == {}
