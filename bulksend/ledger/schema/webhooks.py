"""The endpoints of webhooks, and the deliveries to them."""

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
    Text,
)

from bulksend.ledger.schema.base import Id, Instant, metadata, partial_index

PENDING_SQL, DELIVERED_SQL, DEAD_SQL = (f"status = '{name}'" for name in ("pending", "delivered", "dead"))

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Id, primary_key=True),
    Column("url", String(2000), nullable=False, comment="without its query, which may hold a secret"),
    Column("sealed", LargeBinary, nullable=False, comment="the whole URL and the secrets, encrypted"),
    Column("events", Text, nullable=False, comment="types, separated by commas; empty: all"),
    Column("numbers", Boolean, nullable=False, comment="whether phone numbers are sent in full"),
    Column("status", String(12), nullable=False, comment="active, disabled, removed"),
    Column("status_why", String(500)),
    Column("cursor", BigInteger, nullable=False, comment="seq of the newest event that is fanned out"),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("old_secret_until", Instant, comment="until then the secret before this one signs too"),
    Column("failing_since", Instant, comment="first failure after the newest success"),
    Column("succeeded_at", Instant),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Id, primary_key=True, comment="the webhook-id, the same at every try"),
    Column("endpoint_id", Id, ForeignKey("webhook_endpoints.id"), nullable=False),
    Column("type", String(40), nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    Column("body", LargeBinary, comment="null some days after it was delivered"),
    Column("status", String(12), nullable=False, comment="pending, delivered, dead"),
    Column("attempts", Integer, nullable=False, comment="tries begun since it was made or replayed"),
    Column(
        "next_at", Instant, nullable=False, comment="when it is due; while it is sent, when its lease ends"
    ),
    Column("created_at", Instant, nullable=False),
    Column("tried_at", Instant, comment="end of the newest try, as the three below"),
    Column("http_status", Integer),
    Column("error", String(200)),
    Column("latency_ms", Float),
    Column("ended_at", Instant),
    Column(
        "earlier_tries",
        Text,
        comment="tries before the newest, the oldest first, as JSON; null: there is none",
    ),
    Index(None, "endpoint_id", "id"),
    partial_index(
        "ix_webhook_deliveries_due",
        "endpoint_id",
        "next_at",
        where=PENDING_SQL,
    ),
    partial_index(
        "ix_webhook_deliveries_dead",
        "endpoint_id",
        "created_at",
        where=DEAD_SQL,
    ),
    partial_index(
        "ix_webhook_deliveries_ended",
        "ended_at",
        where=DELIVERED_SQL,
    ),
    partial_index(
        "ix_webhook_deliveries_bodies",
        "ended_at",
        where=f"{DELIVERED_SQL} AND body IS NOT NULL",
    ),
)
