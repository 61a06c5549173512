"""The door to the database: SQLite (WAL, synchronous=FULL, foreign keys on) or PostgreSQL (psycopg 3)."""

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
from typing import TYPE_CHECKING, Any, TypeVar

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
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import BigInteger

from bulksend.errors import InvalidInput, LedgerUnfit, LedgerUnreachable
from bulksend.ledger.driver_errors import as_ours
from bulksend.settings import without_secrets

if TYPE_CHECKING:
    pass

T = TypeVar("T")

#: A plan is kept for as long as a connection knows nothing new of its tables, and one made for a ledger that was
#: empty walks it when it is full: 40,000 rows read to settle 20, until the next ANALYZE. Its joins stay its own choice:
#: thousands given back at once, each compared with each, took 18 s without hashing.
_BY_KEY = {"enable_seqscan": "off"}

#: PostgreSQL's own words for "run that transaction again": serialization failure, deadlock, and a lock that
#: was not had in time; then the states in which the server is away or about to be.
_AGAIN = {"40001", "40P01", "55P03"}
_AWAY = {"57P01", "57P02", "57P03", "53300", "53400", "25006", "08000", "08003", "08006", "08001", "08004"}


#: SQLite: each COMMIT is on the disk when it returns; or with the next one that is.
_SYNCED, _NOT_SYNCED = "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"


class db_now(FunctionElement[int]):  # noqa: N801 - reads as a SQL function
    """Milliseconds since the epoch by the database's own clock, at the statement's start or later."""

    type = BigInteger()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


def among(tx: Connection, column: ColumnElement[Any], values: Sequence[str]) -> ColumnElement[bool]:
    """``column`` is one of ``values``, as a single bound parameter however many there are."""
    if tx.dialect.name == "sqlite":
        import json

        each = func.json_each(bindparam(None, json.dumps(list(values)), Text)).table_valued("value")
        return column.in_(select(each.c.value))
    item = Uuid(as_uuid=False) if isinstance(column.type, Uuid) else Text()
    return column == any_(bindparam(None, list(values), ARRAY(item)))


def rows_changed(
    tx: Connection, statement: Executable, parameters: Mapping[str, object] | None = None
) -> int:
    """Execute it; how many rows it put in or changed.

    A plain ``rowcount`` is -1 for INSERTs and textual statements on PostgreSQL: psycopg forgets it at the close
    of the cursor, and SQLAlchemy keeps it unasked only for its own UPDATE and DELETE.
    """
    options: dict[str, Any] = {"preserve_rowcount": True}
    result = tx.execute(statement, parameters or {}, execution_options=options)
    return int(result.rowcount)


def unhurried(tx: Connection) -> None:
    """Let the rest of this transaction take its time: an audit of millions is longer than any hot statement."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql("SET LOCAL statement_timeout = 0")


def by_index(tx: Connection) -> None:
    """Let the rest of this transaction find its rows by indexes and take their order from them.

    For the first few of many rows in an order. PostgreSQL reads and sorts all of them where it believes, by old
    statistics, that there are none.
    """
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(
            "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)"
        )


def hurried(tx: Connection, ms: int) -> None:
    """Let no statement of the rest of this transaction take longer than ``ms``: it does its work in parts."""
    if tx.dialect.name == "postgresql":
        tx.exec_driver_sql(f"SET LOCAL statement_timeout = {int(ms)}")


def instant(tx: Connection) -> int:
    """The database's clock now, in milliseconds since the epoch."""
    return int(tx.execute(_NOW).scalar_one())


#: Made once: to make a statement costs more than to run this one.
_NOW = select(db_now())


