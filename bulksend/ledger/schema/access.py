"""Who may do what, and who did what."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, Text, text

from bulksend.ledger.schema.base import Id, Instant, metadata

READ_ACTS_SQL = "scope = 'read'"

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True, comment="the part of the key that is not secret"),
    Column("name", String(100), nullable=False),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the whole key"),
    Column("role", String(12), nullable=False),
    Column("kinds", String(60), nullable=False, comment="separated by commas; empty: all"),
    Column("senders", Text, nullable=False, comment="digits, separated by commas; empty: all"),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
    Column("last_used_at", Instant),
    Column("last_ip", String(45)),
)

users = Table(
    "users",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("role", String(12), nullable=False),
    Column("password_hash", Text, comment="argon2id; null until it is set"),
    Column("setup_hash", LargeBinary, unique=True, comment="SHA-256 of the token that sets the password"),
    Column("setup_expires_at", Instant),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("disabled_at", Instant),
    Column("failures", Integer, nullable=False, comment="failed sign-ins in a row"),
    Column("locked_until", Instant),
    Column("signed_in_at", Instant),
    Column("kinds", String(60), nullable=False, server_default="", comment="as those of a key"),
    Column("senders", Text, nullable=False, server_default="", comment="as those of a key"),
    Column("link_hash", LargeBinary, comment="SHA-256 of the token that signs in once, without the password"),
    Column("link_expires_at", Instant),
    Column("issuer", String(255), comment="at which the user signs in; null: here"),
    Column("subject", String(255), comment="who the user is at the issuer"),
    Index(None, "issuer", "subject", unique=True),
)

sessions = Table(
    "sessions",
    metadata,
    Column(
        "hash", String(64), primary_key=True, comment="SHA-256, in hex, of the token in the browser's cookie"
    ),
    Column("user_name", String(100), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False, comment="of the last request, to the minute"),
    Column("expires_at", Instant, nullable=False),
    Column("ip", String(45), comment="of the sign-in"),
    Index(None, "user_name"),
)

receipt_tokens = Table(
    "receipt_tokens",
    metadata,
    Column("id", String(16), primary_key=True, comment="the part of the token that is not secret"),
    Column("name", String(100), nullable=False),
    Column("hash", LargeBinary, nullable=False, comment="SHA-256 of the whole token"),
    Column("ips", Text, nullable=False, comment="addresses and networks, separated by commas; empty: all"),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("revoked_at", Instant),
)

idempotent_requests = Table(
    "idempotent_requests",
    metadata,
    Column("id", String(40), primary_key=True, comment="hash of Idempotency-Key, method, path and API key"),
    Column("fingerprint", String(32), nullable=False, comment="keyed hash of the body"),
    Column("owner", Id, nullable=False, comment="the request that made the row"),
    Column("at", Instant, nullable=False),
    Column("status", Integer, nullable=False, comment="of the answer"),
    Column("answer", Text, nullable=False, comment="JSON, without secrets that are shown once"),
    Column("location", String(200)),
    Index(None, "at"),
)

acts = Table(
    "acts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(100), nullable=False, comment="who, or the worker that acted by rule"),
    Column("act", String(40), nullable=False),
    Column("scope", String(12), nullable=False),
    Column("subject", String(100), nullable=False),
    Column("why", String(500), nullable=False),
    Column("ip", String(45), comment="of the request; null outside the HTTP API"),
    Column("request_id", String(64), comment="of the HTTP request, not the vendor's"),
    Column("before", Text, comment="the values that the act changed, as JSON; never private"),
    Column("after", Text),
    Index(None, "scope", "subject", "id"),
    Index("ix_acts_read", "id", sqlite_where=text(READ_ACTS_SQL), postgresql_where=text(READ_ACTS_SQL)),
)
