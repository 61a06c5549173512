"""Receipts: what the vendor reports later about a message. They only raise a status.

A receipt may come before the reply to its own POST, twice, out of order, or for a message that is not in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, literal, select

from bulksend.ledger.bulk_parameters import bound, statement, storable, table
from bulksend.ledger.clock import current_ms, now_sql
from bulksend.ledger.database import among, insert_if_new, rows_changed
from bulksend.ledger.endings import WIPED_PAYLOAD, apply_evidence, listed
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import messages, receipts
from bulksend.messaging.states import UNSENT, WAITING, Status

STATUSES = ("sent", "delivered", "read", "failed")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One status callback: the vendor's MessageId, one of STATUSES, when by the vendor's clock (ms)."""

    message_id: str
    status: str
    at: int
    code: str = ""
    why: str = ""


def take(tx: Connection, incoming: Sequence[Receipt]) -> int:
    """Store each receipt once and apply it to its message. Returns how many were new."""
    if not incoming:
        return 0
    now = tx.execute(select(current_ms())).scalar_one()
    rows = [
        {
            "id": new_id(),
            "message_id": storable(r.message_id, 256),
            "message_pk": None,
            "status": r.status,
            "at": r.at,
            "received_at": now,
            "code": storable(r.code, 20),
            "why": storable(r.why, 500),
        }
        for r in incoming
    ]
    added = rows_changed(tx, insert_if_new(tx, receipts).values(rows))
    match(tx, sorted({storable(r.message_id, 256) for r in incoming}))
    return added


def match(tx: Connection, message_ids: Sequence[str]) -> int:
    """Apply the stored receipts of these MessageIds to their messages. Returns how many messages matched.

    A message that is being sent again is left out until that attempt ends.
    """
    found = tx.execute(
        select(messages.c.id, messages.c.message_id)
        .where(among(tx, messages.c.message_id, message_ids), messages.c.status != Status.SENDING.value)
        # Two transactions with receipts of one message take turns: each must see what the other stored.
        .order_by(messages.c.id)
        .with_for_update()
    ).all()
    if found:
        newest = {str(id): message_id for id, message_id in found}
        sql = _MATCH.format(rows=table(tx, _MATCH_COLUMNS))
        tx.execute(statement(sql), bound(tx, _MATCH_COLUMNS, list(newest.items())))
        _apply(tx, newest)
    return len(found)


_MATCH_COLUMNS = {"id": "uuid", "message_id": "text"}
_MATCH = """
UPDATE receipts SET message_pk = p.id FROM {rows}
WHERE receipts.message_id = p.message_id AND receipts.message_pk IS NULL
"""


def match_orphans(tx: Connection, limit: int = 1000) -> int:
    """Match receipts that came before the MessageId of their message was stored."""
    # A subquery and not a join: one lookup in the index for each receipt, with any statistics.
    is_known = (
        select(literal(1))
        .where(messages.c.message_id == receipts.c.message_id, messages.c.status != Status.SENDING.value)
        .limit(1)
        .correlate(receipts)
        .scalar_subquery()
    )
    orphans = tx.execute(
        select(receipts.c.message_id)
        .where(receipts.c.message_pk.is_(None), is_known.is_not(None))
        .distinct()
        .limit(limit)
    )
    found = orphans.scalars().all()
    return match(tx, found) if found else 0


#: The statuses that each one may raise: evidence outranks every earlier status but ``sending``. A failure concerns only
#: its own attempt, so a message that waits for the next one goes on waiting.
_BY_EVIDENCE = WAITING | UNSENT | {Status.CLAIMED, Status.UNKNOWN}
_RAISES: dict[Status, frozenset[Status]] = {
    Status.ACCEPTED: _BY_EVIDENCE,
    Status.FAILED: UNSENT - {Status.FAILED} | {Status.UNKNOWN, Status.ACCEPTED},
    Status.DELIVERED: _BY_EVIDENCE | {Status.ACCEPTED},
    Status.READ: _BY_EVIDENCE | {Status.ACCEPTED, Status.DELIVERED},
}


