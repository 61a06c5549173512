"""Have the database let go of the bytes of erased rows, and search the files of a SQLite ledger for what is left.

SQLite zeroes freed space (``secure_delete``); what stands in its write-ahead log goes with a checkpoint that truncates
it. PostgreSQL keeps the old version of each changed row until VACUUM; after that no query reads it, but its bytes stay
in free space of the file until they are overwritten, in the WAL until that is recycled, and in backups.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from bulksend.ledger.database import Database
from bulksend.ledger.key_file import ledger_file

#: Tables whose rows an erasure changes.
_CHANGED = (
    *("messages", "attempts", "receipts", "inbound_messages", "raw_receipts", "suppressions", "acts"),
    *("webhook_deliveries", "refusals", "campaigns", "jobs", "uploads", "idempotent_requests", "events"),
    *("unreadable_receipts", "media"),
)


def let_go(database: Database, *, whole_file: bool = False) -> str | None:
    """Free the old bytes; returns why that is not complete, or None.

    ``whole_file``: of SQLite, write the file from its beginning, which takes its time and keeps writers waiting.
    """
    try:
        if database.is_sqlite:
            return _let_go_of_file(database, whole_file)
        _vacuum(database)
        return None
    except DBAPIError as error:
        return str(database.translated(error))


def _vacuum(database: Database) -> None:
    with database.engine.connect() as connection:
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        alone.exec_driver_sql("SET statement_timeout = 0")
        try:
            for table in _CHANGED:
                # Without a wait for a lock, as by another VACUUM; without giving pages back, which locks the table.
                alone.exec_driver_sql(f"VACUUM (TRUNCATE false) {table}")
        finally:
            alone.exec_driver_sql("RESET statement_timeout")


def _let_go_of_file(database: Database, whole_file: bool) -> str | None:
    driver = database.engine.raw_connection()
    try:
        cursor = driver.cursor()
        if whole_file:
            cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        busy, _, _ = cursor.fetchone() or (1, 0, 0)
        cursor.close()
    finally:
        driver.close()
    if not busy:
        return None
    return "another process reads or writes the ledger, so its write-ahead log was not emptied; repeat it"


def files_with(database: Database, is_in: Callable[[bytes], bool]) -> list[str]:
    """The names of the files of a SQLite ledger whose bytes ``is_in`` says yes to; none on PostgreSQL."""
    file = ledger_file(str(database.url.render_as_string(hide_password=False)))
    if file is None:
        return []
    return [path.name for path in _files_of(file) if path.exists() and search_file(path, is_in)]


def _files_of(file: Path) -> Iterable[Path]:
    return (file.with_name(f"{file.name}{ending}") for ending in ("", "-wal", "-journal"))


def search_file(path: Path, is_in: Callable[[bytes], bool]) -> bool:
    """Whether ``is_in`` says yes to the bytes of a file, which are not read into memory. Raises OSError."""
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            # re searches any buffer.
            return is_in(mapped)  # type: ignore[arg-type]
