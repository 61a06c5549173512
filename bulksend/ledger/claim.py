"""Claim: a worker takes waiting messages under its lease, hundreds in one statement.

The statement moves only rows that are still waiting, so a duplicate job and a second worker find nothing to take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from bulksend.ledger.bulk_parameters import IDS, bound, named, statement
from bulksend.ledger.clock import now_sql
from bulksend.ledger.schema import HELD_SQL
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


# Ids come back as text: a UUID object for each would cost as much as the rest of its row.
_CLAIM = """
UPDATE messages SET status = 'claimed', owner = :lease, gate = NULL, gate_until = NULL
WHERE {picked}
    SELECT m.id FROM {named}
    WHERE ((m.status IN ('queued', 'retry') AND m.due_at <= {now})
           OR (m.status = 'claimed' AND m.owner = :lease))
      AND EXISTS (SELECT 1 FROM campaigns c WHERE c.id = m.campaign_id AND c.status IN ('intake', 'running')
                  AND (c.held_after IS NULL OR m.id <= c.held_after))
      AND NOT EXISTS (SELECT 1 FROM senders s WHERE s.phone = m.sender AND s.paused_at IS NOT NULL)
      AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = :account AND a.paused_at IS NOT NULL)
    {end}
AND (status IN ('queued', 'retry') OR (status = 'claimed' AND owner = :lease)) IS TRUE
AND EXISTS (SELECT 1 FROM workers w WHERE w.id = :lease AND w.lease_until > {now} AND w.ended_at IS NULL)
RETURNING CAST(id AS text), CAST(campaign_id AS text), kind, sender, recipient, type, payload, due_at, expires_at,
          queued_at, attempts, tries, waits, expires_at - {now} AS left_ms
"""
#: How the picked ids are compared, and the end of that clause. PostgreSQL turns IN into a join; where statistics say
#: that no row waits, it repeats the whole lookup for each row: 30 s for 1,100. An array is built once.
_PICKED = {
    "sqlite": ("id IN (", ")"),
    "postgresql": ("id = ANY(ARRAY(", "FOR UPDATE OF m SKIP LOCKED))"),
}


def claim(tx: Connection, ids: Sequence[str], *, lease: str, account: str) -> list[Claimed]:
    """Claim those of ``ids`` that wait, are due, and are neither paused nor held by a canary.

    Nothing is claimed under a lapsed lease. Messages that this lease has claimed already are returned again, so that a
    COMMIT whose answer was lost can be repeated; the caller leaves out the ids that it has in flight.
    """
    if not ids:
        return []
    picked, end = _PICKED[tx.dialect.name]
    sql = _CLAIM.format(picked=picked, named=named(tx), now=now_sql(tx), end=end)
    rows = tx.execute(
        statement(sql), bound(tx, IDS, [(id,) for id in ids]) | {"lease": lease, "account": account}
    )
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
        for id, campaign, kind, sender, recipient, type, payload, *rest in rows
    ]
    claimed.sort(key=lambda m: (m.due_at, m.id))
    return claimed


_CLAIMED_UNDER = f"SELECT id FROM messages WHERE owner = :lease AND status = 'claimed' AND {HELD_SQL}"  # noqa: S608


def claimed_under(tx: Connection, lease: str) -> set[str]:
    """The ids that this lease has claimed and has not opened: its worker should have them in flight."""
    return {str(id) for id in tx.execute(statement(_CLAIMED_UNDER), {"lease": lease}).scalars()}
