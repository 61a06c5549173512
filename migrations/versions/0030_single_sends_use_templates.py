"""Which templates single sends use, so that they are read from the vendor as those of campaigns are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The table."""
    op.create_table(
        "template_uses",
        sa.Column("sender", sa.String(20), primary_key=True),
        sa.Column("name", sa.String(512), primary_key=True),
        sa.Column("used_at", sa.BigInteger(), nullable=False, comment="within a minute"),
    )


def downgrade() -> None:
    """Without it."""
    op.drop_table("template_uses")
