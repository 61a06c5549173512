"""Messages, those in flight, the attempts to send them, and the leases of the workers that hold them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from bulksend.ledger.schema.base import Id, Instant, metadata, partial_index

WAITING_SQL = "status IN ('queued', 'retry')"
UNKNOWN_SQL = "status = 'unknown'"
SCHEDULED_CODES_SQL = "first_due_at IS NOT NULL"
HELD_CODES_SQL = "gate = 'newer_code'"
WAITING_CODES_SQL = f"kind = 'otp' AND {WAITING_SQL}"
EARLIER_ID_SQL = "message_id IS NOT NULL AND (outcome <> 'accepted' OR error IS NOT NULL)"
LATE_CODES_SQL = "kind = 'otp' AND status = 'accepted' AND undelivered_at IS NULL"

messages = Table(
    "messages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("campaign_id", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("key", String(200), nullable=False, comment="idempotency: one message a (campaign, key)"),
    Column("row", BigInteger, nullable=False, comment="row of the file, 0 for direct sends"),
    Column("kind", String(12), nullable=False),
    Column("sender", String(20), nullable=False),
    Column("recipient", String(20), nullable=False, comment="digits, E.164 without +"),
    Column("type", String(12), nullable=False),
    Column(
        "payload", LargeBinary, comment="variables or content, encrypted where the kind asks; null once wiped"
    ),
    Column("fingerprint", LargeBinary, nullable=False, comment="keyed hash of what would be sent"),
    Column("status", String(12), nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("attempt_id", Id, comment="the newest attempt, without one that is open"),
    Column("attempts", Integer, nullable=False, comment="attempts, without one that is open"),
    Column("tries", Integer, nullable=False, comment="attempts that count against the tries it has"),
    Column(
        "waits", Integer, nullable=False, comment="attempts that did not: throttled, or nothing it could help"
    ),
    Column("strikes", Integer, nullable=False, comment="workers that died rendering it"),
    Column("gate", String(20), comment="what last held it"),
    Column("gate_until", Instant),
    Column("message_id", String(256)),
    Column("request_id", String(256)),
    Column("ret_code", Integer),
    Column("error", String(500)),
    Column("queued_at", Instant, nullable=False),
    Column("sent_at", Instant, comment="when the newest attempt was opened"),
    Column("accepted_at", Instant),
    Column("delivered_at", Instant),
    Column("read_at", Instant),
    Column("ended_at", Instant),
    Column("undelivered_at", Instant, comment="when message.undelivered was said, of a one-time code"),
    Column("purpose", String(40), comment="of a one-time code; null: its sender stands for it"),
    Column(
        "first_due_at", Instant, comment="of a code stored before it was due: its time, which no gate moves"
    ),
    Column("superseded_by", Id, comment="the newer code that was sent in place of this one"),
    UniqueConstraint("campaign_id", "key"),
    Index(None, "campaign_id", "status", "id"),
    Index(None, "recipient", "id"),
    partial_index(
        "ix_messages_message_id",
        "message_id",
        where="message_id IS NOT NULL",
    ),
    partial_index(
        "ix_messages_due",
        "campaign_id",
        "due_at",
        "id",
        where=WAITING_SQL,
    ),
    partial_index(
        "ix_messages_expiring",
        "expires_at",
        where=f"{WAITING_SQL} AND expires_at IS NOT NULL",
    ),
    partial_index(
        "ix_messages_unknown",
        # The first column says nothing, but by it SQLite searches where it would walk all messages by their key.
        "status",
        "id",
        where=UNKNOWN_SQL,
    ),
    partial_index(
        "ix_messages_late_codes",
        "accepted_at",
        where=LATE_CODES_SQL,
    ),
    partial_index(
        "ix_messages_scheduled_codes",
        "recipient",
        where=SCHEDULED_CODES_SQL,
    ),
    partial_index(
        "ix_messages_held_codes",
        "id",
        where=HELD_CODES_SQL,
    ),
    partial_index(
        "ix_messages_waiting_codes",
        "id",
        where=WAITING_CODES_SQL,
    ),
)

in_flight = Table(
    # No foreign key: its check would lock, and so write, the message's row.
    "in_flight",
    metadata,
    Column("message_pk", Id, primary_key=True),
    Column("owner", Id, nullable=False, comment="lease of the worker that holds it: the fencing token"),
    Column("attempt_id", Id, comment="the attempt that is open; null: claimed, and nothing has left"),
    Column("started_at", Instant, comment="when the attempt was opened; committed before the POST"),
    # Its rows live for seconds: an update stays in its page, and vacuum comes by their number.
    postgresql_with={
        "fillfactor": 50,
        "autovacuum_vacuum_scale_factor": 0,
        "autovacuum_vacuum_threshold": 5000,
    },
    sqlite_with_rowid=False,
)

attempts = Table(
    # No foreign key here either: they are inserted together with the change of their message.
    "attempts",
    metadata,
    Column("id", Id, nullable=False),
    Column("message_pk", Id, primary_key=True),
    Column(
        "n", Integer, primary_key=True, autoincrement=False, comment="1 for the first POST of the message"
    ),
    Column("owner", Id, nullable=False, comment="lease under which it was opened"),
    Column("worker", String(100), nullable=False),
    Column("sender", String(20), nullable=False),
    Column("started_at", Instant, nullable=False, comment="committed before the POST"),
    Column("finished_at", Instant),
    Column("outcome", String(12), comment="accepted, refused, not_sent, throttled, unknown"),
    Column("http_status", Integer),
    Column("ret_code", Integer),
    Column("whatsapp_code", Integer),
    Column("vendor_message", String(500)),
    Column("request_id", String(256)),
    Column("message_id", String(256)),
    Column("latency_ms", Float),
    Column("bytes_sent", Boolean),
    Column("reply_began", Boolean),
    Column("error", String(500)),
    partial_index(
        "ix_attempts_request_id",
        "request_id",
        where="request_id IS NOT NULL",
    ),
    # Attempts whose MessageId is perhaps not that of their message: few, so that accepting costs nothing more.
    partial_index(
        "ix_attempts_earlier_id",
        "message_id",
        where=EARLIER_ID_SQL,
    ),
    Index(None, "sender", "started_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Id, primary_key=True, comment="the lease: a worker that lost it takes a new one"),
    Column("name", String(100), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("lease_until", Instant, nullable=False),
    Column("ended_at", Instant),
)
