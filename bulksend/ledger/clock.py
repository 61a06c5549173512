"""The database's clock, in milliseconds since the epoch: as SQL text, as a SQLAlchemy element, and read."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Connection, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_NOW_SQL = {
    "sqlite": "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def now_sql(tx: Connection) -> str:
    """The clock as SQL for hand-written statements. PostgreSQL reads it once a statement, and not for each row."""
    sql = _NOW_SQL[tx.dialect.name]
    return sql if tx.dialect.name == "sqlite" else f"(SELECT {sql})"


class current_ms(FunctionElement[int]):  # noqa: N801 - reads as a SQL function
    """The clock at the statement's start or later."""

    type = BigInteger()
    inherit_cache = True


@compiles(current_ms)
def _compile(element: current_ms, compiler: SQLCompiler, **kw: Any) -> str:
    return _NOW_SQL[compiler.dialect.name]


#: Built once: building the statement costs more than running it.
_READ = select(current_ms())


def read_clock(tx: Connection) -> int:
    """The clock now."""
    return int(tx.execute(_READ).scalar_one())
