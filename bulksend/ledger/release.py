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
from bulksend.messaging.states import Status

#: The lease holds the message, and no attempt is open. For ``IS TRUE`` see write_ahead.py.
_CLAIMED = "(messages.owner = :lease AND messages.status = 'claimed') IS TRUE"


class Release(NamedTuple):
    """A claimed message that waits again, unsent. ``due_at`` 0 leaves its due time; ``gate`` says why it waits."""

    id: str
    due_at: int
    gate: str | None
    gate_until: int | None


_RELEASE = f"""
UPDATE messages SET status = CASE WHEN attempts > 0 THEN 'retry' ELSE 'queued' END, owner = NULL,
    -- A later due time makes a new job for the relay, which then need not wait until the earlier one counts as lost.
    due_at = CASE WHEN p.due_at > messages.due_at THEN p.due_at ELSE messages.due_at + 1 END,
    gate = p.gate, gate_until = p.gate_until
FROM {{rows}} WHERE messages.id = p.id AND {_CLAIMED}
"""  # noqa: S608 - our own words


def release(tx: Connection, releases: Sequence[Release], *, lease: str) -> None:
    """Return claimed messages to the queue, because of a gate or because the worker stops. Costs no try."""
    if releases:
        columns = {"id": "uuid", "due_at": "bigint", "gate": "text", "gate_until": "bigint"}
        sql = _RELEASE.format(rows=table(tx, columns))
        rows = [(r.id, r.due_at, r.gate, r.gate_until) for r in releases]
        tx.execute(statement(sql), bound(tx, columns, rows) | {"lease": lease})


_END = f"""
UPDATE messages SET status = {ending_status(":status")}, error = {ending_error("p.error")}, {ENDED}
FROM {{rows}} WHERE messages.id = p.id AND {_CLAIMED}
"""  # noqa: S608 - our own words


def end_claimed(tx: Connection, ended: Sequence[tuple[str, str]], status: Status, lease: str) -> None:
    """End claimed messages, (id, why), as ``status``, or as ``ending_status`` says."""
    if ended:
        columns = {"id": "uuid", "error": "text"}
        sql = _END.format(now=now_sql(tx), rows=table(tx, columns))
        rows = bound(tx, columns, [(id, storable(why, 500)) for id, why in ended])
        tx.execute(statement(sql), rows | {"status": status.value, "lease": lease})


def fail_claimed(tx: Connection, failures: Sequence[tuple[str, str]], *, lease: str) -> None:
    """End messages that cannot be rendered or decrypted, (id, why), as failed."""
    end_claimed(tx, failures, Status.FAILED, lease)


#: End what is ``{held}`` and past its time to live.
EXPIRE = f"""
UPDATE messages SET status = {ending_status("'expired'")},
    error = {ending_error("'its time to live passed before it could be sent'")}, {ENDED}
FROM {{rows}} WHERE messages.id = p.id AND {{held}} AND messages.expires_at <= {{now}}
RETURNING messages.id
"""  # noqa: S608 - our own words


def expire_claimed(tx: Connection, ids: Sequence[str], *, lease: str) -> list[str]:
    """End those of the claimed messages whose time to live has passed by the database's clock."""
    if not ids:
        return []
    sql = EXPIRE.format(now=now_sql(tx), rows=table(tx, IDS), held=_CLAIMED)
    rows = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in ids]) | {"lease": lease})
    return [str(id) for id in rows.scalars()]
