"""People who may sign in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There is no user at first."""
    op.create_table(
        "users",
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("role", sa.String(12), nullable=False),
        sa.Column("password_hash", sa.Text(), comment="argon2id; null until it is set"),
        sa.Column("setup_hash", sa.LargeBinary(), comment="SHA-256 of the token that sets the password"),
        sa.Column("setup_expires_at", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("disabled_at", sa.BigInteger()),
        sa.Column("failures", sa.Integer(), nullable=False, comment="failed sign-ins in a row"),
        sa.Column("locked_until", sa.BigInteger()),
        sa.Column("signed_in_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
        sa.UniqueConstraint("setup_hash", name=op.f("uq_users_setup_hash")),
    )


def downgrade() -> None:
    """Every user is lost."""
    op.drop_table("users")
