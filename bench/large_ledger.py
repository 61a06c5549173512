"""A ledger as a year of sending leaves it, for benches that ask how the product behaves at size.

    python -m bench.large_ledger URL [--messages 10000000]

Fills an empty database (PostgreSQL or SQLite) set by set inside the server, a campaign of a million at a time.
Of a thousand messages: 200 took two attempts, 20 were accepted and then failed by their receipt, 10 were
refused, 5 are unknown, 10 expired unsent, 600 have been delivered. One campaign in ten is of one-time codes,
and the newest is under way, with 2,000 messages in flight.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from sqlalchemy import Connection, text

from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.ledger.encryption import clear
from bulksend.ledger.ids import new_id
from bulksend.ledger.migrate import migrate
from bulksend.ledger.schema import attempts, campaigns, messages, receipts, workers

CAMPAIGN = 1_000_000
IN_FLIGHT = 2_000
WAITING = 50_000
SENDER = "447700900001"
#: What was given for a message: neither encrypted nor secret.
PAYLOAD = clear({"name": "David Smith", "discount": "20%", "code": "SPRING"})
#: When the campaign began, and a part of its span on for every message.
_BEGAN = "(CAST(:began AS bigint) + s.n * CAST(:span AS bigint) / CAST(:many AS bigint))"

_SERIES = {
    "postgresql": "generate_series(1, CAST(:many AS bigint)) AS s(n)",
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < :many)"
    " SELECT n FROM c) AS s",
}
_RANDOM_HEX = {"postgresql": "md5(random()::text)", "sqlite": "lower(hex(randomblob(16)))"}
_HEX = {"postgresql": "lpad(to_hex({0}), 12, '0')", "sqlite": "printf('%012x', {0})"}
_ID = {"postgresql": "CAST({0} AS uuid)", "sqlite": "{0}"}
_BLOB = {"postgresql": "convert_to({0}, 'UTF8')", "sqlite": "CAST({0} AS blob)"}

_MESSAGES = """
    INSERT INTO messages (id, campaign_id, key, row, kind, sender, recipient, type, payload, fingerprint, status,
        due_at, expires_at, attempts, tries, waits, strikes, message_id, request_id, ret_code, error,
        queued_at, sent_at, accepted_at, delivered_at, ended_at)
    SELECT {id}, {campaign}, CAST(s.n AS text), s.n, {kind}, {sender},
        CAST(447700000000 + CAST(:first AS bigint) + s.n AS text), 'template',
        CASE WHEN {kind} = 'otp' AND {ended} THEN NULL ELSE :payload END, {fingerprint}, {status},
        {at}, CASE WHEN {kind} = 'otp' THEN {at} + 300000 END,
        CASE WHEN {unsent} THEN 0 WHEN {fate} BETWEEN 100 AND 299 THEN 2 ELSE 1 END,
        CASE WHEN {unsent} THEN 0 ELSE 1 END, 0, 0,
        CASE WHEN {took} THEN {mid} END, CASE WHEN {took} THEN {mid} END, CASE WHEN {took} THEN 0 END,
        CASE WHEN {status} = 'failed' THEN 'refused: 17120'
             WHEN {status} = 'suppressed' THEN 'cap: 2 messages in 7 days' END,
        {at}, CASE WHEN NOT {unsent} THEN {at} + 1000 END,
        CASE WHEN {took} THEN {at} + 1200 END, CASE WHEN {status} IN ('delivered', 'read') THEN {at} + 3000 END,
        CASE WHEN {ended} THEN {at} + 1200 END
    FROM {series}"""

_ATTEMPTS = """
    INSERT INTO attempts (id, message_pk, n, owner, worker, sender, started_at, finished_at, outcome, http_status,
        ret_code, request_id, message_id, latency_ms, bytes_sent, reply_began, error)
    SELECT {attempt_id}, m.id, s.n, {owner}, 'worker-1', m.sender, m.sent_at - 500 * (m.attempts - s.n),
        m.sent_at - 500 * (m.attempts - s.n) + 180,
        CASE WHEN s.n < m.attempts THEN CASE WHEN m.row % 2 = 0 THEN 'throttled' ELSE 'not_sent' END
             WHEN m.status = 'unknown' THEN 'unknown'
             WHEN m.message_id IS NULL THEN 'refused' ELSE 'accepted' END,
        CASE WHEN m.status <> 'unknown' THEN 200 END, m.ret_code, m.request_id, m.message_id, 180.5,
        1 = 1, m.message_id IS NOT NULL, NULL
    FROM messages m JOIN {two} ON s.n <= m.attempts
    WHERE m.campaign_id = {campaign} AND m.attempts > 0"""

_OPEN = """
    INSERT INTO in_flight (message_pk, owner, attempt_id, started_at)
    SELECT m.id, {owner}, {open_id}, m.queued_at + 1000
    FROM messages m WHERE m.campaign_id = {campaign} AND m.status = 'queued'
        AND m.row > CAST(:many AS bigint) - CAST(:in_flight AS bigint)"""

_RECEIPTS = """
    INSERT INTO receipts (id, message_id, message_pk, status, at, received_at, code, why)
    SELECT {receipt_id}, m.message_id, m.id, m.status, m.accepted_at + 1800, m.accepted_at + 1900, '', ''
    FROM messages m WHERE m.campaign_id = {campaign} AND m.message_id IS NOT NULL
        AND m.status IN ('failed', 'delivered', 'read')"""


def fill(database: Database, many: int, campaign: int = CAMPAIGN, *, age_days: float = 1) -> None:
    """Put ``many`` messages with their attempts and receipts into an empty ledger, ``campaign`` a campaign.

    The first of them began ``age_days`` ago.
    """
    with without_indexes(database):
        for first in range(0, many, campaign):
            with database.write() as tx:
                set_statement_timeout(tx, 0)
                size, newest = min(campaign, many - first), first + campaign >= many
                put_campaign(tx, first, size, newest=newest, age_days=age_days)
    if not database.is_sqlite:
        analyze(database)


@contextmanager
def without_indexes(database: Database) -> Iterator[None]:
    """Meanwhile the large tables have no indexes but those of their keys; they are made at the end, at once."""
    indexes = sorted(
        (ix for t in (messages, attempts, receipts) for ix in t.indexes), key=lambda i: i.name or ""
    )
    with database.write() as tx:
        set_statement_timeout(tx, 0)
        for index in indexes:
            index.drop(tx)
    yield
    with database.write() as tx:
        set_statement_timeout(tx, 0)
        for index in indexes:
            index.create(tx)


def analyze(database: Database) -> None:
    """What autovacuum does after a load."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM (ANALYZE)"))


