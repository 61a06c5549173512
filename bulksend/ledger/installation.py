"""The secret that all processes of an installation share."""

from __future__ import annotations

import contextlib
import os

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from bulksend.ledger.database import Database, insert_if_new
from bulksend.ledger.schema import installation

_LIMITER_KEY = "limiter_hash_key"


def limiter_key(database: Database) -> bytes:
    """The key by which the limiter hashes phone numbers, created at first use.

    It is kept in the ledger, so that all processes use the same one and a copy of Redis reveals no number.
    Raises LedgerUnreachable when the ledger does not answer.
    """

    def read(tx: Connection) -> bytes | None:
        found = tx.execute(select(installation.c.value).where(installation.c.name == _LIMITER_KEY)).scalar()
        return bytes(found) if found is not None else None

    # Usually the key exists, and no write transaction is needed.
    with contextlib.suppress(DBAPIError), database.read() as tx:
        key = read(tx)
        if key is not None:
            return key

    def make(tx: Connection) -> bytes:
        values = {"name": _LIMITER_KEY, "value": os.urandom(32)}
        tx.execute(insert_if_new(tx, installation).values(**values))
        made = read(tx)
        if made is None:
            raise RuntimeError("the limiter's key was inserted and cannot be read")
        return made

    return database.retrying(make)
