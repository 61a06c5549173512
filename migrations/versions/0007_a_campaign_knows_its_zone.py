"""The zone in which a campaign's times are shown to people: that of ``send --timezone``."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Campaigns that are there keep none: their times are shown in the installation's zone."""
    comment = "IANA name of the zone its times are shown in"
    op.add_column("campaigns", sa.Column("timezone", sa.String(64), comment=comment))


def downgrade() -> None:
    """Times are shown in the installation's zone again."""
    op.drop_column("campaigns", "timezone")
