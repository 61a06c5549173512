"""What every process of an installation shares and nobody else knows."""

from __future__ import annotations

import contextlib
import os

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from bulksend.ledger.database import Database, insert_if_new
from bulksend.ledger.schema import installation

_LIMITER_KEY = "limiter_hash_key"


def limiter_key(database: Database) -> bytes:
    """The key of the hashes by which the limiter knows people: in the ledger, so that every process that has the
    ledger agrees on it, whatever else its environment holds, and a copy of Redis alone tells nothing.

    Raises LedgerUnreachable.
    """

    def read(tx: Connection) -> bytes | None:
        found = tx.execute(select(installation.c.value).where(installation.c.name == _LIMITER_KEY)).scalar()
        return bytes(found) if found is not None else None

    # It is made once: whoever comes later needs no turn to write.
    with contextlib.suppress(DBAPIError), database.read() as tx:
        key = read(tx)
        if key is not None:
            return key

    def make(tx: Connection) -> bytes:
        values = {"name": _LIMITER_KEY, "value": os.urandom(32)}
        tx.execute(insert_if_new(tx, installation).values(**values))
        made = read(tx)
        if made is None:
            raise RuntimeError("a key that was just inserted is not there")
        return made

    return database.retrying(make)
