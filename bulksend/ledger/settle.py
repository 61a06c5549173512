"""Settle: close attempts and move their messages on, hundreds at a time.

A result is the truth about its attempt whenever it comes, also after a rescue took the message for unknown.
Every function may be repeated after a COMMIT whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, update

from bulksend.ledger.bulk_parameters import IDS, bound, named, statement, storable, table
from bulksend.ledger.campaigns import reopen
from bulksend.ledger.clock import now_sql
from bulksend.ledger.database import rows_changed
from bulksend.ledger.endings import WIPED_PAYLOAD, WORKER_LOST, apply_evidence
from bulksend.ledger.schema import messages
from bulksend.messaging.outcome import Accepted, Evidence, NotSent, Outcome, Refused, Throttled, Unknown
from bulksend.messaging.states import Status


class Settlement(NamedTuple):
    """How an attempt ended, and what follows for its message by ``decide``."""

    message: str
    attempt_id: str
    outcome: Outcome
    evidence: Evidence
    latency_ms: float | None
    status: Status
    due_at: int | None
    tries: int
    waits: int
    error: str
    payload: bytes | None = None
    """The encrypted content of a code in flight. A message that waits again gets it back if a rescue wiped it."""


_COLUMNS = {
    "id": "uuid",
    "attempt_id": "uuid",
    "outcome": "text",
    "status": "text",
    "ended": "boolean",
    "due_at": "bigint",
    "tries": "integer",
    "waits": "integer",
    "error": "text",
    "message_id": "text",
    "request_id": "text",
    "ret_code": "integer",
    "attempt_error": "text",
    "http_status": "integer",
    "whatsapp_code": "integer",
    "vendor_message": "text",
    "latency_ms": "double precision",
    "bytes_sent": "boolean",
    "reply_began": "boolean",
}
# A worker's result replaces a rescue's, also when both are unknown: ``leases.reap`` clears only attempts with the error
# of a lost worker.
_CLOSE = f"""
UPDATE attempts SET outcome = p.outcome, finished_at = {{now}}, http_status = p.http_status,
    ret_code = p.ret_code, whatsapp_code = p.whatsapp_code, vendor_message = p.vendor_message,
    request_id = p.request_id, message_id = p.message_id, latency_ms = p.latency_ms,
    bytes_sent = p.bytes_sent, reply_began = p.reply_began, error = p.attempt_error
FROM {{rows}} WHERE attempts.id = p.attempt_id AND (attempts.outcome IS NULL
  OR (attempts.outcome = 'unknown' AND (p.outcome <> 'unknown' OR attempts.error = '{WORKER_LOST}')))
"""  # noqa: S608 - our own words
# A code that a rescue has wiped cannot be sent again unless its worker still has it (``_restore_payloads``); a result
# from the spool does not bring it, since the spool holds no content.
_WIPED = "(NOT p.ended AND messages.payload IS NULL)"
_SETTLE = f"""
UPDATE messages SET owner = NULL, gate = NULL, gate_until = NULL,
    status = CASE WHEN {_WIPED} THEN 'failed' ELSE p.status END,
    due_at = COALESCE(p.due_at, messages.due_at), tries = p.tries, waits = p.waits,
    error = CASE WHEN {_WIPED} THEN 'its content was wiped when its worker was lost: ' ELSE '' END || p.error,
    message_id = COALESCE(p.message_id, messages.message_id),
    request_id = COALESCE(p.request_id, messages.request_id), ret_code = p.ret_code,
    accepted_at = CASE WHEN p.status = 'accepted' THEN {{now}} ELSE messages.accepted_at END,
    ended_at = CASE WHEN p.ended OR {_WIPED} THEN {{now}} ELSE NULL END,
    payload = CASE WHEN p.ended THEN {WIPED_PAYLOAD} ELSE messages.payload END
FROM {{rows}} WHERE messages.id = p.id AND messages.attempt_id = p.attempt_id
  AND messages.status IN ('sending', 'unknown')
"""  # noqa: S608 - our own words


#: An answer that names the message after a rescue has moved it on: receipts then find it.
_NAME = """
UPDATE messages SET message_id = p.message_id, request_id = COALESCE(p.request_id, messages.request_id)
FROM {rows} WHERE messages.id = p.id AND messages.attempt_id = p.attempt_id
  AND messages.message_id IS NULL AND p.message_id IS NOT NULL AND p.outcome = 'unknown'
"""


#: Marks the answer of an attempt that came after a later attempt had begun, so that receipts find it by its MessageId.
_MARK_EARLIER = """
UPDATE attempts SET error = 'its answer came after a later attempt had begun'
FROM {rows} WHERE attempts.id = p.attempt_id AND attempts.outcome = 'accepted' AND attempts.error IS NULL
  AND EXISTS (SELECT 1 FROM messages m WHERE m.id = p.id AND m.attempt_id <> p.attempt_id)
