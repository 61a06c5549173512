"""A campaign may begin with a canary, has a limit of failures, and a weight among the campaigns of its sender."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")


def _columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("canary", sa.String(12), comment="the first slice, e.g. 1% or 200; null: none"),
        sa.Column("canary_state", sa.String(12), comment="pending, sending, passed, failed or skipped"),
        sa.Column("held_after", _ID, comment="messages with a later id stay unsent; null: none does"),
        sa.Column("max_failed", sa.Float(), comment="share of failures that pauses it; null: the setting's"),
        sa.Column("weight", sa.Integer(), comment="its part beside the sender's other campaigns; null: 1"),
    )


def upgrade() -> None:
    """No campaign has any of it."""
    # In place: SQLite drops the triggers of a table that is made again.
    for column in _columns():
        op.add_column("campaigns", column)


def downgrade() -> None:
    """What a canary holds is sent."""
    for column in _columns():
        op.execute(f"ALTER TABLE campaigns DROP COLUMN {column.name}")
