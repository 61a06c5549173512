"""How connections to SQLite and PostgreSQL are made, and what each session is set to."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext, make_url

from bulksend.errors import InvalidInput, LedgerUnfit

#: How long a statement waits for another connection's lock.
_WAIT_MS = 15_000
_WAIT = f"PRAGMA busy_timeout={_WAIT_MS}"
#: The pauses between the looks of a transaction that writes for the lock, the last one repeated. SQLite's own rise to
#: 100 ms: beside one that writes all the time, as an intake or a worker under a blast, it misses the gaps for seconds.
_LOOKS_S = (0.001, 0.002, 0.005, 0.010, 0.020)
#: Held while a ledger's file is created.
_CREATING = threading.Lock()


def _close_to_others(file: str) -> None:
    """Take the rights of all other users, which an earlier version gave. A group that may write keeps its rights."""
    for each in (Path(file), Path(f"{file}-wal"), Path(f"{file}-shm")):
        with suppress(FileNotFoundError):
            mode = each.stat().st_mode
            if mode & stat.S_IRWXO:
                each.chmod(0o660 if mode & stat.S_IWGRP else 0o600)


def _keep_private(_dialect: object, _record: object, arguments: list[Any], _more: object) -> None:
    # The file holds phone numbers; -wal and -shm get its mode. Where it cannot be created, SQLite says why.
    with suppress(OSError):
        try:
            # One thread at a time: closing a file drops the locks that SQLite holds on it in another thread.
            with _CREATING:
                os.close(os.open(arguments[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            _close_to_others(arguments[0])


def _set_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # ``_begin`` sends BEGIN
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # Zeroes freed space, so that a wiped code is gone from the file too.
        "secure_delete=ON",
        f"busy_timeout={_WAIT_MS}",
        "cache_size=-65536",
        # 16 MB: pages that change often, as those of an index, go to the file less often.
        "wal_autocheckpoint=4000",
        "temp_store=MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("bulksend_write"):
        connection.exec_driver_sql("BEGIN")
        return
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout=0")
    try:
        _begin_to_write(connection, driver)
    finally:
        driver.execute(_WAIT)


def _begin_to_write(connection: Connection, driver: Any) -> None:
    """Begin as soon as no other connection writes; raise when that takes longer than SQLite itself would wait."""
    until = time.monotonic() + _WAIT_MS / 1000
    for pause_s in chain(_LOOKS_S, repeat(_LOOKS_S[-1])):
        try:
            # IMMEDIATE: a transaction that first reads and then writes gets SQLITE_BUSY without waiting.
            driver.execute("BEGIN IMMEDIATE")
            return
        except driver.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
        if not is_busy or time.monotonic() > until:
            break
        time.sleep(pause_s)
    # Raises as every other statement does.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def open_sqlite(url: str, pool_size: int, pool_timeout_s: float) -> Engine:
    """Connections to a file: WAL, each COMMIT on the disk, foreign keys checked. Raises InvalidInput for memory."""
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
        pool_timeout=pool_timeout_s,
        connect_args={"timeout": _WAIT_MS / 1000, "check_same_thread": False},
    )
    event.listen(engine, "do_connect", _keep_private)
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    return engine


#: A plan that a connection made for an empty table later reads the full table: 40,000 rows to settle 20, until the
#: next ANALYZE. Join methods stay PostgreSQL's choice: without hash joins, releasing thousands took 18 s.
_BY_KEY = {"enable_seqscan": "off"}
#: Whether the session has the settings of its startup options.
SETTINGS_KEPT = "SELECT current_setting('idle_in_transaction_session_timeout') = '1min'"


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


def _refuse_other_encodings(connection: Any, _record: object) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        raise LedgerUnfit(
            f"the ledger's database is in {encoding}, which cannot hold every name and text; create it with "
            "ENCODING UTF8: createdb --encoding UTF8 --template template0 NAME"
        )


def _tell_no_values(context: ExceptionContext) -> None:
    # Its DETAIL quotes values: "Failing row contains (…)".
    raised, orig = context.sqlalchemy_exception, context.original_exception
    primary = getattr(getattr(orig, "diag", None), "message_primary", None)
    if raised is not None and primary is not None:
        orig.args = (primary,)
        raised.args = (f"({type(orig).__module__}.{type(orig).__name__}) {primary}",)


def open_postgresql(
    url: str,
    pool_size: int,
    pool_timeout_s: float,
    statement_timeout_ms: int,
    *,
    by_key: bool,
    pooled: bool,
) -> Engine:
    """Connections to a server, by psycopg 3. One to a database that is not in UTF8 raises LedgerUnfit."""
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
        pool_timeout=pool_timeout_s,
        connect_args=arguments,
    )
    event.listen(engine, "connect", _refuse_other_encodings)
    event.listen(engine, "handle_error", _tell_no_values)
    if pooled:
        each = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())

        @event.listens_for(engine, "begin")
        def _set_for_this_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(f"SELECT {each}")

    return engine
