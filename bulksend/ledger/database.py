"""Transactions on the ledger's database: SQLite (WAL, synchronous=FULL, foreign keys on) or PostgreSQL (psycopg 3)."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Connection,
    Engine,
    Executable,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from bulksend.errors import InvalidInput, LedgerUnfit, LedgerUnreachable
from bulksend.ledger.driver_errors import translated
from bulksend.settings import without_secrets

T = TypeVar("T")

#: A plan that a connection made for an empty table later reads the full table: 40,000 rows to settle 20, until the
#: next ANALYZE. Join methods stay PostgreSQL's choice: without hash joins, releasing thousands took 18 s.
_BY_KEY = {"enable_seqscan": "off"}

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
    threads of a process take turns to write by a lock, and processes by ``busy_timeout``. ``by_key`` is for workers and
    relays, which find every row by an index: PostgreSQL then never reads a whole table.
    """

    is_one_transaction = False
    """Whether all its transactions are parts of one, which must stay short."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 5,
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
            _sqlite_engine(url, pool_size)
            if self.is_sqlite
            else _postgresql_engine(url, pool_size, statement_timeout_ms, by_key=by_key, pooled=pooled)
        )

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that writes; commits at the end, rolls back on any exception.

        Without ``durable`` the COMMIT returns before it is on the disk. It survives the end of any process, and reaches
        the disk with the next durable COMMIT; a power cut before that undoes the whole transaction.
        """
        if not self.is_sqlite:
            with self.engine.begin() as tx:
                if not durable:
                    tx.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield tx
            return
        with self._write_lock, self.engine.connect() as connection:
            tx = connection.execution_options(bulksend_write=True)
            with nullcontext() if durable else _not_synced(tx), tx.begin():
                yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that reads one unchanging state of the ledger."""
        with self.engine.connect() as connection:
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
        with self.engine.connect() as connection:
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
            elif tx.exec_driver_sql(_KEPT).scalar() is not True:
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


#: Held while a ledger's file is created.
_CREATING = threading.Lock()


def _close_to_others(file: str) -> None:
    """Take the rights of all other users, which an earlier version gave. A group that may write keeps its rights."""
    for each in (Path(file), Path(f"{file}-wal"), Path(f"{file}-shm")):
        with suppress(FileNotFoundError):
            mode = each.stat().st_mode
            if mode & stat.S_IRWXO:
                each.chmod(0o660 if mode & stat.S_IWGRP else 0o600)


def _sqlite_engine(url: str, pool_size: int) -> Engine:
    module: Any = sqlite3
    try:
        import pysqlite3

        # Python's own SQLite is often older than 3.51.3, which fixed the WAL-reset corruption.
        if pysqlite3.sqlite_version_info > sqlite3.sqlite_version_info:
            module = pysqlite3
    except ImportError:
        pass
    if make_url(url).database in (None, "", ":memory:"):
        raise InvalidInput(
            "DATABASE_URL: the ledger must be a file or a server, not memory: it has to survive us"
        )
    engine = create_engine(
        url,
        module=module,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=10,
        connect_args={"timeout": 15, "check_same_thread": False},
    )

    @event.listens_for(engine, "do_connect")
    def _keep_private(_dialect: object, _record: object, arguments: list[Any], _more: object) -> None:
        # The file holds phone numbers; -wal and -shm get its mode. Where it cannot be created, SQLite says why.
        with suppress(OSError):
            try:
                # One thread at a time: closing a file drops the locks that SQLite holds on it in another thread.
                with _CREATING:
                    os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                _close_to_others(arguments[0])

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is sent below
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            # Zeroes freed space, so that a wiped code is gone from the file too.
            "secure_delete=ON",
            "busy_timeout=15000",
            "cache_size=-65536",
            # 16 MB: pages that change often, as those of an index, go to the file less often.
            "wal_autocheckpoint=4000",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("bulksend_write")
        # IMMEDIATE: a transaction that first reads and then writes gets SQLITE_BUSY without waiting.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


#: Whether the session has the settings of its startup options.
_KEPT = "SELECT current_setting('idle_in_transaction_session_timeout') = '1min'"


def _session_settings(statement_timeout_ms: int, *, by_key: bool) -> dict[str, str]:
    """Settings of each session, which override those of its role and database."""
    return {
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": "10000",
        "idle_in_transaction_session_timeout": "60000",
        # A COMMIT that returned must survive a crash of the server: a forgotten attempt would be POSTed again.
        "synchronous_commit": "on",
    } | (_BY_KEY if by_key else {})


#: A network that swallows packets holds a thread for 25 s: what is sent is acknowledged by then, and so is a probe of
#: a connection that waits for a long statement.
_LOST_NETWORK = {
    "tcp_user_timeout": 25_000,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


def _postgresql_engine(
    url: str, pool_size: int, statement_timeout_ms: int, *, by_key: bool, pooled: bool
) -> Engine:
    settings = _session_settings(statement_timeout_ms, by_key=by_key)
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "bulksend",
        # By default psycopg uses the server's encoding, and returns bytes for one that it does not know.
        "client_encoding": "utf8",
    } | _LOST_NETWORK
    if pooled:
        # The next session does not know a statement that this one prepared.
        arguments["prepare_threshold"] = None
    else:
        arguments["options"] = " ".join(f"-c {name}={value}" for name, value in settings.items())
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=10,
        # Workers and relays repeat what fails, so a ping before each transaction is only one more round trip.
        pool_pre_ping=not by_key,
        pool_timeout=10,
        connect_args=arguments,
    )

    @event.listens_for(engine, "connect")
    def _refuse_other_encodings(connection: Any, _record: object) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in (None, "UTF8"):
            raise LedgerUnfit(
                f"the ledger's database is in {encoding}, which cannot hold every name and text; create it with "
                "ENCODING UTF8: createdb --encoding UTF8 --template template0 NAME"
            )

    if pooled:
        each = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())

        @event.listens_for(engine, "begin")
        def _set_for_this_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT {each}")

    @event.listens_for(engine, "handle_error")
    def _tell_no_values(context: ExceptionContext) -> None:
        # Its DETAIL quotes values: "Failing row contains (…)".
        raised, orig = context.sqlalchemy_exception, context.original_exception
        primary = getattr(getattr(orig, "diag", None), "message_primary", None)
        if raised is not None and primary is not None:
            orig.args = (primary,)
            raised.args = (f"({type(orig).__module__}.{type(orig).__name__}) {primary}",)

    return engine
