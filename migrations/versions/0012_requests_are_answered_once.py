"""Requests with an Idempotency-Key, and their answers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")


def upgrade() -> None:
    """No request is known at first."""
    op.create_table(
        "idempotent_requests",
        sa.Column(
            "id",
            sa.String(40),
            nullable=False,
            comment="hash of Idempotency-Key, method, path and API key",
        ),
        sa.Column("fingerprint", sa.String(32), nullable=False, comment="keyed hash of the body"),
        sa.Column("owner", _ID, nullable=False, comment="the request that made the row"),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False, comment="of the answer"),
        sa.Column("answer", sa.Text(), nullable=False, comment="JSON, without secrets that are shown once"),
        sa.Column("location", sa.String(200)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotent_requests")),
    )
    op.create_index(op.f("ix_idempotent_requests_at"), "idempotent_requests", ["at"])


def downgrade() -> None:
    """A request that is repeated is done again, unless what it makes has a key of its own."""
    op.drop_index(op.f("ix_idempotent_requests_at"), "idempotent_requests")
    op.drop_table("idempotent_requests")
