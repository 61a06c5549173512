"""Tokens in the address to which the vendor sends receipts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No token exists at first."""
    op.create_table(
        "receipt_tokens",
        sa.Column("id", sa.String(16), nullable=False, comment="the part of the token that is not secret"),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the whole token"),
        sa.Column(
            "ips",
            sa.Text(),
            nullable=False,
            comment="addresses and networks, separated by commas; empty: all",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipt_tokens")),
    )


def downgrade() -> None:
    """Every token is lost."""
    op.drop_table("receipt_tokens")
