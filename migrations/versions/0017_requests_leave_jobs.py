"""Work that a request of the HTTP API asks for and that `serve` does afterwards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")
_OPEN = "status IN ('queued', 'running')"


def upgrade() -> None:
    """No job exists at first."""
    op.create_table(
        "jobs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False, comment="export or import"),
        sa.Column("status", sa.String(12), nullable=False, comment="queued, running, done, failed"),
        sa.Column("arguments", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("result", sa.Text(), comment="JSON; null until it is done"),
        sa.Column("error", sa.String(500)),
        sa.Column("rows_done", sa.BigInteger(), nullable=False),
        sa.Column("rows_total", sa.BigInteger(), comment="null: not known"),
        sa.Column("requested_by", sa.String(40), nullable=False, comment="id of the key or user"),
        sa.Column("actor", sa.String(100), nullable=False, comment="the same in the operator log"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger()),
        sa.Column(
            "expires_at",
            sa.BigInteger(),
            comment="when the row and its file are deleted; null until it ended",
        ),
        sa.Column("owner", _ID, comment="the run that has it: the fencing token"),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("runs", sa.Integer(), nullable=False, comment="how often it was begun"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(
        "ix_jobs_open",
        "jobs",
        ["kind", "id"],
        sqlite_where=sa.text(_OPEN),
        postgresql_where=sa.text(_OPEN),
    )
    op.create_index(op.f("ix_jobs_expires_at"), "jobs", ["expires_at"])


def downgrade() -> None:
    """Open jobs are lost, and those that ended."""
    op.drop_table("jobs")
