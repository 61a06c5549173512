"""Unknown messages are few among millions: an index of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WHERE = sa.text("status = 'unknown'")


def upgrade() -> None:
    """The index."""
    op.create_index(
        "ix_messages_unknown", "messages", ["status", "id"], sqlite_where=_WHERE, postgresql_where=_WHERE
    )


def downgrade() -> None:
    """Without it."""
    op.drop_index("ix_messages_unknown", table_name="messages")
