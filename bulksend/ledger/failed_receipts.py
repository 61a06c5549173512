"""Receipts that say ``failed`` with a code, until what their code asks for is done: once for each of them."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select, text, update

from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import among, prefer_indexes
from bulksend.ledger.schema import NOT_ACTED_SQL, messages, receipts


class FailedReceipt(NamedTuple):
    """A receipt of which the message is known."""

    id: str
    code: str
    at: int
    message: str
    campaign_id: str
    sender: str
    recipient: str


def take(tx: Connection, limit: int) -> list[FailedReceipt]:
    """The oldest ones that nothing was done about; they are done when this transaction commits."""
    prefer_indexes(tx)
    found = tx.execute(
        select(receipts.c.id, receipts.c.code, receipts.c.at, receipts.c.message_pk)
        .where(text(NOT_ACTED_SQL))
        .order_by(receipts.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if not found:
        return []
    acted = update(receipts).where(among(tx, receipts.c.id, [str(row.id) for row in found]))
    tx.execute(acted.values(acted_at=current_ms()))
    told = tx.execute(
        select(messages.c.id, messages.c.campaign_id, messages.c.sender, messages.c.recipient).where(
            among(tx, messages.c.id, [str(row.message_pk) for row in found])
        )
    )
    known = {str(row.id): row for row in told}
    return [
        FailedReceipt(str(row.id), row.code, row.at, message, str(of.campaign_id), of.sender, of.recipient)
        for row in found
        if (of := known.get(message := str(row.message_pk))) is not None
    ]