def _raised(target: Status) -> str:
    return f"(p.target = '{target}' AND messages.status IN ({listed(_RAISES[target])}))"


_APPLY_COLUMNS = {
    "id": "uuid",
    "target": "text",
    "delivered_at": "bigint",
    "read_at": "bigint",
    "error": "text",
}
_RAISED = f"({' OR '.join(_raised(target) for target in _RAISES)})"
#: The earliest times of its receipts, also where a later receipt has raised it higher.
_NOTED = "p.target IN ('delivered', 'read')"
_APPLY = f"""
UPDATE messages SET
    delivered_at = CASE WHEN {_NOTED} THEN p.delivered_at ELSE messages.delivered_at END,
    read_at = CASE WHEN {_NOTED} THEN COALESCE(p.read_at, messages.read_at) ELSE messages.read_at END,
    status = CASE WHEN {_RAISED} THEN p.target ELSE messages.status END,
    payload = CASE WHEN {_RAISED} THEN {WIPED_PAYLOAD} ELSE messages.payload END,
    owner = CASE WHEN {_RAISED} THEN NULL ELSE messages.owner END,
    gate = CASE WHEN {_RAISED} THEN NULL ELSE messages.gate END,
    gate_until = CASE WHEN {_RAISED} THEN NULL ELSE messages.gate_until END,
    accepted_at = CASE WHEN {_RAISED} THEN COALESCE(messages.accepted_at, {{now}}) ELSE messages.accepted_at END,
    ended_at = CASE WHEN {_RAISED} THEN COALESCE(messages.ended_at, {{now}}) ELSE messages.ended_at END,
    error = CASE WHEN {_RAISED} THEN p.error ELSE messages.error END
FROM {{rows}} WHERE messages.id = p.id AND messages.status <> 'sending' AND ({_NOTED} OR {_RAISED})
"""  # noqa: S608 - our own words


def _apply(tx: Connection, newest: Mapping[str, str]) -> None:
    """Raise messages, id -> newest MessageId, to the status that all their receipts give them."""
    rows = tx.execute(
        select(
            receipts.c.message_pk,
            receipts.c.status,
            receipts.c.at,
            receipts.c.message_id,
            receipts.c.code,
            receipts.c.why,
        )
        .where(among(tx, receipts.c.message_pk, list(newest)))
        .order_by(receipts.c.at.desc())
    ).all()
    told: dict[str, list[Any]] = {id: [] for id in newest}
    for row in rows:
        told[str(row.message_pk)].append(row)
    sql = _APPLY.format(rows=table(tx, _APPLY_COLUMNS), now=now_sql(tx))
    says = [(id, *_together(told[id], message_id)) for id, message_id in newest.items()]
    tx.execute(statement(sql), bound(tx, _APPLY_COLUMNS, says))
    failed = [id for id, target, *_ in says if target == Status.FAILED.value]
    if failed:
        # Another attempt may still have been sent.
        apply_evidence(tx, failed)


def _together(rows: Sequence[Any], message_id: str) -> tuple[str, int | None, int | None, str | None]:
    """Status, earliest times of delivery and reading, and error by receipts, the latest first.

    Read outranks delivered, which outranks failed, which outranks accepted.
    """
    first = {row.status: row.at for row in rows}
    delivered_at, read_at = first.get("delivered", first.get("read")), first.get("read")
    # A failure of an earlier attempt does not concern the newest one; a reading does.
    failure = next((row for row in rows if row.status == "failed" and row.message_id == message_id), None)
    if read_at is not None:
        return Status.READ.value, delivered_at, read_at, None
    if delivered_at is not None:
        return Status.DELIVERED.value, delivered_at, read_at, None
    if failure is not None:
        return Status.FAILED.value, None, None, f"receipt: {failure.code} {failure.why}".strip()[:500]
    return Status.ACCEPTED.value, None, None, None
