"""What happened, for programs that follow."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, Column, Index, Integer, String, Table, Text, Uuid, text

from bulksend.ledger.schema.base import Counter, Id, Instant, metadata, partial_index

events = Table(
    "events",
    metadata,
    Column(
        "id",
        Counter,
        primary_key=True,
        autoincrement=True,
        comment="the order of writing; on SQLite the number",
    ),
    Column(
        "seq",
        BigInteger,
        comment="the number of its last item; null until it is numbered; on SQLite 0, see ledger/events.py",
    ),
    Column("count", Integer, nullable=False, comment="of its items; 1 without items"),
    Column("type", String(40), nullable=False),
    Column("at", Instant, nullable=False),
    Column("campaign_id", Id),
    Column(
        "items",
        ARRAY(Uuid(as_uuid=False)).with_variant(String(36), "sqlite"),
        comment="the messages it happened to, by their ids",
    ),
    Column("data", Text, comment="JSON: what else there is to say"),
    # Written by triggers on messages and campaigns, see migration 0016; ledger/events.py reads it.
    Index(
        "ix_events_seq",
        "seq",
        unique=True,
        # For one database each: a number is asked for by the id on SQLite.
        sqlite_where=text("seq > 0"),
        postgresql_where=text("seq IS NOT NULL"),
    ),
    partial_index(
        "ix_events_unnumbered",
        "id",
        where="seq IS NULL",
    ),
    sqlite_autoincrement=True,
)
