"""What the vendor sends is stored as it came, then read; what cannot be read is kept and shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")
_ORPHAN = sa.text("message_pk IS NULL")
_UNREAD = sa.text("read_at IS NULL")


def upgrade() -> None:
    """No callback is stored at first."""
    op.create_table(
        "raw_receipts",
        sa.Column("id", _ID, nullable=False),
        sa.Column(
            "received_at", sa.BigInteger(), nullable=False, comment="by the clock of the process that took it"
        ),
        sa.Column("bodies", sa.Integer(), nullable=False, comment="callbacks of one group commit"),
        sa.Column(
            "data", sa.LargeBinary(), nullable=False, comment="the callbacks, see ledger/raw_receipts.py"
        ),
        sa.Column("read_at", sa.BigInteger(), comment="null until its receipts are applied"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_receipts")),
    )
    op.create_index(
        "ix_raw_receipts_unread",
        "raw_receipts",
        ["read_at", "id"],
        sqlite_where=_UNREAD,
        postgresql_where=_UNREAD,
    )
    op.create_table(
        "unreadable_receipts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("raw_id", _ID, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False, comment="its position in the group, from 0"),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_unreadable_receipts")),
        sa.ForeignKeyConstraint(["raw_id"], ["raw_receipts.id"], name=op.f("fk_unreadable_receipts_raw_id")),
        sa.UniqueConstraint("raw_id", "n", name=op.f("uq_unreadable_receipts_raw_id_n")),
    )
    op.add_column(
        "receipts",
        sa.Column("aliases", sa.Text(), comment="other ids that it names, e.g. a RequestId, one a line"),
    )
    op.create_index(
        "ix_receipts_orphans",
        "receipts",
        ["message_pk", "id"],
        sqlite_where=_ORPHAN,
        postgresql_where=_ORPHAN,
    )
    if op.get_bind().dialect.name == "postgresql":
        # The data is compressed already.
        op.execute("ALTER TABLE raw_receipts ALTER COLUMN data SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Callbacks that were not read are lost."""
    op.drop_index("ix_receipts_orphans", table_name="receipts")
    op.drop_column("receipts", "aliases")
    op.drop_table("unreadable_receipts")
    op.drop_index("ix_raw_receipts_unread", table_name="raw_receipts")
    op.drop_table("raw_receipts")
