"""An audit that the console asks for is a job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

BEFORE, NOW = "export or import", "export, import or audit"


def upgrade() -> None:
    """What the column says of itself, where the database keeps it."""
    _say(BEFORE, NOW)


def downgrade() -> None:
    """As before."""
    _say(NOW, BEFORE)


def _say(existing: str, comment: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column(
            "jobs",
            "kind",
            comment=comment,
            existing_comment=existing,
            existing_type=sa.String(20),
            existing_nullable=False,
        )
