"""PostgreSQL's COPY: rows in as text, at a third less of the server's time than the quickest INSERT.

COPY knows no ON CONFLICT: whoever copies has looked before, and holds a lock that keeps others from writing meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

NULL = "\\N"
_SPECIAL = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def cell(value: str) -> str:
    """A text as COPY reads it."""
    return value.translate(_SPECIAL)


def blob(value: bytes) -> str:
    """Bytes as COPY reads them."""
    return "\\\\x" + value.hex()


def copy_in(tx: Connection, sql: str, pieces: Iterable[str]) -> None:
    """Run ``COPY … FROM STDIN`` with these pieces of lines: the server takes one in while the next is made.

    Raises DBAPIError, which tells no values.
    """
    import psycopg

    driver = tx.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.cursor() as cursor, cursor.copy(sql.encode()) as copy:
            for piece in pieces:
                copy.write(piece)
    except psycopg.Error as error:
        # Its CONTEXT is: COPY messages, line 3, column recipient: "447…"
        if error.diag.message_primary is not None:
            error.args = (error.diag.message_primary,)
        if driver.closed:
            tx.invalidate(error)
        raise DBAPIError.instance(
            sql,
            None,
            error,
            psycopg.Error,
            hide_parameters=True,
            connection_invalidated=driver.closed,
            dialect=tx.dialect,
        ) from None
