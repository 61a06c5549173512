"""What all processes of an installation share: named values, among them the limiter's secret and signs of life."""

from __future__ import annotations

import contextlib
import os

from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import DBAPIError

from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database, dialect_insert, insert_if_new
from bulksend.ledger.schema import installation

_LIMITER_KEY = "limiter_hash_key"
_FORGET_MS = 86_400_000


def get(tx: Connection, name: str) -> bytes | None:
    """The value of that name; None where there is none."""
    found = tx.execute(select(installation.c.value).where(installation.c.name == name)).scalar()
    return None if found is None else bytes(found)


def kept(tx: Connection, name: str, first: bytes) -> bytes:
    """The value of that name, which is ``first`` where there was none. Raises RuntimeError where it cannot be read."""
    tx.execute(insert_if_new(tx, installation).values(name=name, value=first))
    value = get(tx, name)
    if value is None:
        raise RuntimeError(f"the value of {name} was inserted and cannot be read")
    return value


def locked(tx: Connection, name: str, first: bytes) -> bytes:
    """The value of that name, which other transactions do not lock or change until the end of this one.

    It is ``first`` where there was none.
    """
    held = select(installation.c.value).where(installation.c.name == name).with_for_update()
    found = tx.execute(held).scalar()
    if found is None:
        kept(tx, name, first)
        found = tx.execute(held).scalar_one()
    return bytes(found)


def put(tx: Connection, name: str, value: bytes) -> None:
    """Set the value of that name."""
    tx.execute(
        dialect_insert(tx, installation)
        .values(name=name, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


def note_alive(tx: Connection, process: str, host: str) -> None:
    """Note that such a process of that host does its work, and forget those that were last seen a day ago."""
    now = read_clock(tx)
    put(tx, _sign(process, host), str(now).encode())
    # Instants of as many digits: their text has their order.
    tx.execute(
        delete(installation).where(
            installation.c.name.startswith(f"{process}:", autoescape=True),
            installation.c.value < str(now - _FORGET_MS).encode(),
        )
    )


def last_alive(tx: Connection, process: str, host: str | None = None) -> int | None:
    """When such a process, of that host or of any, last did its work (ms); None where none did for a day."""
    if host is None:
        return max(signs(tx, process).values(), default=None)
    found = get(tx, _sign(process, host))
    return None if found is None else int(found)


def signs(tx: Connection, process: str) -> dict[str, int]:
    """The hosts on which such a process did its work within a day, each with when it last did (ms)."""
    found = select(installation.c.name, installation.c.value).where(
        installation.c.name.startswith(f"{process}:", autoescape=True)
    )
    return {name.partition(":")[2]: int(bytes(value)) for name, value in tx.execute(found)}


def _sign(process: str, host: str) -> str:
    return f"{process}:{host}"[:40]


def limiter_key(database: Database) -> bytes:
    """The key by which the limiter hashes phone numbers, created at first use.

    It is kept in the ledger, so that all processes use the same one and a copy of Redis reveals no number.
    Raises LedgerUnreachable when the ledger does not answer.
    """
    # Usually the key exists, and no write transaction is needed.
    with contextlib.suppress(DBAPIError), database.read() as tx:
        key = get(tx, _LIMITER_KEY)
        if key is not None:
            return key
    return database.retrying(lambda tx: kept(tx, _LIMITER_KEY, os.urandom(32)))
