"""Claim: a worker takes waiting messages under its lease, hundreds in one statement.

A message in flight has one row, so a duplicate job and a second worker find nothing to take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from bulksend.ledger.bulk_parameters import IDS, bound, named, statement, table
from bulksend.ledger.clock import now_sql
from bulksend.ledger.in_flight import held
from bulksend.messaging.states import Kind


class Claimed(NamedTuple):
    """A claimed message, with everything that sending it needs. ``payload`` is as stored, possibly encrypted."""

    id: str
    campaign_id: str
    kind: Kind
    sender: str
    recipient: str
    type: str
    payload: bytes | None
    due_at: int
    expires_at: int | None
    queued_at: int
    attempts: int
    tries: int
    waits: int
    left_ms: int | None
    """The rest of its time to live at the claim, by the database's clock."""


# Who claims locks no row of another lease: two claims wait for each other only while both insert, in one order. Without
# ORDER BY the order is that of the plan, which may read the campaigns first.
_TAKE = """
INSERT INTO in_flight (message_pk, owner)
SELECT m.id, {lease} FROM {named}
WHERE m.status IN ('queued', 'retry') AND m.due_at <= {now}
  AND EXISTS (SELECT 1 FROM campaigns c WHERE c.id = m.campaign_id AND c.status IN ('intake', 'running')
              AND (c.held_after IS NULL OR m.id <= c.held_after))
  AND NOT EXISTS (SELECT 1 FROM senders s WHERE s.phone = m.sender AND s.paused_at IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = :account AND a.paused_at IS NOT NULL)
  AND EXISTS (SELECT 1 FROM workers w WHERE w.id = :lease AND w.lease_until > {now} AND w.ended_at IS NULL)
ORDER BY m.id
ON CONFLICT (message_pk) DO NOTHING
"""
#: What the lease holds already, and has not opened.
_HELD = "SELECT f.message_pk FROM {held} WHERE f.owner = :lease AND f.attempt_id IS NULL"
# Ids come back as text: a UUID object for each would cost as much as the rest of its row.
_COLUMNS = """CAST(m.id AS text), CAST(m.campaign_id AS text), m.kind, m.sender, m.recipient, m.type, m.payload,
    m.due_at, m.expires_at, m.queued_at, m.attempts, m.tries, m.waits, m.expires_at - {now} AS left_ms"""
#: Each message by its key, as ``named`` does.
_CLAIM = f"""
WITH taken AS ({_TAKE} RETURNING message_pk), mine AS (SELECT message_pk FROM taken UNION ALL {_HELD})
SELECT {_COLUMNS} FROM mine CROSS JOIN LATERAL (SELECT * FROM messages AS x WHERE x.id = mine.message_pk OFFSET 0) AS m
"""  # noqa: S608 - our own words


def _claim(tx: Connection, ids: Sequence[str], lease: str, account: str) -> Iterable[Any]:
    parts = {"now": now_sql(tx), "named": named(tx), "held": held(tx, table(tx, IDS))}
    rows = bound(tx, IDS, [(id,) for id in sorted(ids)]) | {"lease": lease}
    if tx.dialect.name == "postgresql":
        sql = _CLAIM.format(lease="CAST(:lease AS uuid)", **parts)
        return tx.execute(statement(sql), rows | {"account": account})
    # SQLite inserts in a statement of its own.
    tx.execute(statement(_TAKE.format(lease=":lease", **parts)), rows | {"account": account})
    mine = tx.execute(statement(_HELD.format(**parts)), rows).scalars().all()
    sql = f"SELECT {_COLUMNS} FROM {{named}}"  # noqa: S608 - our own words
    return tx.execute(statement(sql.format(**parts)), bound(tx, IDS, [(id,) for id in mine]))


def claim(tx: Connection, ids: Sequence[str], *, lease: str, account: str) -> list[Claimed]:
    """Claim those of ``ids`` that wait, are due, and are neither paused nor held by a canary.

    Nothing is claimed under a lapsed lease. Messages that this lease has claimed already are returned again, so that a
    COMMIT whose answer was lost can be repeated; the caller leaves out the ids that it has in flight.
    """
    if not ids:
        return []
    claimed = [
        Claimed(
            id,
            campaign,
            Kind(kind),
            sender,
            recipient,
            type,
            None if payload is None else bytes(payload),
            *rest,
        )
        for id, campaign, kind, sender, recipient, type, payload, *rest in _claim(tx, ids, lease, account)
    ]
    claimed.sort(key=lambda m: (m.due_at, m.id))
    return claimed
