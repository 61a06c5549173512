"""Receipts: what the vendor says later of a message it took. They only ever raise a status.

A receipt may come before the answer to its own send, twice, out of order, or for a message nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select, update

from bulksend.ledger.database import among, db_now
from bulksend.ledger.ids import new_id
from bulksend.ledger.messages import wiped_payload
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
            "message_id": r.message_id[:256],
            "message_pk": None,
            "status": r.status,
            "at": r.at,
            "received_at": now,
            "code": r.code[:20],
            "why": r.why[:500],
        }
        for r in incoming
    ]
    if tx.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        statement = sqlite.insert(receipts).values(rows).on_conflict_do_nothing()
        added = tx.execute(statement).rowcount
    else:
        from sqlalchemy.dialects import postgresql

        added = tx.execute(postgresql.insert(receipts).values(rows).on_conflict_do_nothing()).rowcount
    match(tx, sorted({r.message_id[:256] for r in incoming}))
    return added


def match(tx: Connection, message_ids: Sequence[str]) -> int:
    """Apply the receipts of these MessageIds to the messages that are known by now; says how many matched."""
    found = tx.execute(
        select(messages.c.id, messages.c.message_id).where(among(tx, messages.c.message_id, message_ids))
    ).all()
    for id, message_id in found:
        tx.execute(
            update(receipts)
            .where(receipts.c.message_id == message_id, receipts.c.message_pk.is_(None))
            .values(message_pk=id)
        )
        _apply(tx, str(id))
    return len(found)


def match_orphans(tx: Connection, limit: int = 1000) -> int:
    """Match receipts that came before their message's own answer was stored."""
    orphans = (
        tx.execute(
            select(receipts.c.message_id)
            .where(receipts.c.message_pk.is_(None))
            .join(messages, messages.c.message_id == receipts.c.message_id)
            .distinct()
            .limit(limit)
        )
        .scalars()
        .all()
    )
    return match(tx, list(orphans)) if orphans else 0


def _apply(tx: Connection, id: str) -> None:
    """Raise a message to what its receipts say together: read over delivered over failed over accepted."""
    seen: dict[str, int] = dict(
        tx.execute(
            select(receipts.c.status, func.min(receipts.c.at))
            .where(receipts.c.message_pk == id)
            .group_by(receipts.c.status)
        ).all()
    )
    target = (
        Status.READ
        if "read" in seen
        else Status.DELIVERED
        if "delivered" in seen
        else Status.FAILED
        if "failed" in seen
        else Status.ACCEPTED
    )
    failure = tx.execute(
        select(receipts.c.code, receipts.c.why)
        .where(receipts.c.message_pk == id, receipts.c.status == "failed")
        .limit(1)
    ).first()
    movable = ["accepted", "unknown", "delivered", "failed"]
    delivered = seen.get("delivered", seen.get("read"))
    tx.execute(
        update(messages)
        .where(messages.c.id == id, messages.c.status.in_(movable), messages.c.message_id.is_not(None))
        .values(
            status=target.value,
            payload=wiped_payload(),
            owner=None,
            accepted_at=func.coalesce(messages.c.accepted_at, db_now()),
            delivered_at=func.coalesce(messages.c.delivered_at, delivered),
            read_at=func.coalesce(messages.c.read_at, seen.get("read")),
            error=(f"receipt: {failure.code} {failure.why}".strip()[:500] if failure else "receipt: failed")
            if target is Status.FAILED
            else case((messages.c.status.in_(["unknown", "failed"]), None), else_=messages.c.error),
        )
    )
