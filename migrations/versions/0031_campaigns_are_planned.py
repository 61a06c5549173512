"""A campaign can be planned first: what it would do is frozen, and applied later as it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")


def upgrade() -> None:
    """The table."""
    op.create_table(
        "plans",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("hash", sa.String(64), nullable=False, comment="of facts"),
        sa.Column("facts", sa.Text(), nullable=False, comment="what apply insists on, as JSON"),
        sa.Column(
            "outlook",
            sa.Text(),
            nullable=False,
            comment="what changes with time, such as the finish, as JSON",
        ),
        sa.Column("samples", sa.LargeBinary(), comment="rendered messages, sealed; null: expired"),
        sa.Column("options", sa.Text(), nullable=False, comment="the arguments of the send, as JSON"),
        sa.Column("campaign_key", sa.String(200), nullable=False, comment="that its campaign gets"),
        sa.Column("source_hash", sa.String(64), nullable=False),
        sa.Column("file", sa.Text(), nullable=False, comment="its path; of a posted file its name"),
        sa.Column(
            "posted", sa.Integer(), nullable=False, comment="1: the file is in the folder of posted files"
        ),
        sa.Column("rows_planned", sa.BigInteger(), nullable=False),
        sa.Column("messages_planned", sa.BigInteger(), nullable=False),
        sa.Column("request_key", sa.String(64), unique=True, comment="finds the plan of a repeated request"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", _ID, comment="of the campaign that it became"),
        sa.Column("applied_at", sa.BigInteger()),
        sa.Column("applied_by", sa.String(100)),
    )
    where = sa.text("samples IS NOT NULL")
    op.create_index("ix_plans_samples", "plans", ["expires_at"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Without it."""
    op.drop_table("plans")
