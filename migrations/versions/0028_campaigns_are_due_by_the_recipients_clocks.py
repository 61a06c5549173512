"""A campaign may be due at a time of day by the recipients' clocks: that of ``send --local-time``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    comment = "when its messages are due by the recipients' clocks: 09:00"
    op.add_column("campaigns", sa.Column("local_time", sa.String(16), comment=comment))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("campaigns", "local_time")
