"""A receipt is matched by the MessageId of an earlier attempt, too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

_WHERE = sa.text("message_id IS NOT NULL AND (outcome <> 'accepted' OR error IS NOT NULL)")
_MARK = """
UPDATE attempts SET error = 'its answer came after a later attempt had begun'
WHERE outcome = 'accepted' AND error IS NULL
  AND EXISTS (SELECT 1 FROM messages m WHERE m.id = attempts.message_pk AND m.attempts > 1
              AND m.message_id <> attempts.message_id)
"""


def upgrade() -> None:
    """An index of the attempts whose MessageId is perhaps not that of their message."""
    op.execute(_MARK)
    op.create_index(
        "ix_attempts_earlier_id", "attempts", ["message_id"], sqlite_where=_WHERE, postgresql_where=_WHERE
    )


def downgrade() -> None:
    """Without it."""
    op.drop_index("ix_attempts_earlier_id", "attempts")
