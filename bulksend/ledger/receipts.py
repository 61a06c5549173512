"""Receipts: what the vendor says later of a message it took. They only ever raise a status.

A receipt may come before the answer to its own send, twice, out of order, or for a message nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select, update

from bulksend.ledger.database import among, db_now, insert_if_new, rows_changed
from bulksend.ledger.ids import new_id
from bulksend.ledger.messages import wiped_payload
from bulksend.ledger.rowsets import storable
from bulksend.ledger.schema import messages, receipts
from bulksend.messaging.states import Status

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
    """Store receipts once each and apply them to the messages they speak of; says how many were new."""
    if not incoming:
        return 0
    now = tx.execute(select(db_now())).scalar_one()
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
    """Apply the receipts of these MessageIds to the messages that are known by now; says how many matched.

    One that is being sent again at this moment has to wait for that attempt's end.
    """
    found = tx.execute(
        select(messages.c.id, messages.c.message_id).where(
            among(tx, messages.c.message_id, message_ids), messages.c.status != Status.SENDING.value
        )
    ).all()
    for id, message_id in found:
        tx.execute(
            update(receipts)
            .where(receipts.c.message_id == message_id, receipts.c.message_pk.is_(None))
            .values(message_pk=id)
        )
        _apply(tx, str(id), message_id)
    return len(found)


def match_orphans(tx: Connection, limit: int = 1000) -> int:
    """Match receipts that came before their message's own answer was stored."""
    orphans = (
        tx.execute(
            select(receipts.c.message_id)
            .where(receipts.c.message_pk.is_(None))
            .join(
                messages,
                and_(
                    messages.c.message_id == receipts.c.message_id, messages.c.status != Status.SENDING.value
                ),
            )
            .distinct()
            .limit(limit)
        )
        .scalars()
        .all()
    )
    return match(tx, list(orphans)) if orphans else 0


_IN_DOUBT = (Status.UNKNOWN, Status.QUEUED, Status.RETRY, Status.CLAIMED)
#: What each status may raise. A message that waits here does so for a second attempt: none is needed now. One that
#: failed did so by a person's word or by its second attempt: where a receipt said so, ``_apply`` says it again.
_RAISES: dict[Status, tuple[Status, ...]] = {
    Status.ACCEPTED: (*_IN_DOUBT, Status.FAILED),
    Status.FAILED: (Status.UNKNOWN, Status.ACCEPTED),
    Status.DELIVERED: (*_IN_DOUBT, Status.ACCEPTED, Status.FAILED),
    Status.READ: (*_IN_DOUBT, Status.ACCEPTED, Status.FAILED, Status.DELIVERED),
}


def _apply(tx: Connection, id: str, message_id: str) -> None:
    """Raise a message to what its receipts say together: read over delivered over failed over accepted."""
    rows = tx.execute(
        select(receipts.c.status, receipts.c.at, receipts.c.message_id, receipts.c.code, receipts.c.why)
        .where(receipts.c.message_pk == id)
        .order_by(receipts.c.at.desc())
    ).all()
    first = {row.status: row.at for row in rows}
    # That an earlier attempt failed says nothing of the newest; that one was read, all.
    failure = next((row for row in rows if row.status == "failed" and row.message_id == message_id), None)
    if "read" in first:
        target = Status.READ
    elif "delivered" in first:
        target = Status.DELIVERED
    elif failure is not None:
        target = Status.FAILED
    else:
        target = Status.ACCEPTED
    if target in (Status.DELIVERED, Status.READ):
        _note_times(tx, id, first.get("delivered", first.get("read")), first.get("read"))
    raised = {s.value for s in _RAISES[target]}
    tx.execute(
        update(messages)
        .where(messages.c.id == id, messages.c.status.in_(raised))
        .values(
            status=target.value,
            payload=wiped_payload(),
            owner=None,
            gate=None,
            gate_until=None,
            accepted_at=func.coalesce(messages.c.accepted_at, db_now()),
            ended_at=func.coalesce(messages.c.ended_at, db_now()),
            error=f"receipt: {failure.code} {failure.why}".strip()[:500]
            if failure is not None and target is Status.FAILED
            else None,
        )
    )


def _note_times(tx: Connection, id: str, delivered_at: int | None, read_at: int | None) -> None:
    """The earliest that its receipts tell; also where a later receipt has raised it higher already."""
    tx.execute(
        update(messages)
        .where(messages.c.id == id, messages.c.status != Status.SENDING.value)
        .values(delivered_at=delivered_at, read_at=read_at)
    )
