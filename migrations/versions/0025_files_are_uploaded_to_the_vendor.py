"""Files are uploaded to the vendor once for each sender; their ids there end after 30 days."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")


def upgrade() -> None:
    """The table."""
    op.create_table(
        "media",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("sender", sa.String(20), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("media_id", sa.String(256), nullable=False, comment="the vendor's id"),
        sa.Column("type", sa.String(12), nullable=False),
        sa.Column("mime", sa.String(100), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(240), nullable=False),
        sa.Column("uploaded_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.UniqueConstraint("sender", "sha256"),
    )


def downgrade() -> None:
    """Without it."""
    op.drop_table("media")
