"""A campaign's due time can be moved, and its progress is kept by the minute."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")
_MOVING = sa.text("moved_from IS NOT NULL")


def upgrade() -> None:
    """No campaign is being moved, and nothing is known of the minutes before."""
    # In place: SQLite drops the triggers of a table that is made again.
    op.add_column(
        "campaigns",
        sa.Column("moved_from", sa.BigInteger(), comment="its due time before, while messages still have it"),
    )
    op.create_index(
        "ix_campaigns_moving", "campaigns", ["moved_from"], sqlite_where=_MOVING, postgresql_where=_MOVING
    )
    op.create_table(
        "campaign_minutes",
        sa.Column("campaign_id", _ID, nullable=False),
        sa.Column("minute", sa.BigInteger(), nullable=False, comment="its begin"),
        sa.Column("statuses", sa.Text(), nullable=False, comment="messages by status at its end, as JSON"),
        sa.Column("attempts", sa.BigInteger(), nullable=False, comment="at its end"),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
            name=op.f("fk_campaign_minutes_campaign_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("campaign_id", "minute", name=op.f("pk_campaign_minutes")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Messages of a campaign that is being moved keep the due time that they have."""
    op.drop_table("campaign_minutes")
    op.drop_index("ix_campaigns_moving", "campaigns")
    op.execute("ALTER TABLE campaigns DROP COLUMN moved_from")
