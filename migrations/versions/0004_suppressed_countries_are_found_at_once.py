"""Suppressed countries are asked for before each POST: an index of their own among millions of numbers.

Without it only databases that sort by bytes (collation C) find them by the primary key.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_WHERE = sa.text("subject LIKE 'country:%'")


def upgrade() -> None:
    """The index."""
    op.create_index(
        "ix_suppressions_countries", "suppressions", ["subject"], sqlite_where=_WHERE, postgresql_where=_WHERE
    )


def downgrade() -> None:
    """Without it."""
    op.drop_index("ix_suppressions_countries", table_name="suppressions")
