"""All rows of a PostgreSQL ledger, to put them into another one of the same schema."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from operator import itemgetter
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

_WITH_ROWS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
"""
_WITH_TRIGGERS = """
SELECT DISTINCT relname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE NOT tgisinternal
"""
_REFERENCES = """
SELECT ours.relname, theirs.relname FROM pg_constraint
JOIN pg_class AS ours ON ours.oid = conrelid JOIN pg_class AS theirs ON theirs.oid = confrelid
WHERE contype = 'f' AND conrelid <> confrelid
"""
_SEQUENCES = (
    "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL"
)


@dataclass(frozen=True)
class LedgerRows:
    """The rows of each table as COPY has them, and the last value of each sequence."""

    tables: dict[str, bytes]
    """Those that others refer to come first."""
    sequences: dict[str, int]

    @classmethod
    def read(cls, connection: psycopg.Connection[tuple[Any, ...]]) -> LedgerRows:
        """What the ledger has now."""
        order: TopologicalSorter[str] = TopologicalSorter()
        for (name,) in connection.execute(_WITH_ROWS).fetchall():
            order.add(name)
        for name, other in connection.execute(_REFERENCES).fetchall():
            order.add(name, other)
        tables = {name: _read(connection, name) for name in order.static_order()}
        return cls(tables, dict(connection.execute(_SEQUENCES).fetchall()))

    def replace(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Put these rows in the place of those that a ledger has. No trigger sees it."""
        names = [sql.Identifier(name) for (name,) in connection.execute(_WITH_ROWS).fetchall()]
        if names:
            connection.execute(
                sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.SQL(", ").join(names))
            )
        counting = [name for (name,) in connection.execute(_WITH_TRIGGERS).fetchall() if name in self.tables]
        self._switch_triggers(connection, counting, "DISABLE")
        for name, rows in filter(itemgetter(1), self.tables.items()):
            with connection.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(name))) as copy:
                copy.write(rows)
        for name, last in self.sequences.items():
            connection.execute("SELECT setval(%s::regclass, %s)", [name, last])
        self._switch_triggers(connection, counting, "ENABLE")

    @staticmethod
    def _switch_triggers(connection: psycopg.Connection[tuple[Any, ...]], names: list[str], how: str) -> None:
        for name in names:
            statement = sql.SQL("ALTER TABLE {} {} TRIGGER USER").format(sql.Identifier(name), sql.SQL(how))
            connection.execute(statement)


def connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection that commits each statement."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True)


def _read(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> bytes:
    with connection.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(name))) as copy:
        return b"".join(bytes(block) for block in copy)
