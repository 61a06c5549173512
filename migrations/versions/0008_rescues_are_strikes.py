"""``messages.rescues`` is called ``strikes``: it counts the workers that died while rendering the message."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Alembic's own renaming copies the whole table on SQLite; this statement does not."""
    op.execute("ALTER TABLE messages RENAME COLUMN rescues TO strikes")


def downgrade() -> None:
    """Back to the earlier name."""
    op.execute("ALTER TABLE messages RENAME COLUMN strikes TO rescues")
