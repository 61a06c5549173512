"""A plan whose posted file is deleted ends, with its reason."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column for the reason. A program of the version before shows such a plan as open."""
    op.add_column(
        "plans",
        sa.Column("ended_why", sa.Text, comment="why it cannot be applied any more, besides its expiry"),
    )


def downgrade() -> None:
    """Without it."""
    op.drop_column("plans", "ended_why")
