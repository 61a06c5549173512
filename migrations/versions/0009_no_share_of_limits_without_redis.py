"""A worker that cannot reach Redis sends nothing, so that it need not tell the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the column."""
    with op.batch_alter_table("workers") as table:
        table.drop_column("limiter_away_at")


def downgrade() -> None:
    """The column again, empty: every worker counts as one that reaches Redis."""
    meaning = "since when it cannot reach Redis, by its own word"
    op.add_column("workers", sa.Column("limiter_away_at", sa.BigInteger(), nullable=True, comment=meaning))
