"""Acts of reading are deleted by age: an index of their own among the acts that are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_WHERE = sa.text("scope = 'read'")


def upgrade() -> None:
    """The index."""
    op.create_index("ix_acts_read", "acts", ["id"], sqlite_where=_WHERE, postgresql_where=_WHERE)


def downgrade() -> None:
    """Without it."""
    op.drop_index("ix_acts_read", table_name="acts")
