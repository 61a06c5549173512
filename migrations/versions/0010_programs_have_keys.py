"""Keys of the programs that use the HTTP API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """No key exists at first."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(16), nullable=False, comment="the part of the key that is not secret"),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of the whole key"),
        sa.Column("role", sa.String(12), nullable=False),
        sa.Column("kinds", sa.String(60), nullable=False, comment="separated by commas; empty: all"),
        sa.Column("senders", sa.Text(), nullable=False, comment="digits, separated by commas; empty: all"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.Column("last_ip", sa.String(45)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )


def downgrade() -> None:
    """Every key is lost."""
    op.drop_table("api_keys")
