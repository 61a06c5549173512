"""What an audit found is kept, that of the command line too."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")


def upgrade() -> None:
    """The one that a server kept before is forgotten."""
    op.create_table(
        "audits",
        sa.Column("id", _ID, nullable=False),
        sa.Column("campaign_id", _ID, comment="the campaign that was checked; null: all of them"),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("took_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(100), nullable=False, comment="the same as in the operator log"),
        sa.Column("broken", sa.BigInteger(), nullable=False, comment="cases that break a rule"),
        sa.Column("counts", sa.Text(), nullable=False, comment="messages by status, as JSON"),
        sa.Column(
            "findings",
            sa.Text(),
            nullable=False,
            comment="each rule with its counts and offenders, as JSON",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audits")),
    )
    op.execute("DELETE FROM installation WHERE name = 'last audit'")


def downgrade() -> None:
    """What audits found is lost."""
    op.drop_table("audits")
