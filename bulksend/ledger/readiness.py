"""Whether a ledger can do what workers and relay need: its schema, its rights, a row written and read back."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from sqlalchemy import Connection, delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from bulksend.errors import LedgerUnfit
from bulksend.ledger.database import Database
from bulksend.ledger.driver_errors import LOST_PREPARED, POOLER
from bulksend.ledger.migrate import check_schema
from bulksend.ledger.schema import installation, metadata

_MISSING_RIGHTS = text(
    "SELECT t, r FROM unnest(CAST(:tables AS text[])) AS t, unnest(CAST(:rights AS text[])) AS r"
    " WHERE NOT has_table_privilege(t, r)"
)
_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")


def check_ledger_works(database: Database) -> None:
    """Do once what workers do. Raises LedgerUnreachable, LedgerUnfit, SchemaOutdated or SchemaNewer when that fails."""
    database.check()
    check_schema(database)
    with database.translated_errors():
        if not database.is_sqlite:
            with database.read() as tx:
                _refuse_missing_rights(tx, database.address)
            if not database.pooled:
                _prepare_in_one_session(database)
        with database.write() as tx:
            _there_and_back(tx)


def _refuse_missing_rights(tx: Connection, address: str) -> None:
    tables = [f'"{name}"' for name in metadata.tables]
    missing = tx.execute(_MISSING_RIGHTS, {"tables": tables, "rights": list(_RIGHTS)}).all()
    if missing:
        table, right = missing[0]
        raise LedgerUnfit(
            f"the ledger at {address}: its user may not {right} in {table.strip(chr(34))}"
            f"{f' ({len(missing)} rights are missing)' if len(missing) > 1 else ''}; as the owner: "
            f"GRANT {', '.join(_RIGHTS)} ON ALL TABLES IN SCHEMA public TO that user"
        )


def _there_and_back(tx: Connection) -> None:
    """Write, change, read and delete a row of a random name, so that checks at the same time do not collide."""
    name = f"probe {os.urandom(8).hex()}"
    mine = installation.c.name == name
    tx.execute(insert(installation).values(name=name, value=b"1"))
    tx.execute(update(installation).where(mine).values(value=b"2"))
    if bytes(tx.execute(select(installation.c.value).where(mine)).scalar_one()) != b"2":
        raise LedgerUnfit("the ledger returns another value than was written; check the database")
    tx.execute(delete(installation).where(mine))


def _prepare_in_one_session(database: Database) -> None:
    """Raises LedgerUnfit when a connection does not keep its session, as behind a pooler in transaction mode.

    Such a pooler gives the session of the first connection to the second one; the first then gets a session that does
    not know the statement that it prepared.
    """
    with database.engine.connect() as ours, database.engine.connect() as other:
        first: Any = ours.connection.driver_connection
        second: Any = other.connection.driver_connection
        try:
            with first.transaction():
                first.execute("SELECT %s::int", (1,), prepare=True)
            with second.transaction():
                second.execute("SELECT 1")
                with first.transaction():
                    first.execute("SELECT %s::int", (1,), prepare=True)
        except psycopg.Error as error:
            ours.invalidate()
            if error.sqlstate in LOST_PREPARED:
                raise LedgerUnfit(f"the ledger at {database.address}: {POOLER[0]}; {POOLER[1]}") from None
            raise database.translated(DBAPIError(None, None, error)) from None
