"""A browser has a session, and a link signs in once."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """There is no session."""
    op.create_table(
        "sessions",
        sa.Column(
            "hash",
            sa.String(64),
            nullable=False,
            comment="SHA-256, in hex, of the token in the browser's cookie",
        ),
        sa.Column("user_name", sa.String(100), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False, comment="of the last request, to the minute"),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ip", sa.String(45), comment="of the sign-in"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_name"), "sessions", ["user_name"])
    op.add_column(
        "users",
        sa.Column(
            "link_hash",
            sa.LargeBinary(),
            comment="SHA-256 of the token that signs in once, without the password",
        ),
    )
    op.add_column("users", sa.Column("link_expires_at", sa.BigInteger()))


def downgrade() -> None:
    """Each user signs in again."""
    op.execute("ALTER TABLE users DROP COLUMN link_hash")
    op.execute("ALTER TABLE users DROP COLUMN link_expires_at")
    op.drop_index(op.f("ix_sessions_user_name"), "sessions")
    op.drop_table("sessions")
