"""A newer one-time code replaces an older one for the same person and purpose that still waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")
_WHERE = sa.text("gate = 'newer_code'")
_SCHEDULED = sa.text("first_due_at IS NOT NULL")


def upgrade() -> None:
    """Purposes, what replaced a code, and the codes that a newer one holds."""
    purpose = "of a one-time code; null: its sender stands for it"
    op.add_column("messages", sa.Column("purpose", sa.String(40), comment=purpose))
    first = "of a code stored before it was due: its time, which no gate moves"
    op.add_column("messages", sa.Column("first_due_at", sa.BigInteger(), comment=first))
    newer = "the newer code that was sent in place of this one"
    op.add_column("messages", sa.Column("superseded_by", _ID, comment=newer))
    op.create_index(
        "ix_messages_held_codes", "messages", ["id"], sqlite_where=_WHERE, postgresql_where=_WHERE
    )
    op.create_index(
        "ix_messages_scheduled_codes",
        "messages",
        ["recipient"],
        sqlite_where=_SCHEDULED,
        postgresql_where=_SCHEDULED,
    )
    op.add_column(
        "stats_hourly", sa.Column("superseded", sa.BigInteger(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Without them. A code that was superseded counts as cancelled."""
    op.execute("UPDATE messages SET status = 'cancelled' WHERE status = 'superseded'")
    op.drop_column("stats_hourly", "superseded")
    op.drop_index("ix_messages_scheduled_codes", table_name="messages")
    op.drop_index("ix_messages_held_codes", table_name="messages")
    op.drop_column("messages", "superseded_by")
    op.drop_column("messages", "first_due_at")
    op.drop_column("messages", "purpose")