def put_campaign(
    tx: Connection,
    first: int,
    many: int,
    *,
    newest: bool,
    age_days: float = 1,
    span_ms: int | None = None,
    waiting: int = WAITING,
    in_flight: int = IN_FLIGHT,
    more: Mapping[str, str] = MappingProxyType({}),
    **columns: object,
) -> str:
    """One campaign of ``many`` messages, numbered from ``first``; the ``newest`` is under way. Returns its id.

    Its messages came in over ``span_ms``, of the newest the last ``waiting`` wait, ``in_flight`` of them at a worker.
    ``more`` has conditions of further statuses, in SQL of ``{fate}``, 0 to 999; ``columns`` are the campaign's.
    """
    campaign, worker = new_id(), new_id()
    began = int((time.time() - age_days * 86_400) * 1000) + (first // 10 if span_ms is None else 0)
    span = many // 10 if span_ms is None else span_ms
    row: dict[str, object] = {
        **{"id": campaign, "key": campaign, "name": f"campaign {first // CAMPAIGN}"},
        **{"kind": "otp" if first // CAMPAIGN % 10 == 4 else "marketing"},
        **{
            "status": "running" if newest else "finished",
            "sender": SENDER,
            "type": "template",
            "content": "{}",
        },
        **{"source_hash": "", "source_name": "list.csv", "due_at": began, "on_unknown": "hold"},
        **{"created_at": began, "created_by": "bench", "intake_done_at": began + span, "rows_read": many},
        **{"messages": many, "duplicates": 0, "suppressed": 0, "refused": 0},
        **columns,
    }
    tx.execute(campaigns.insert(), row)
    lease = {"id": worker, "name": "worker-1", "started_at": began, "lease_until": began + 10**11}
    tx.execute(workers.insert(), lease)
    values: dict[str, object] = {
        "campaign": campaign,
        "owner": worker,
        "kind": row["kind"],
        "sender": row["sender"] or SENDER,
        "payload": PAYLOAD,
        "began": began,
        "span": span,
        "many": many,
        "first": first,
        "in_flight": in_flight if newest else 0,
    }
    conditions = {
        "queued": f"s.n > CAST(:many AS bigint) - {waiting}" if newest else "",
        "expired": "{fate} < 10",
        "unknown": "{fate} < 15",
        "failed": "{fate} < 45",
        **more,
        "delivered": "{fate} >= 400",
    }
    for sql in (_MESSAGES, _ATTEMPTS, _OPEN, _RECEIPTS):
        put(tx, sql, values, conditions)
    return campaign


def put(
    tx: Connection,
    sql: str,
    values: Mapping[str, object],
    conditions: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Run a statement of this room, such as ``INSERT INTO … SELECT … FROM {series}``, in this database's tongue."""
    whole = text(_whole(tx, sql, conditions))
    tx.execute(whole, {name: value for name, value in values.items() if name in whole.compile().params})


def _whole(tx: Connection, sql: str, conditions: Mapping[str, str]) -> str:
    """The statement in this database's tongue."""
    tongue = tx.dialect.name
    hexed, random, id_ = _HEX[tongue], _RANDOM_HEX[tongue], _ID[tongue]
    fate = "(s.n % 1000)"
    cases = (f"WHEN {when} THEN '{status}'" for status, when in conditions.items() if when)
    status = f"(CASE {' '.join(cases)} ELSE 'accepted' END)".format(fate=fate)
    took = f"({status} IN ('accepted', 'delivered', 'read') OR ({status} = 'failed' AND {fate} >= 25))"
    return sql.format(
        series=_SERIES[tongue],
        two="(SELECT 1 AS n UNION ALL SELECT 2) AS s",
        id=id_.format(_uuid(hexed.format(_BEGAN), random)),
        attempt_id=id_.format(_uuid(hexed.format("m.sent_at"), random)),
        open_id=id_.format(_uuid(hexed.format("m.queued_at + 1000"), random)),
        receipt_id=id_.format(_uuid(hexed.format("m.accepted_at"), random)),
        campaign=id_.format(":campaign"),
        kind="CAST(:kind AS text)",
        sender="CAST(:sender AS text)",
        owner=id_.format(":owner"),
        fingerprint=_BLOB[tongue].format(f"substr({random}, 1, 16)"),
        mid=f"'wamid.' || {random}",
        fate=fate,
        status=status,
        took=took,
        unsent=f"({status} IN ('queued', 'expired', 'suppressed', 'cancelled', 'superseded'))",
        ended=f"({status} <> 'queued')",
        at=_BEGAN,
    )


def _uuid(instant: str, random: str) -> str:
    """A UUIDv7 of that many milliseconds, as hyphenated text."""
    return (
        f"(SELECT substr(i, 1, 8) || '-' || substr(i, 9, 4) || '-7' || substr(r, 1, 3) || '-8' || substr(r, 4, 3)"
        f" || '-' || substr(r, 7, 12) FROM (SELECT {instant} AS i, {random} AS r) AS u)"
    )


def main() -> None:
    """Fill the database that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url")
    parser.add_argument("--messages", type=int, default=10_000_000)
    options = parser.parse_args()
    began = time.perf_counter()
    database = Database(options.url)
    migrate(database)
    fill(database, options.messages)
    sys.stdout.write(f"{options.messages:,} messages in {time.perf_counter() - began:.0f} s\n")
    database.close()


if __name__ == "__main__":
    main()
