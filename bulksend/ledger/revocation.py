"""Revoking what has a secret: keys of programs and tokens of receipts."""

from __future__ import annotations

from sqlalchemy import Connection, Table, update

from bulksend.ledger import operator_log
from bulksend.ledger.clock import current_ms


def revoke(tx: Connection, table: Table, id: str, *, scope: str, actor: str, why: str) -> bool:
    """Revoke the row of this id, on record; returns whether it was live. ``scope`` is its name in the operator log."""
    change = (
        update(table).where(table.c.id == id, table.c.revoked_at.is_(None)).values(revoked_at=current_ms())
    )
    return operator_log.apply(
        tx,
        change,
        actor=actor,
        act="revoke",
        scope=scope,
        subject=id,
        why=why,
        before={"revoked": False},
        after={"revoked": True},
    )
