"""Transactions on the ledger's database, SQLite or PostgreSQL, and statements that both of them know."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Executable,
    Select,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bulksend.errors import InvalidInput, LedgerUnfit, LedgerUnreachable
from bulksend.ledger import connections
from bulksend.ledger.driver_errors import translated
from bulksend.settings import without_secrets

T = TypeVar("T")

#: SQLSTATEs that ask for the transaction again (serialization failure, deadlock, lock timeout), and those of a server
#: that is away or about to be.
_AGAIN = {"40001", "40P01", "55P03"}
_AWAY = {"57P01", "57P02", "57P03", "53300", "53400", "25006", "08000", "08003", "08006", "08001", "08004"}


#: SQLite: a COMMIT returns when it is on the disk, or before.
_SYNCED, _NOT_SYNCED = "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"


def among(tx: Connection, column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool]:
    """``column`` is one of ``values``, which are bound as a single parameter."""
    if tx.dialect.name == "sqlite":
        import json

        each = func.json_each(bindparam(None, json.dumps(list(values)), Text)).table_valued("value")
        return column.in_(select(each.c.value))
    item = Uuid(as_uuid=False) if isinstance(column.type, Uuid) else Text()
    return column == any_(bindparam(None, list(values), ARRAY(item)))


def first(tx: Connection, query: Select[Any], made: Callable[..., T]) -> T | None:
    """The first row that a query finds, as what ``made`` makes of its columns; None where there is none."""
    row = tx.execute(query).mappings().first()
    return None if row is None else made(**row)


def newest_first(
    query: Select[Any], key: ColumnElement[Any], limit: int, before: str | None = None
) -> Select[Any]:
    """A page of what the query finds, the highest ids first; only those before the id ``before``."""
    page = query.order_by(key.desc()).limit(limit)
    return page if before is None else page.where(key < before)


def count_up_to(tx: Connection, most: int, query: Select[Any]) -> int:
    """How many rows a query finds, counted up to ``most``, so that no more are read."""
    return tx.execute(select(func.count()).select_from(query.limit(most).subquery())).scalar_one()


def delete_found(tx: Connection, key: Column[str], found: Select[tuple[str]]) -> int:
    """Delete the rows whose keys a query finds; returns how many."""
    keys: list[str] = list(tx.scalars(found))
    return rows_changed(tx, delete(key.table).where(among(tx, key, keys))) if keys else 0


def rows_changed(
    tx: Connection, statement: Executable, parameters: Mapping[str, object] | None = None
) -> int:
    """Execute the statement; returns how many rows it inserted or changed.

    A plain ``rowcount`` is -1 for INSERTs and textual statements on PostgreSQL: SQLAlchemy keeps it by default only for
    its own UPDATE and DELETE.
    """
    options: dict[str, Any] = {"preserve_rowcount": True}
    result = tx.execute(statement, parameters or {}, execution_options=options)
    return int(result.rowcount)


def set_statement_timeout(tx: Connection, ms: int) -> None:
    """Limit each further statement of this transaction to ``ms``; 0 is no limit. SQLite has no such limit."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SET LOCAL statement_timeout = {int(ms)}")


def set_lock_timeout(tx: Connection, ms: int) -> None:
    """Limit each wait for a lock in the rest of this transaction to ``ms``. SQLite has one lock, and its own limit."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SET LOCAL lock_timeout = {int(ms)}")


def is_lock_timeout(error: DBAPIError) -> bool:
    """Whether a wait for a lock was too long, or was one of a deadlock."""
    return getattr(error.orig, "sqlstate", None) in ("55P03", "40P01")


def prefer_indexes(tx: Connection) -> None:
    """Have PostgreSQL use indexes to find and order rows in the rest of this transaction.

    For the first few of many rows in an order: with outdated statistics PostgreSQL reads and sorts all of them.
    """
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(
            "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)"
        )


def dialect_insert(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may have ON CONFLICT."""
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)


