"""Work that a request of the HTTP API asks for and `serve` does afterwards."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text

from bulksend.ledger.schema.base import Id, Instant, metadata, partial_index

LIVE_UPLOADS_SQL = "state IN ('stored', 'intake')"
OPEN_JOBS_SQL = "status IN ('queued', 'running')"

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
    partial_index(
        "ix_uploads_live",
        "state",
        "id",
        where=LIVE_UPLOADS_SQL,
    ),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(20), nullable=False, comment="export, import or audit"),
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
    partial_index(
        "ix_jobs_open",
        "kind",
        "id",
        where=OPEN_JOBS_SQL,
    ),
    Index(None, "expires_at"),
)
