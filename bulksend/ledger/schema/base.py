"""What the tables of the ledger share, and the table of values that an installation has once."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Uuid,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class _IdText(String):
    """A UUID as text, found in capitals too, as PostgreSQL finds its own."""

    def bind_processor(self, dialect: Dialect) -> Callable[[str | None], str | None]:
        return lambda id: None if id is None else id.lower()


#: UUIDs are native on PostgreSQL and hyphenated text on SQLite; in Python always text.
Id = Uuid(as_uuid=False).with_variant(_IdText(36), "sqlite")
Instant = BigInteger
#: SQLite only gives a rowid to INTEGER.
Counter = BigInteger().with_variant(Integer, "sqlite")


def partial_index(name: str, *columns: str, where: str) -> Index:
    """Only of the rows that ``where`` selects, on each database."""
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


installation = Table(
    "installation",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
