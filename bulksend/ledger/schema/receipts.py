"""What the vendor posts to us: callbacks as they came, and the receipts and inbound messages in them."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, UniqueConstraint

from bulksend.ledger.schema.base import Id, Instant, metadata, partial_index

UNREAD_SQL = "read_at IS NULL"
ORPHAN_SQL = "message_pk IS NULL"
NOT_ACTED_SQL = "acted_at IS NULL AND status = 'failed' AND code <> '' AND message_pk IS NOT NULL"

raw_receipts = Table(
    "raw_receipts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("received_at", Instant, nullable=False, comment="by the clock of the process that took it"),
    Column("bodies", Integer, nullable=False, comment="callbacks of one group commit"),
    Column("data", LargeBinary, nullable=False, comment="the callbacks, see ledger/raw_receipts.py"),
    Column("read_at", Instant, comment="null until its receipts are applied"),
    partial_index(
        "ix_raw_receipts_unread",
        # The first column says nothing: see ix_messages_unknown.
        "read_at",
        "id",
        where=UNREAD_SQL,
    ),
)

unreadable_receipts = Table(
    "unreadable_receipts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("raw_id", Id, ForeignKey("raw_receipts.id"), nullable=False),
    Column("n", Integer, nullable=False, comment="its position in the group, from 0"),
    Column("received_at", Instant, nullable=False),
    Column("why", String(500), nullable=False),
    UniqueConstraint("raw_id", "n"),
)

receipts = Table(
    "receipts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("message_id", String(256), nullable=False, comment="the vendor's MessageId it speaks of"),
    Column("message_pk", Id, ForeignKey("messages.id"), comment="null until matched"),
    Column("status", String(12), nullable=False),
    Column("at", Instant, nullable=False, comment="by the vendor's clock"),
    Column("received_at", Instant, nullable=False),
    Column("code", String(20), nullable=False),
    Column("why", String(500), nullable=False),
    Column("aliases", Text, comment="other ids that it names, e.g. a RequestId, one a line"),
    Column("acted_at", Instant, comment="when what the code of a failed one asks for was done"),
    UniqueConstraint("message_id", "status", "at"),
    Index(None, "message_pk"),
    partial_index(
        "ix_receipts_orphans",
        # The first column says nothing: see ix_messages_unknown.
        "message_pk",
        "id",
        where=ORPHAN_SQL,
    ),
    partial_index(
        "ix_receipts_not_acted",
        "acted_at",
        "id",
        where=NOT_ACTED_SQL,
    ),
)

inbound_messages = Table(
    "inbound_messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("received_at", Instant, nullable=False),
    Column("at", Instant, nullable=False, comment="by the vendor's clock where it says"),
    Column("inbound_id", String(256), unique=True, comment="the vendor's id; null where it gives none"),
    Column("sender", String(20), nullable=False, comment="the business number; empty where it is not told"),
    Column("recipient", String(20), nullable=False, comment="the person who wrote; empty where not told"),
    Column("type", String(40), nullable=False),
    Column("body", LargeBinary, nullable=False, comment="text and payload, encrypted where there is a key"),
    Column("keyword", String(8), comment="stop or start, where it is such a word"),
    # No foreign keys: it outlives the campaign that it answers.
    Column("message_pk", Id, comment="the message that it answers"),
    Column("campaign_id", Id),
    Index(None, "campaign_id", "id"),
    Index(None, "recipient", "id"),
    partial_index("ix_inbound_messages_keyword", "keyword", "id", where="keyword IS NOT NULL"),
)
