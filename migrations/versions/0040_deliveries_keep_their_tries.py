"""A delivery of a webhook keeps the results of its tries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of what was tried before, the newest try is known."""
    op.add_column(
        "webhook_deliveries",
        sa.Column(
            "earlier_tries",
            sa.Text,
            comment="tries before the newest, the oldest first, as JSON; null: there is none",
        ),
    )


def downgrade() -> None:
    """Without them."""
    op.drop_column("webhook_deliveries", "earlier_tries")
