"""Senders, accounts, templates, and the persons that must not get messages."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Integer, String, Table, Text, UniqueConstraint

from bulksend.ledger.schema.base import Id, Instant, metadata, partial_index

COUNTRIES_SQL = "subject LIKE 'country:%'"
#: Of forgotten persons.
HASHED_SQL = "subject LIKE '#%'"

senders = Table(
    "senders",
    metadata,
    Column("phone", String(20), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("rate", Float, nullable=False),
    Column("quota", Integer, comment="unique recipients per rolling 24 h; null: none"),
    Column("added_at", Instant, nullable=False),
    Column("paused_at", Instant),
    Column("pause_why", String(500)),
    Column("status", String(40), comment="by the vendor's notices, as are quality and tier; null: not told"),
    Column("quality", String(20)),
    Column("tier", String(40), comment="the messaging limit, e.g. TIER_10K"),
    Column("changed_at", Instant, comment="by the vendor's clock, of the newest notice"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(40), primary_key=True, comment="the vendor's AccountId, or default"),
    Column("paused_at", Instant),
    Column("pause_why", String(500)),
)

templates = Table(
    "templates",
    metadata,
    Column("name", String(512), primary_key=True),
    Column("language", String(20), primary_key=True),
    Column("status", String(40), comment="by the vendor's notices; null: not told"),
    Column("status_at", Instant, comment="by the vendor's clock, as the other instants"),
    Column("category", String(40)),
    Column("category_at", Instant),
    Column("quality", String(20)),
    Column("quality_at", Instant),
    Column("rejected_reason", String(500)),
    Column("changed_at", Instant, nullable=False, comment="by the ledger's clock"),
    Column("shape", Text, comment="its components as JSON; null: not read"),
    Column("shape_at", Instant),
    Column("synced_at", Instant, comment="when it was read last, by the ledger's clock; null: never"),
)

template_uses = Table(
    "template_uses",
    metadata,
    # Of single sends; a campaign has its content.
    Column("sender", String(20), primary_key=True),
    Column("name", String(512), primary_key=True),
    Column("used_at", Instant, nullable=False, comment="within a minute"),
)

media = Table(
    "media",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sender", String(20), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("media_id", String(256), nullable=False, comment="the vendor's id"),
    Column("type", String(12), nullable=False),
    Column("mime", String(100), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("name", String(240), nullable=False),
    Column("uploaded_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    UniqueConstraint("sender", "sha256"),
)

suppressions = Table(
    "suppressions",
    metadata,
    # Of a forgotten person it is a keyed hash, see ledger/person_keys.py.
    Column("subject", String(24), primary_key=True, comment="digits, or country:XX"),
    Column("scope", String(12), primary_key=True, comment="marketing or all"),
    Column("reason", String(500), nullable=False),
    Column("source", String(100), nullable=False),
    Column("added_at", Instant, nullable=False),
    Column("until", Instant),
    partial_index(
        "ix_suppressions_countries",
        "subject",
        where=COUNTRIES_SQL,
    ),
    partial_index(
        "ix_suppressions_hashed",
        "subject",
        where=HASHED_SQL,
    ),
)

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("scope", String(12), nullable=False, comment="campaign or person"),
    Column(
        "subject", String(40), nullable=False, comment="the campaign's id, or the person's canonical number"
    ),
    Column("why", String(500), nullable=False),
    Column("placed_by", String(100), nullable=False),
    Column("placed_at", Instant, nullable=False),
    UniqueConstraint("scope", "subject"),
)

consents = Table(
    "consents",
    metadata,
    Column("subject", String(24), primary_key=True, comment="digits, the form that stands for the person"),
    Column("at", Instant, primary_key=True, comment="when the person agreed"),
    Column("source", String(200), nullable=False, comment="where, by the row that said so"),
    Column("campaign_id", Id, nullable=False, comment="of that row; the campaign may be deleted before"),
    Column("recorded_at", Instant, nullable=False),
    sqlite_with_rowid=False,
)
