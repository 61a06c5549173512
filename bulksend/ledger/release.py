"""What becomes of a claimed message that is not sent: it is released to the queue, or it ends.

Every statement names the lease that must still hold the message. Every function may be repeated after a COMMIT whose
answer was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from bulksend.ledger.bulk_parameters import IDS, bound, statement, storable, table
from bulksend.ledger.clock import now_sql
from bulksend.ledger.endings import ENDED, ending_error, ending_status
from bulksend.ledger.in_flight import drop_claims, held
from bulksend.messaging.states import Status

#: The lease holds the message ``p``, which still waits. IS TRUE: PostgreSQL looks it up by its key.
_HELD = "messages.id = p.id AND (messages.status IN ('queued', 'retry')) IS TRUE AND f.owner = :lease"
_CLAIMED = f"{_HELD} AND f.attempt_id IS NULL"


class Release(NamedTuple):
    """A claimed message that waits again, unsent. ``due_at`` 0 leaves its due time; ``gate`` says why it waits."""

    id: str
    due_at: int
    gate: str | None
    gate_until: int | None


_RELEASE = f"""
UPDATE messages SET
    -- A later due time makes a new job for the relay, which then need not wait until the earlier one counts as lost.
    due_at = CASE WHEN p.due_at > messages.due_at THEN p.due_at ELSE messages.due_at + 1 END,
    gate = p.gate, gate_until = p.gate_until
FROM {{held}} WHERE {_CLAIMED}
"""  # noqa: S608 - our own words


def release(tx: Connection, releases: Sequence[Release], *, lease: str) -> None:
    """Return claimed messages to the queue, because of a gate or because the worker stops. Costs no try."""
    if releases:
        columns = {"id": "uuid", "due_at": "bigint", "gate": "text", "gate_until": "bigint"}
        sql = _RELEASE.format(held=held(tx, table(tx, columns)))
        rows = [(r.id, r.due_at, r.gate, r.gate_until) for r in releases]
        tx.execute(statement(sql), bound(tx, columns, rows) | {"lease": lease})
        drop_claims(tx, lease, [r.id for r in releases])


_END = f"""
UPDATE messages SET status = {ending_status(":status")}, error = {ending_error("p.error")}, {ENDED}
FROM {{held}} WHERE {_CLAIMED}
"""  # noqa: S608 - our own words


def end_claimed(tx: Connection, ended: Sequence[tuple[str, str]], status: Status, lease: str) -> None:
    """End claimed messages, (id, why), as ``status``, or as ``ending_status`` says."""
    if ended:
        columns = {"id": "uuid", "error": "text"}
        sql = _END.format(now=now_sql(tx), held=held(tx, table(tx, columns)))
        rows = bound(tx, columns, [(id, storable(why, 500)) for id, why in ended])
        tx.execute(statement(sql), rows | {"status": status.value, "lease": lease})
        drop_claims(tx, lease, [id for id, _ in ended])


_EXPIRE = f"""
UPDATE messages SET status = {ending_status("'expired'")},
    error = {ending_error("'its time to live passed before it could be sent'")}, {ENDED}
FROM {{held}} WHERE {_HELD} AND messages.expires_at <= {{now}}
RETURNING messages.id
"""  # noqa: S608 - our own words


def expire_unposted(tx: Connection, ids: Sequence[str], *, lease: str) -> list[str]:
    """End those of the lease's messages whose time to live has passed by the database's clock.

    Also where an attempt is open: none of them was POSTed.
    """
    if not ids:
        return []
    sql = _EXPIRE.format(now=now_sql(tx), held=held(tx, table(tx, IDS)))
    rows = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in ids]) | {"lease": lease})
    return [str(id) for id in rows.scalars()]
