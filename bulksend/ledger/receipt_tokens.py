"""Tokens of the address to which the vendor sends receipts. Only a hash of each token is stored."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from bulksend.ledger import operator_log, revocation
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import first
from bulksend.ledger.schema import receipt_tokens


@dataclass(frozen=True, slots=True)
class ReceiptToken:
    """A token as stored. ``ips`` are addresses and networks separated by commas, empty: all. Instants in ms."""

    id: str
    name: str
    hash: bytes
    ips: str
    created_at: int
    created_by: str
    revoked_at: int | None


def add(tx: Connection, *, id: str, name: str, hash: bytes, ips: str, actor: str) -> None:
    """Store a new token, on record."""
    tx.execute(
        insert(receipt_tokens).values(
            id=id,
            name=storable(name, 100),
            hash=hash,
            ips=ips,
            created_at=current_ms(),
            created_by=storable(actor, 100),
        )
    )
    operator_log.record(tx, actor=actor, act="add", scope="token", subject=id, why=name)


def get(tx: Connection, id: str) -> ReceiptToken | None:
    """One token; None where there is none of that id."""
    return first(tx, select(receipt_tokens).where(receipt_tokens.c.id == id), ReceiptToken)


def all_tokens(tx: Connection) -> list[ReceiptToken]:
    """Every token, the oldest first."""
    order = receipt_tokens.c.created_at, receipt_tokens.c.id
    return [ReceiptToken(**row) for row in tx.execute(select(receipt_tokens).order_by(*order)).mappings()]


def revoke(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """Revoke a token, on record; returns whether it was live."""
    return revocation.revoke(tx, receipt_tokens, id, scope="token", actor=actor, why=why)
