"""A retry is a mark on its campaign, which the relay works off."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")
_MARKED = sa.text("retry_until IS NOT NULL")


def upgrade() -> None:
    """No campaign is being retried."""
    # In place: SQLite drops the triggers of a table that is made again.
    op.add_column(
        "campaigns",
        sa.Column(
            "retry_until", sa.BigInteger(), comment="messages that failed until then are being queued again"
        ),
    )
    op.add_column(
        "campaigns", sa.Column("retry_after", _ID, comment="the last message that the retry looked at")
    )
    op.create_index(
        "ix_campaigns_retried", "campaigns", ["retry_until"], sqlite_where=_MARKED, postgresql_where=_MARKED
    )


def downgrade() -> None:
    """What a retry had not reached stays failed."""
    op.drop_index("ix_campaigns_retried", "campaigns")
    op.execute("ALTER TABLE campaigns DROP COLUMN retry_until")
    op.execute("ALTER TABLE campaigns DROP COLUMN retry_after")
