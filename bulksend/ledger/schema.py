"""The tables of the ledger. Alembic reads them; ``migrations/`` brings a database to them.

Instants are integers, milliseconds since the Unix epoch, by the database's clock where a decision hangs on
them: the same on SQLite and PostgreSQL, and free of time zones. Keys are UUIDv7, so they sort by time.
``message_id`` is always the vendor's MessageId; our own key of a message is ``messages.id``, and tables that
point to it call it ``message_pk``.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
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

#: UUIDs are native on PostgreSQL and hyphenated text on SQLite; in Python always text.
Id = Uuid(as_uuid=False).with_variant(String(36), "sqlite")
Instant = BigInteger
#: SQLite only gives a rowid to INTEGER.
Counter = BigInteger().with_variant(Integer, "sqlite")

WAITING_SQL = "status IN ('queued', 'retry')"
UNKNOWN_SQL = "status = 'unknown'"
HELD_SQL = "status IN ('claimed', 'sending')"
ORPHAN_SQL = "message_pk IS NULL"
UNREAD_SQL = "read_at IS NULL"
NOT_ACTED_SQL = "acted_at IS NULL AND status = 'failed' AND code <> '' AND message_pk IS NOT NULL"
COUNTRIES_SQL = "subject LIKE 'country:%'"
LIVE_UPLOADS_SQL = "state IN ('stored', 'intake')"
LATE_CODES_SQL = "kind = 'otp' AND status = 'accepted' AND undelivered_at IS NULL"
OPEN_JOBS_SQL = "status IN ('queued', 'running')"

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
    Column("moved_from", Instant, comment="its due time before, while messages still have it"),
    Index(None, "status"),
    Index(
        "ix_campaigns_moving",
        "moved_from",
        sqlite_where=text("moved_from IS NOT NULL"),
        postgresql_where=text("moved_from IS NOT NULL"),
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
    Column("owner", Id, comment="lease of the worker that holds it: the fencing token"),
    Column("attempt_id", Id, comment="the newest attempt"),
    Column("attempts", Integer, nullable=False, comment="POSTs opened"),
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
    Column("sent_at", Instant, comment="when the newest POST was opened"),
    Column("accepted_at", Instant),
    Column("delivered_at", Instant),
    Column("read_at", Instant),
    Column("ended_at", Instant),
    Column("undelivered_at", Instant, comment="when message.undelivered was said, of a one-time code"),
    UniqueConstraint("campaign_id", "key"),
    Index(None, "campaign_id", "status", "id"),
    Index(None, "recipient", "id"),
    Index(
        "ix_messages_message_id",
        "message_id",
        sqlite_where=text("message_id IS NOT NULL"),
        postgresql_where=text("message_id IS NOT NULL"),
    ),
    Index(
        "ix_messages_request_id",
        "request_id",
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    Index(
        "ix_messages_due",
        "campaign_id",
        "due_at",
        "id",
        sqlite_where=text(WAITING_SQL),
        postgresql_where=text(WAITING_SQL),
    ),
    Index(
        "ix_messages_expiring",
        "expires_at",
        sqlite_where=text(f"{WAITING_SQL} AND expires_at IS NOT NULL"),
        postgresql_where=text(f"{WAITING_SQL} AND expires_at IS NOT NULL"),
    ),
    Index(
        "ix_messages_unknown",
        # The first column says nothing, but by it SQLite searches where it would walk all messages by their key.
        "status",
        "id",
        sqlite_where=text(UNKNOWN_SQL),
        postgresql_where=text(UNKNOWN_SQL),
    ),
    Index(
        "ix_messages_held",
        "owner",
        sqlite_where=text(HELD_SQL),
        postgresql_where=text(HELD_SQL),
    ),
    Index(
        "ix_messages_late_codes",
        "accepted_at",
        sqlite_where=text(LATE_CODES_SQL),
        postgresql_where=text(LATE_CODES_SQL),
    ),
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
    Index(
        "ix_events_unnumbered",
        "id",
        sqlite_where=text("seq IS NULL"),
        postgresql_where=text("seq IS NULL"),
    ),
    sqlite_autoincrement=True,
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

attempts = Table(
    "attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("message_pk", Id, ForeignKey("messages.id"), nullable=False),
    Column("n", Integer, nullable=False, comment="1 for the first POST of the message"),
    Column("owner", Id, nullable=False, comment="lease under which it was opened"),
    Column("worker", String(100), nullable=False),
    Column("sender", String(20), nullable=False),
    Column("started_at", Instant, nullable=False, comment="committed before the POST"),
    Column("finished_at", Instant),
    Column("outcome", String(12), comment="accepted, refused, not_sent, throttled, unknown; null while open"),
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
    UniqueConstraint("message_pk", "n"),
    Index(
        "ix_attempts_request_id",
        "request_id",
        sqlite_where=text("request_id IS NOT NULL"),
        postgresql_where=text("request_id IS NOT NULL"),
    ),
    Index(None, "sender", "started_at"),
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
    Index(
        "ix_receipts_orphans",
        # The first column says nothing: see ix_messages_unknown.
        "message_pk",
        "id",
        sqlite_where=text(ORPHAN_SQL),
        postgresql_where=text(ORPHAN_SQL),
    ),
    Index(
        "ix_receipts_not_acted",
        "acted_at",
        "id",
        sqlite_where=text(NOT_ACTED_SQL),
        postgresql_where=text(NOT_ACTED_SQL),
    ),
)

raw_receipts = Table(
    "raw_receipts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("received_at", Instant, nullable=False, comment="by the clock of the process that took it"),
    Column("bodies", Integer, nullable=False, comment="callbacks of one group commit"),
    Column("data", LargeBinary, nullable=False, comment="the callbacks, see ledger/raw_receipts.py"),
    Column("read_at", Instant, comment="null until its receipts are applied"),
    Index(
        "ix_raw_receipts_unread",
        # The first column says nothing: see ix_messages_unknown.
        "read_at",
        "id",
        sqlite_where=text(UNREAD_SQL),
        postgresql_where=text(UNREAD_SQL),
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

suppressions = Table(
    "suppressions",
    metadata,
    Column("subject", String(24), primary_key=True, comment="digits, or country:XX"),
    Column("scope", String(12), primary_key=True, comment="marketing or all"),
    Column("reason", String(500), nullable=False),
    Column("source", String(100), nullable=False),
    Column("added_at", Instant, nullable=False),
    Column("until", Instant),
    Index(
        "ix_suppressions_countries",
        "subject",
        sqlite_where=text(COUNTRIES_SQL),
        postgresql_where=text(COUNTRIES_SQL),
    ),
)

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
    Index(None, "campaign_id"),
    Index(None, "recipient", "id"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(40), primary_key=True, comment="the vendor's AccountId, or default"),
    Column("paused_at", Instant),
    Column("pause_why", String(500)),
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

uploads = Table(
    "uploads",
    metadata,
    Column("id", Id, primary_key=True, comment="its campaign gets the same id"),
    Column(
        "campaign_id",
        Id,
        ForeignKey("campaigns.id"),
        comment="the campaign that has its rows; another one where it repeats it",
    ),
    Column("state", String(12), nullable=False, comment="stored, intake, done or refused"),
    Column("options", Text, nullable=False, comment="how it is sent, as JSON"),
    Column("campaign_key", String(200), nullable=False),
    Column("source_hash", String(64), nullable=False),
    Column("file", String(100), nullable=False, comment="its name in its folder"),
    Column("sha256", String(64), nullable=False, comment="of the file"),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("created_by", String(100), nullable=False),
    Column("owner", Id, comment="the intake that has it"),
    Column("lease_until", Instant, comment="when another intake may take it over"),
    Column("failures", Integer, nullable=False, comment="unexpected errors of its intake"),
    Column("error_code", String(40)),
    Column("error", Text, comment="why its rows are not, or not all, in a campaign"),
    Column("report", Text, comment="what its intake found, as JSON"),
    Column("ended_at", Instant),
    Index(None, "campaign_id"),
    Index(
        "ix_uploads_live",
        "state",
        "id",
        sqlite_where=text(LIVE_UPLOADS_SQL),
        postgresql_where=text(LIVE_UPLOADS_SQL),
    ),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(20), nullable=False, comment="export or import"),
    Column("status", String(12), nullable=False, comment="queued, running, done, failed"),
    Column("arguments", Text, nullable=False, comment="JSON"),
    Column("result", Text, comment="JSON; null until it is done"),
    Column("error", String(500)),
    Column("rows_done", BigInteger, nullable=False),
    Column("rows_total", BigInteger, comment="null: not known"),
    Column("requested_by", String(40), nullable=False, comment="id of the key or user"),
    Column("actor", String(100), nullable=False, comment="the same in the operator log"),
    Column("created_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("expires_at", Instant, comment="when the row and its file are deleted; null until it ended"),
    Column("owner", Id, comment="the run that has it: the fencing token"),
    Column("lease_until", Instant),
    Column("runs", Integer, nullable=False, comment="how often it was begun"),
    Index(
        "ix_jobs_open",
        "kind",
        "id",
        sqlite_where=text(OPEN_JOBS_SQL),
        postgresql_where=text(OPEN_JOBS_SQL),
    ),
    Index(None, "expires_at"),
)

stats_hourly = Table(
    "stats_hourly",
    metadata,
    Column("hour", Instant, primary_key=True, comment="its begin"),
    Column("kind", String(12), primary_key=True),
    Column("sender", String(20), primary_key=True),
    Column("country", String(2), primary_key=True, comment="ISO 3166; empty: the number does not show it"),
    Column("code", String(20), primary_key=True, comment="why it failed; empty: it did not"),
    # Messages that entered the status in this hour.
    *(
        Column(status, BigInteger, nullable=False)
        for status in (
            *("accepted", "delivered", "read", "failed", "unknown", "expired", "suppressed", "cancelled"),
        )
    ),
    Column("attempts", BigInteger, nullable=False, comment="POSTs that started in this hour"),
    Column("answered", BigInteger, nullable=False, comment="of them, those with a latency"),
    Column("latency_ms", BigInteger, nullable=False, comment="the sum"),
    Column("delivery_timed", BigInteger, nullable=False, comment="deliveries whose delay is known"),
    Column("delivery_ms", BigInteger, nullable=False, comment="from acceptance to delivery, the sum"),
    sqlite_with_rowid=False,
)

installation = Table(
    "installation",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

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
    Index(None, "endpoint_id", "id"),
    Index(
        "ix_webhook_deliveries_due",
        "endpoint_id",
        "next_at",
        sqlite_where=text(PENDING_SQL),
        postgresql_where=text(PENDING_SQL),
    ),
    Index(
        "ix_webhook_deliveries_dead",
        "endpoint_id",
        "created_at",
        sqlite_where=text(DEAD_SQL),
        postgresql_where=text(DEAD_SQL),
    ),
    Index(
        "ix_webhook_deliveries_ended",
        "ended_at",
        sqlite_where=text(DELIVERED_SQL),
        postgresql_where=text(DELIVERED_SQL),
    ),
    Index(
        "ix_webhook_deliveries_bodies",
        "ended_at",
        sqlite_where=text(f"{DELIVERED_SQL} AND body IS NOT NULL"),
        postgresql_where=text(f"{DELIVERED_SQL} AND body IS NOT NULL"),
    ),
)
