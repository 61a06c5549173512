"""Campaigns, their refused rows, and their counts."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import (
    BigInteger,
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

from bulksend.ledger.schema.base import Counter, Id, Instant, metadata, partial_index

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Id, primary_key=True),
    Column("key", String(200), nullable=False, unique=True, comment="finds the campaign of a repeated send"),
    Column("name", String(200), nullable=False),
    Column("kind", String(12), nullable=False),
    Column("status", String(12), nullable=False),
    Column("sender", String(20), nullable=False, comment="digits; empty for direct sends"),
    Column("type", String(12), nullable=False, comment="empty for direct sends"),
    Column("content", Text, nullable=False, comment="the content template as JSON; empty for direct sends"),
    Column("source_hash", String(64), nullable=False, comment="of file, content, sender, kind"),
    Column("source_name", String(255), nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("ttl_ms", BigInteger),
    Column("rate", Float, comment="messages per second, null: the sender's"),
    Column("on_unknown", String(8), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("intake_done_at", Instant),
    Column("paused_at", Instant),
    Column("pause_why", String(500)),
    Column("ended_at", Instant),
    Column(
        "rows_read", BigInteger, nullable=False, comment="rows taken from the file so far: where to resume"
    ),
    Column("messages", BigInteger, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    Column("suppressed", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("timezone", String(64), comment="IANA name of the zone its times are shown in"),
    Column("local_time", String(16), comment="when its messages are due by the recipients' clocks: 09:00"),
    Column("moved_from", Instant, comment="its due time before, while messages still have it"),
    Column("exclusions", Text, comment="cap, exclude, only, require_consent as JSON; null: none is left out"),
    Column("canary", String(12), comment="the first slice, e.g. 1% or 200; null: none"),
    Column("canary_state", String(12), comment="pending, sending, passed, failed or skipped"),
    Column("held_after", Id, comment="messages with a later id stay unsent; null: none does"),
    Column("max_failed", Float, comment="share of failures that pauses it; null: the setting's"),
    Column("weight", Integer, comment="its part beside the sender's other campaigns; null: 1"),
    Column("retry_until", Instant, comment="messages that failed until then are being queued again"),
    Column("retry_after", Id, comment="the last message that the retry looked at"),
    Index(None, "status"),
    partial_index(
        "ix_campaigns_moving",
        "moved_from",
        where="moved_from IS NOT NULL",
    ),
    partial_index(
        "ix_campaigns_retried",
        "retry_until",
        where="retry_until IS NOT NULL",
    ),
)

refusals = Table(
    "refusals",
    metadata,
    Column("id", Counter, primary_key=True, autoincrement=True),
    Column("campaign_id", Id, ForeignKey("campaigns.id"), nullable=False),
    Column("row", BigInteger, nullable=False),
    Column("field", String(100), nullable=False),
    Column("value", String(100), nullable=False, comment="masked when private"),
    Column("why", String(500), nullable=False),
    Index(None, "campaign_id", "row"),
)

plans = Table(
    "plans",
    metadata,
    Column("id", Id, primary_key=True),
    Column("hash", String(64), nullable=False, comment="of facts"),
    Column("facts", Text, nullable=False, comment="what apply insists on, as JSON"),
    Column("outlook", Text, nullable=False, comment="what changes with time, such as the finish, as JSON"),
    Column("samples", LargeBinary, comment="rendered messages, sealed; null: expired"),
    Column("options", Text, nullable=False, comment="the arguments of the send, as JSON"),
    Column("campaign_key", String(200), nullable=False, comment="that its campaign gets"),
    Column("source_hash", String(64), nullable=False),
    Column("file", Text, nullable=False, comment="its path; of a posted file its name"),
    Column("posted", Integer, nullable=False, comment="1: the file is in the folder of posted files"),
    Column("rows_planned", BigInteger, nullable=False),
    Column("messages_planned", BigInteger, nullable=False),
    Column("request_key", String(64), unique=True, comment="finds the plan of a repeated request"),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("campaign_id", Id, comment="of the campaign that it became"),
    Column("applied_at", Instant),
    Column("applied_by", String(100)),
    Column("ended_why", Text, comment="why it cannot be applied any more, besides its expiry"),
    partial_index("ix_plans_samples", "expires_at", where="samples IS NOT NULL"),
)

campaign_counts = Table(
    "campaign_counts",
    metadata,
    Column("campaign_id", Id, ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True),
    Column("status", String(12), primary_key=True),
    Column("part", Integer, primary_key=True, comment="the connection that counted; their sum is the number"),
    Column("messages", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False, comment="of the messages in that status"),
    # Kept by triggers on messages, see migration 0005; ledger/counters.py reads it.
    postgresql_with={"fillfactor": 50},
    sqlite_with_rowid=False,
)

campaign_minutes = Table(
    "campaign_minutes",
    metadata,
    Column("campaign_id", Id, ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True),
    Column("minute", Instant, primary_key=True, comment="its begin"),
    Column("statuses", Text, nullable=False, comment="messages by status at its end, as JSON"),
    Column("attempts", BigInteger, nullable=False, comment="at its end"),
    sqlite_with_rowid=False,
)


def _measures(time: str) -> Iterator[Column[int]]:
    """What is summed up in a table of sums."""
    # Messages that entered the status in this time.
    for status in (
        "accepted",
        "delivered",
        "read",
        "failed",
        "unknown",
        "expired",
        "suppressed",
        "cancelled",
    ):
        yield Column(status, BigInteger, nullable=False)
    yield Column("superseded", BigInteger, nullable=False, server_default="0")
    yield Column("attempts", BigInteger, nullable=False, comment=f"POSTs that started in this {time}")
    yield Column("answered", BigInteger, nullable=False, comment="of them, those with a latency")
    yield Column("latency_ms", BigInteger, nullable=False, comment="the sum")
    yield Column("delivery_timed", BigInteger, nullable=False, comment="deliveries whose delay is known")
    yield Column("delivery_ms", BigInteger, nullable=False, comment="from acceptance to delivery, the sum")


stats_hourly = Table(
    "stats_hourly",
    metadata,
    Column("hour", Instant, primary_key=True, comment="its begin"),
    Column("kind", String(12), primary_key=True),
    Column("sender", String(20), primary_key=True),
    Column("country", String(2), primary_key=True, comment="ISO 3166; empty: the number does not show it"),
    Column("code", String(20), primary_key=True, comment="why it failed; empty: it did not"),
    *_measures("hour"),
    sqlite_with_rowid=False,
)

# The two below have the sums of stats_hourly again, in fewer rows: a page reads 92 days of them.
stats_daily = Table(
    "stats_daily",
    metadata,
    Column("day", Instant, primary_key=True, comment="its begin, by UTC"),
    Column("kind", String(12), primary_key=True),
    Column("sender", String(20), primary_key=True),
    Column("country", String(2), primary_key=True),
    Column("code", String(20), primary_key=True),
    *_measures("day"),
    sqlite_with_rowid=False,
)

stats_hourly_totals = Table(
    "stats_hourly_totals",
    metadata,
    Column("hour", Instant, primary_key=True, comment="its begin"),
    Column("kind", String(12), primary_key=True),
    Column("sender", String(20), primary_key=True),
    *_measures("hour"),
    sqlite_with_rowid=False,
)
