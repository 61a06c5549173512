"""The operator log: who did what to which campaign, message, sender, account or number, and why."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Update, insert, select

from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms
from bulksend.ledger.ids import new_id
from bulksend.ledger.schema import acts


@dataclass(frozen=True, slots=True)
class Act:
    """One entry. ``scope`` is campaign, message, sender, account or suppression."""

    at: int
    actor: str
    act: str
    scope: str
    subject: str
    why: str


def apply(
    tx: Connection, change: Update, *, actor: str, act: str, scope: str, subject: str, why: str
) -> bool:
    """Run an act that is one statement, and record it where it changed a row. Returns whether it did."""
    changed = tx.execute(change).rowcount > 0
    if changed:
        record(tx, actor=actor, act=act, scope=scope, subject=subject, why=why)
    return changed


def record(tx: Connection, *, actor: str, act: str, scope: str, subject: str, why: str) -> None:
    """Add an entry, in the transaction of the act itself."""
    tx.execute(
        insert(acts).values(
            id=new_id(),
            at=current_ms(),
            actor=storable(actor, 100),
            act=act,
            scope=scope,
            subject=subject,
            why=storable(why, 500),
        )
    )


def of(tx: Connection, scope: str, subject: str) -> list[Act]:
    """The entries of one subject, oldest first."""
    rows = tx.execute(
        select(acts.c.at, acts.c.actor, acts.c.act, acts.c.scope, acts.c.subject, acts.c.why)
        .where(acts.c.scope == scope, acts.c.subject == subject)
        .order_by(acts.c.id)
    )
    return [Act(*row) for row in rows]
