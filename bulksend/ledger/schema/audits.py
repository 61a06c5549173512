"""What audits of the ledger found."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table, Text

from bulksend.ledger.schema.base import Id, Instant, metadata

audits = Table(
    "audits",
    metadata,
    Column("id", Id, primary_key=True),
    # No foreign key: the campaign may be deleted before.
    Column("campaign_id", Id, comment="the campaign that was checked; null: all of them"),
    Column("ended_at", Instant, nullable=False),
    Column("took_ms", BigInteger, nullable=False),
    Column("actor", String(100), nullable=False, comment="the same as in the operator log"),
    Column("broken", BigInteger, nullable=False, comment="cases that break a rule"),
    Column("counts", Text, nullable=False, comment="messages by status, as JSON"),
    Column("findings", Text, nullable=False, comment="each rule with its counts and offenders, as JSON"),
)
