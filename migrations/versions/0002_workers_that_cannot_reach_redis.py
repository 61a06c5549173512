"""Workers tell each other, in the ledger, that they cannot reach Redis."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The new column."""
    meaning = "since when it cannot reach Redis, by its own word"
    op.add_column("workers", sa.Column("limiter_away_at", sa.BigInteger(), nullable=True, comment=meaning))


def downgrade() -> None:
    """Without it."""
    with op.batch_alter_table("workers") as table:
        table.drop_column("limiter_away_at")