def insert_if_new(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that skips rows whose key exists; ``rows_changed`` returns how many were inserted."""
    return dialect_insert(tx, table).on_conflict_do_nothing()


class Database:
    """Opens transactions, and repeats those that failed for a passing reason.

    ``write`` and ``read`` are context managers; ``retrying`` runs a whole transaction again. Thread-safe. On SQLite the
    threads of a process take turns to write by a lock, and processes by SQLite's lock. ``by_key`` is for workers and
    relays, which find every row by an index: PostgreSQL then never reads a whole table.
    """

    is_one_transaction = False
    """Whether all its transactions are parts of one, which must stay short."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 5,
        pool_timeout_s: float = 10.0,
        statement_timeout_ms: int = 30_000,
        by_key: bool = False,
        pooled: bool = False,
    ) -> None:
        """``pooled``: a pooler in transaction mode stands between; each transaction may have another session."""
        self.url = make_url(url)
        self.pooled = pooled
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.address = without_secrets(url)
        self._sleep: Callable[[float], None] = time.sleep
        self._write_lock = threading.Lock()
        self.engine = (
            connections.open_sqlite(url, pool_size, pool_timeout_s)
            if self.is_sqlite
            else connections.open_postgresql(
                url, pool_size, pool_timeout_s, statement_timeout_ms, by_key=by_key, pooled=pooled
            )
        )

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that writes; commits at the end, rolls back on any exception.

        Without ``durable`` the COMMIT returns before it is on the disk. It survives the end of any process, and reaches
        the disk with the next durable COMMIT; a power cut before that undoes the whole transaction.
        """
        if not self.is_sqlite:
            with self._connected() as tx, tx.begin():
                if not durable:
                    tx.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield tx
            return
        with self._write_lock, self._connected() as connection:
            tx = connection.execution_options(bulksend_write=True)
            with nullcontext() if durable else _not_synced(tx), tx.begin():
                yield tx

    def _connected(self) -> Connection:
        """A connection. Raises LedgerUnreachable when all stay in use, and what the driver raises."""
        try:
            return self.engine.connect()
        except PoolTimeout:
            raise LedgerUnreachable(
                f"the ledger at {self.address}: all connections of this process are in use for long; try again, "
                "and look for slow statements or locks (pg_stat_activity)"
            ) from None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads one unchanging state of the ledger."""
        with self._connected() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Each statement is a transaction of its own, without the round trips of BEGIN and COMMIT.

        The same as ``write`` on SQLite, which saves no round trips, and behind a pooler.
        """
        # Behind a pooler the session's settings are set in each transaction.
        if self.is_sqlite or self.pooled:
            with self.write() as tx:
                yield tx
            return
        with self._connected() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def retrying(
        self,
        work: Callable[[Connection], T],
        *,
        patience_s: float = 10.0,
        autocommit: bool = False,
        durable: bool = True,
    ) -> T:
        """Run ``work`` in a write transaction; repeat it after a passing failure, for at most ``patience_s``.

        ``work`` must be safe to repeat, also when the first COMMIT took place and only its answer was lost. With
        ``autocommit`` each of its statements is committed by itself, and it must be safe to repeat after any of them.
        Raises LedgerUnreachable when the failures go on for longer, and DBAPIError at one that is not passing.
        """
        transaction = self.autocommit if autocommit else partial(self.write, durable=durable)
        deadline = time.monotonic() + patience_s
        pause = 0.02
        while True:
            try:
                with transaction() as tx:
                    return work(tx)
            except DBAPIError as error:
                if not is_transient(error):
                    raise
                if time.monotonic() + pause > deadline:
                    raise LedgerUnreachable(str(self.translated(error))) from None
            self._sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, 1.0)

    def check(self) -> None:
        """Raises LedgerUnreachable when the database does not answer a query, LedgerUnfit when its setup is wrong."""
        with self.translated_errors(), self.read() as tx:
            if self.is_sqlite:
                tx.execute(select(1))
            elif tx.exec_driver_sql(connections.SETTINGS_KEPT).scalar() is not True:
                raise LedgerUnfit(
                    f"the ledger at {self.address}: its startup options were dropped, as a pooler does; "
                    "set BULKSEND_POOLER=transaction, or use the direct port"
                )

    @contextmanager
    def translated_errors(self) -> Iterator[None]:
        """Raises LedgerUnreachable or LedgerUnfit for each error of the database in the block; InvalidInput for a value
        that it cannot store."""
        try:
            yield
        except DBAPIError as error:
            raise self.translated(error) from None

    def translated(self, error: DBAPIError) -> InvalidInput | LedgerUnreachable:
        """The error as one of ours: address, cause and remedy, without parameters, which may be private."""
        return translated(error, self.address, self.url.database if self.is_sqlite else None)

    def sqlite_version(self) -> str:
        """The version of the SQLite library in use."""
        with self.read() as tx:
            return str(tx.exec_driver_sql("SELECT sqlite_version()").scalar_one())

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


@contextmanager
def _not_synced(connection: Connection) -> Iterator[None]:
    """SQLite reads the setting at the next BEGIN; it is restored before the connection goes back to its pool."""
    driver: Any = connection.connection.driver_connection
    driver.execute(_NOT_SYNCED)
    try:
        yield
    finally:
        driver.execute(_SYNCED)


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed later: a lock, a serialization failure, a lost connection, a restart."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _AGAIN or state in _AWAY or state.startswith("53")
    if isinstance(error, OperationalError):
        words = str(error.orig).lower()
        # A psycopg error without SQLSTATE did not reach the server; SQLite has no SQLSTATEs.
        return "no such" not in words and "syntax" not in words
    return False
