"""A user may be for some kinds and senders, as a key may."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those that there are may use all of them."""
    for name, type_ in (("kinds", sa.String(60)), ("senders", sa.Text())):
        op.add_column(
            "users",
            sa.Column(name, type_, nullable=False, server_default="", comment="as those of a key"),
        )


def downgrade() -> None:
    """Every user may use all of them again."""
    op.execute("ALTER TABLE users DROP COLUMN kinds")
    op.execute("ALTER TABLE users DROP COLUMN senders")
