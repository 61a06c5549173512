"""The relay looks at all one-time codes that wait, whatever holds them, for newer ones that were sent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

_WHERE = sa.text("kind = 'otp' AND status IN ('queued', 'retry')")


def upgrade() -> None:
    """An index of these alone."""
    op.create_index(
        "ix_messages_waiting_codes", "messages", ["id"], sqlite_where=_WHERE, postgresql_where=_WHERE
    )


def downgrade() -> None:
    """Without it."""
    op.drop_index("ix_messages_waiting_codes", "messages")
