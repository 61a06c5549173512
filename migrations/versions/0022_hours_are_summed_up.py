"""Statistics by hour: a roll-up that the relay fills, so that a dashboard reads no messages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_installation = sa.table("installation", sa.column("name"))
_MARKS = ("stats_events", "stats_attempts")


def upgrade() -> None:
    """Filled from the oldest attempt and the oldest event that is kept."""
    op.create_table(
        "stats_hourly",
        sa.Column("hour", sa.BigInteger(), nullable=False, comment="its begin", autoincrement=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("sender", sa.String(20), nullable=False),
        sa.Column(
            "country", sa.String(2), nullable=False, comment="ISO 3166; empty: the number does not show it"
        ),
        sa.Column("code", sa.String(20), nullable=False, comment="why it failed; empty: it did not"),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("unknown", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.BigInteger(), nullable=False),
        sa.Column("suppressed", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False, comment="POSTs that started in this hour"),
        sa.Column("answered", sa.BigInteger(), nullable=False, comment="of them, those with a latency"),
        sa.Column("latency_ms", sa.BigInteger(), nullable=False, comment="the sum"),
        sa.Column(
            "delivery_timed", sa.BigInteger(), nullable=False, comment="deliveries whose delay is known"
        ),
        sa.Column(
            "delivery_ms", sa.BigInteger(), nullable=False, comment="from acceptance to delivery, the sum"
        ),
        sa.PrimaryKeyConstraint("hour", "kind", "sender", "country", "code", name=op.f("pk_stats_hourly")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """The sums are lost; an upgrade counts again what is still kept."""
    op.drop_table("stats_hourly")
    op.get_bind().execute(_installation.delete().where(_installation.c.name.in_(_MARKS)))