def dialect_insert(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that may have ON CONFLICT."""
    return sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)


def insert_if_new(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that skips rows whose key is there already; ``rows_changed`` says how many went in."""
    return dialect_insert(tx, table).on_conflict_do_nothing()


class Database:
    """Opens transactions; knows which failures deserve another try.

    ``write`` and ``read`` are context managers; ``retrying`` runs a whole transaction again when the database
    asked for that. Thread-safe. On SQLite one lock a process keeps its own threads from fighting for the one
    writer's place; other processes wait by ``busy_timeout``. ``by_key`` is for workers and relays, who find every row
    by an index: PostgreSQL is not asked whether it would rather walk a table.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 5,
        statement_timeout_ms: int = 30_000,
        by_key: bool = False,
        pooled: bool = False,
    ) -> None:
        """``pooled``: a pooler in transaction mode stands before it: each transaction may have another session."""
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
    def write(self, *, lasting: bool = True) -> Iterator[Connection]:
        """A transaction that will write; commits at the end, rolls back on any exception.

        One that is not ``lasting`` is not waited for until it rests on the disk: it outlives whatever happens to any
        process, and the next lasting one of anybody takes it along; a power cut before that takes it back, whole.
        """
        if not self.is_sqlite:
            with self.engine.begin() as tx:
                if not lasting:
                    tx.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield tx
            return
        with self._write_lock, self.engine.connect() as connection:
            tx = connection.execution_options(bulksend_write=True)
            with nullcontext() if lasting else _not_synced(tx), tx.begin():
                yield tx

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads, and sees one state of the ledger throughout."""
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection = connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            with connection.begin():
                yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """No transaction: each statement is one of its own, and has no way to BEGIN and COMMIT. On SQLite, where no
        way is long, the same as ``write``."""
        # Settings of a session behind a pooler last for a transaction, and one statement has no room for them.
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
        alone: bool = False,
        lasting: bool = True,
    ) -> T:
        """Run ``work`` in a write transaction, again while the database asks for it, for at most ``patience_s``.

        ``work`` must be safe to repeat, also when the first COMMIT did take place and only its answer was lost; with
        ``alone``, in which each of its statements is committed by itself, also from anywhere in its middle. ``lasting``
        as in ``write``.
        Raises LedgerUnreachable when patience ends.
        """
        transaction = self.alone if alone else partial(self.write, lasting=lasting)
        deadline = time.monotonic() + patience_s
        pause = 0.02
        while True:
            try:
                with transaction() as tx:
                    return work(tx)
            except DBAPIError as error:
                if not worth_repeating(error):
                    raise
                if time.monotonic() + pause > deadline:
                    raise LedgerUnreachable(str(self.ours(error))) from None
            self._sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, 1.0)

    def check(self) -> None:
        """Raises LedgerUnreachable when the database does not answer a query, LedgerUnfit where it never will."""
        with self.in_our_words(), self.read() as tx:
            if self.is_sqlite:
                tx.execute(select(1))
            elif tx.exec_driver_sql(_KEPT).scalar() is not True:
                raise LedgerUnfit(
                    f"the ledger at {self.address}: what stands before it leaves startup options out, as a pooler "
                    "does; set BULKSEND_POOLER=transaction, or use the direct port"
                )

    @contextmanager
    def in_our_words(self) -> Iterator[None]:
        """What the database raises within becomes LedgerUnreachable or LedgerUnfit."""
        try:
            yield
        except DBAPIError as error:
            raise self.ours(error) from None

    def ours(self, error: DBAPIError) -> LedgerUnfit | LedgerUnreachable:
        """A failure as an error of ours: the address, the cause, the remedy, and no parameter, which may be private."""
        return as_ours(error, self.address, self.url.database if self.is_sqlite else None)

    def sqlite_version(self) -> str:
        """The version of the SQLite library in use."""
        with self.read() as tx:
            return str(tx.exec_driver_sql("SELECT sqlite_version()").scalar_one())

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


@contextmanager
def _not_synced(connection: Connection) -> Iterator[None]:
    """SQLite takes it up with the next BEGIN; the connection goes back to its pool as it was."""
    driver: Any = connection.connection.driver_connection
    driver.execute(_NOT_SYNCED)
    try:
        yield
    finally:
        driver.execute(_SYNCED)


def worth_repeating(error: DBAPIError) -> bool:
    """Whether the same transaction may well succeed later: locked, serialization, lost connection, restart."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _AGAIN or state in _AWAY or state.startswith("53")
    if isinstance(error, OperationalError):
        words = str(error.orig).lower()
        # A psycopg error without SQLSTATE never reached the server; SQLite says its reasons in words only.
        return "no such" not in words and "syntax" not in words
    return False


#: Held while a ledger's file is made.
_MAKING = threading.Lock()


def _close_to_others(file: str) -> None:
    """An earlier program let every user of the machine read its ledger. A group that may write keeps its rights."""
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
        # It holds people's numbers; -wal and -shm take its mode over. Where it cannot be made SQLite says why.
        with suppress(OSError):
            try:
                # One at a time: closing a file drops the locks that SQLite has taken on it in another thread.
                with _MAKING:
                    os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                _close_to_others(arguments[0])

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, below
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            # What a wiped code leaves free in a page is zeroed with it: no encrypted code rests in the file either.
            "secure_delete=ON",
            "busy_timeout=15000",
            "cache_size=-65536",
            # 16 MB: a page that is written again and again, as an index's is, goes to the file less often.
            "wal_autocheckpoint=4000",
            "temp_store=MEMORY",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("bulksend_write")
        # IMMEDIATE: a reader that turns writer half-way gets SQLITE_BUSY at once, whatever the timeout.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


#: Whether a session has the settings that it was opened with.
_KEPT = "SELECT current_setting('idle_in_transaction_session_timeout') = '1min'"


def _session_settings(statement_timeout_ms: int, *, by_key: bool) -> dict[str, str]:
    """What each session of ours goes by, whatever its role or database is set to."""
    return {
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": "10000",
        "idle_in_transaction_session_timeout": "60000",
        # A COMMIT that returned has to outlive the server: an attempt that it forgot would be POSTed again.
        "synchronous_commit": "on",
    } | (_BY_KEY if by_key else {})


def _postgresql_engine(
    url: str, pool_size: int, statement_timeout_ms: int, *, by_key: bool, pooled: bool
) -> Engine:
    settings = _session_settings(statement_timeout_ms, by_key=by_key)
    arguments: dict[str, Any] = {
        "connect_timeout": 5,
        "application_name": "bulksend",
        # Else psycopg goes by the server's encoding, and gives bytes for one that it does not know.
        "client_encoding": "utf8",
    }
    if pooled:
        # A statement that one session has prepared is not known to the next one.
        arguments["prepare_threshold"] = None
    else:
        arguments["options"] = " ".join(f"-c {name}={value}" for name, value in settings.items())
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=10,
        # Whoever goes by keys works all the time, and tries again by himself: a ping before each transaction would only
        # be one more way there and back.
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
        # Its DETAIL is: Failing row contains (…)
        told, orig = context.sqlalchemy_exception, context.original_exception
        primary = getattr(getattr(orig, "diag", None), "message_primary", None)
        if told is not None and primary is not None:
            orig.args = (primary,)
            told.args = (f"({type(orig).__module__}.{type(orig).__name__}) {primary}",)

    return engine
