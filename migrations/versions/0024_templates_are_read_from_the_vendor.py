"""Templates are read from the vendor: what each consists of, and when it was read last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The columns, empty for what notices told."""
    op.add_column(
        "templates", sa.Column("shape", sa.Text(), comment="its components as JSON; null: not read")
    )
    op.add_column("templates", sa.Column("shape_at", sa.BigInteger()))
    op.add_column(
        "templates",
        sa.Column(
            "synced_at", sa.BigInteger(), comment="when it was read last, by the ledger's clock; null: never"
        ),
    )


def downgrade() -> None:
    """Without them."""
    for name in ("synced_at", "shape_at", "shape"):
        op.drop_column("templates", name)
