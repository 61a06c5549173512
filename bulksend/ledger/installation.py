"""What all processes of an installation share: named values, among them the limiter's secret."""

from __future__ import annotations

import contextlib
import os

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from bulksend.ledger.database import Database, dialect_insert, insert_if_new
from bulksend.ledger.schema import installation

_LIMITER_KEY = "limiter_hash_key"


def get(tx: Connection, name: str) -> bytes | None:
    """The value of that name; None where there is none."""
    found = tx.execute(select(installation.c.value).where(installation.c.name == name)).scalar()
    return None if found is None else bytes(found)


def put(tx: Connection, name: str, value: bytes) -> None:
    """Set the value of that name."""
    tx.execute(
        dialect_insert(tx, installation)
        .values(name=name, value=value)
        .on_conflict_do_update(index_elements=["name"], set_={"value": value})
    )


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

    def make(tx: Connection) -> bytes:
        values = {"name": _LIMITER_KEY, "value": os.urandom(32)}
        tx.execute(insert_if_new(tx, installation).values(**values))
        made = get(tx, _LIMITER_KEY)
        if made is None:
            raise RuntimeError("the limiter's key was inserted and cannot be read")
        return made

    return database.retrying(make)
