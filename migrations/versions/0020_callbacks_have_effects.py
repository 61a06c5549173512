"""Failed receipts act once; inbound messages are kept; templates and senders are what the vendor says of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")
_NOT_ACTED = sa.text("acted_at IS NULL AND status = 'failed' AND code <> '' AND message_pk IS NOT NULL")


def upgrade() -> None:
    """What earlier receipts asked for is not done any more: what they report may be mended since."""
    op.add_column(
        "receipts",
        sa.Column(
            "acted_at", sa.BigInteger(), comment="when what the code of a failed one asks for was done"
        ),
    )
    op.execute("UPDATE receipts SET acted_at = received_at WHERE status = 'failed'")
    op.create_index(
        "ix_receipts_not_acted",
        "receipts",
        ["acted_at", "id"],
        sqlite_where=_NOT_ACTED,
        postgresql_where=_NOT_ACTED,
    )
    op.add_column(
        "senders",
        sa.Column(
            "status",
            sa.String(40),
            comment="by the vendor's notices, as are quality and tier; null: not told",
        ),
    )
    op.add_column("senders", sa.Column("quality", sa.String(20)))
    op.add_column("senders", sa.Column("tier", sa.String(40), comment="the messaging limit, e.g. TIER_10K"))
    op.add_column(
        "senders",
        sa.Column("changed_at", sa.BigInteger(), comment="by the vendor's clock, of the newest notice"),
    )
    op.create_table(
        "templates",
        sa.Column("name", sa.String(512), nullable=False),
        sa.Column("language", sa.String(20), nullable=False),
        sa.Column("status", sa.String(40), comment="by the vendor's notices; null: not told"),
        sa.Column("status_at", sa.BigInteger(), comment="by the vendor's clock, as the other instants"),
        sa.Column("category", sa.String(40)),
        sa.Column("category_at", sa.BigInteger()),
        sa.Column("quality", sa.String(20)),
        sa.Column("quality_at", sa.BigInteger()),
        sa.Column("rejected_reason", sa.String(500)),
        sa.Column("changed_at", sa.BigInteger(), nullable=False, comment="by the ledger's clock"),
        sa.PrimaryKeyConstraint("name", "language", name=op.f("pk_templates")),
    )
    op.create_table(
        "inbound_messages",
        sa.Column("id", _ID, nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False, comment="by the vendor's clock where it says"),
        sa.Column("inbound_id", sa.String(256), comment="the vendor's id; null where it gives none"),
        sa.Column(
            "sender", sa.String(20), nullable=False, comment="the business number; empty where it is not told"
        ),
        sa.Column(
            "recipient", sa.String(20), nullable=False, comment="the person who wrote; empty where not told"
        ),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column(
            "body",
            sa.LargeBinary(),
            nullable=False,
            comment="text and payload, encrypted where there is a key",
        ),
        sa.Column("keyword", sa.String(8), comment="stop or start, where it is such a word"),
        sa.Column("message_pk", _ID, comment="the message that it answers"),
        sa.Column("campaign_id", _ID),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbound_messages")),
        sa.UniqueConstraint("inbound_id", name=op.f("uq_inbound_messages_inbound_id")),
    )
    op.create_index(op.f("ix_inbound_messages_campaign_id"), "inbound_messages", ["campaign_id"])
    op.create_index(op.f("ix_inbound_messages_recipient_id"), "inbound_messages", ["recipient", "id"])


def downgrade() -> None:
    """Inbound messages and what is known of templates are lost."""
    op.drop_table("inbound_messages")
    op.drop_table("templates")
    for column in ("changed_at", "tier", "quality", "status"):
        op.drop_column("senders", column)
    op.drop_index("ix_receipts_not_acted", table_name="receipts")
    op.drop_column("receipts", "acted_at")
