"""Keys of programs that use the HTTP API. Only a hash of each key is stored."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from bulksend.ledger import operator_log, revocation
from bulksend.ledger.bulk_parameters import storable
from bulksend.ledger.clock import current_ms
from bulksend.ledger.database import first
from bulksend.ledger.schema import api_keys
from bulksend.messaging.units import format_instant


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored. ``kinds`` and ``senders`` are separated by commas, empty: all. Instants in ms."""

    id: str
    name: str
    hash: bytes
    role: str
    kinds: str
    senders: str
    created_at: int
    created_by: str
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None
    last_ip: str | None

    def is_live(self, now_ms: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now_ms < self.expires_at)


def add(
    tx: Connection,
    *,
    id: str,
    name: str,
    hash: bytes,
    role: str,
    kinds: str,
    senders: str,
    expires_at: int | None,
    actor: str,
) -> None:
    """Store a new key, on record."""
    tx.execute(
        insert(api_keys).values(
            id=id,
            name=storable(name, 100),
            hash=hash,
            role=role,
            kinds=kinds,
            senders=senders,
            created_at=current_ms(),
            created_by=storable(actor, 100),
            expires_at=expires_at,
        )
    )
    expires = None if expires_at is None else format_instant(expires_at)
    operator_log.record(
        tx,
        actor=actor,
        act="add",
        scope="key",
        subject=id,
        why=f"{name}, {role}",
        after={"name": name, "role": role, "kinds": kinds, "senders": senders, "expires_at": expires},
    )


def get(tx: Connection, id: str) -> ApiKey | None:
    """One key; None where there is none of that id."""
    return first(tx, select(api_keys).where(api_keys.c.id == id), ApiKey)


def all_keys(tx: Connection) -> list[ApiKey]:
    """Every key, the oldest first."""
    rows = tx.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id)).mappings()
    return [ApiKey(**row) for row in rows]


def revoke(tx: Connection, id: str, *, actor: str, why: str) -> bool:
    """Revoke a key, on record; returns whether it was live."""
    return revocation.revoke(tx, api_keys, id, scope="key", actor=actor, why=why)


def note_use(tx: Connection, id: str, ip: str | None) -> None:
    """The key is used now, from this address."""
    tx.execute(update(api_keys).where(api_keys.c.id == id).values(last_used_at=current_ms(), last_ip=ip))