"""


_RESTORE_PAYLOAD = (
    update(messages)
    .where(
        messages.c.id == bindparam("of"),
        messages.c.attempt_id == bindparam("attempt"),
        messages.c.status == Status.UNKNOWN.value,
        messages.c.payload.is_(None),
        # A person who was forgotten meanwhile is not written to.
        messages.c.recipient != "",
    )
    .values(payload=bindparam("encrypted"))
)


def _restore_payloads(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Give messages that a rescue wiped, and that were surely not sent, their encrypted content back."""
    wiped = [
        {"of": s.message, "attempt": s.attempt_id, "encrypted": s.payload}
        for s in settlements
        if s.payload is not None and s.status not in _ENDING
    ]
    if wiped:
        tx.execute(_RESTORE_PAYLOAD, wiped)


_SETTLE_AT_ONCE = """
WITH settled AS ({settled} RETURNING p.*), closed AS ({closed}) SELECT CAST(attempt_id AS text) FROM settled
"""


def settle_in_one_statement(tx: Connection, settlements: Sequence[Settlement]) -> frozenset[str]:
    """``settle`` as one statement without a transaction, for accepted messages that are where their worker left them.

    Returns the ids of the attempts that are settled now; call ``settle`` for the others, of which nothing was changed.
    Settles none unless all were accepted. Not for SQLite, which writes to one table in a statement.
    """
    if any(s.status is not Status.ACCEPTED for s in settlements):
        return frozenset()
    now = now_sql(tx)
    settled = _SETTLE.format(now=now, rows=table(tx, _COLUMNS))
    closed = _CLOSE.format(now=now, rows="settled AS p")
    sql = _SETTLE_AT_ONCE.format(settled=settled, closed=closed)
    return frozenset(tx.execute(statement(sql), bound(tx, _COLUMNS, [*map(_row, settlements)])).scalars())


def settle(tx: Connection, settlements: Sequence[Settlement]) -> None:
    """Close attempts and move their messages on, under any lease."""
    if not settlements:
        return
    rows, now = table(tx, _COLUMNS), now_sql(tx)
    parameters = bound(tx, _COLUMNS, [*map(_row, settlements)])
    tx.execute(statement(_CLOSE.format(now=now, rows=rows)), parameters)
    _restore_payloads(tx, settlements)
    moved = rows_changed(tx, statement(_SETTLE.format(now=now, rows=rows)), parameters)
    if moved < len(settlements):
        tx.execute(statement(_NAME.format(rows=rows)), parameters)
        tx.execute(statement(_MARK_EARLIER.format(rows=rows)), parameters)
    if moved < len(settlements) or any(s.status is not Status.ACCEPTED for s in settlements):
        ids = [s.message for s in settlements]
        apply_evidence(tx, ids)
        _reopen_campaigns(tx, ids)


_WAITING_AGAIN = """
SELECT DISTINCT CAST(m.campaign_id AS text) FROM {named}
WHERE m.status IN ('queued', 'retry')
"""


def _reopen_campaigns(tx: Connection, ids: Sequence[str]) -> None:
    """A finished campaign runs again when one of its unknown messages waits again."""
    sql = _WAITING_AGAIN.format(named=named(tx))
    found = tx.execute(statement(sql), bound(tx, IDS, [(id,) for id in ids])).scalars().all()
    if found:
        reopen(tx, found)


_OUTCOME_NAMES: dict[type, str] = {
    Accepted: "accepted",
    Refused: "refused",
    NotSent: "not_sent",
    Throttled: "throttled",
    Unknown: "unknown",
}


def outcome_name(outcome: Outcome) -> str:
    """The outcome's name in the ledger and in the interface."""
    return _OUTCOME_NAMES[type(outcome)]


_ENDING = {Status.ACCEPTED, Status.FAILED, Status.EXPIRED, Status.UNKNOWN}


def _row(s: Settlement) -> tuple[object, ...]:
    """The values of ``_COLUMNS``."""
    e = s.evidence
    accepted = s.outcome if isinstance(s.outcome, Accepted) else None
    why = "" if isinstance(s.outcome, Accepted) else s.outcome.why
    return (
        s.message,
        s.attempt_id,
        outcome_name(s.outcome),
        s.status.value,
        s.status in _ENDING,
        s.due_at,
        s.tries,
        s.waits,
        storable(s.error, 500) or None,
        # An unclear answer may name a MessageId; a receipt for it then decides.
        (accepted.message_id if accepted else e.message_id)[:256] or None,
        (accepted.request_id if accepted else e.request_id)[:256] or None,
        e.ret_code,
        storable(f"{why} ({e.error})" if why and e.error not in why else why or e.error, 500) or None,
        e.http_status,
        e.whatsapp_code,
        storable(e.vendor_message, 500) or None,
        s.latency_ms,
        e.bytes_sent,
        e.reply_began,
    )
