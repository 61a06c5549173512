"""A campaign leaves people out, by a cap and by other campaigns; consents are kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")


def upgrade() -> None:
    """No campaign so far leaves any out."""
    # In place: SQLite drops the triggers of a table that is made again.
    op.add_column(
        "campaigns",
        sa.Column(
            "exclusions",
            sa.Text(),
            comment="cap, exclude, only, require_consent as JSON; null: none is left out",
        ),
    )
    op.create_table(
        "consents",
        sa.Column(
            "subject", sa.String(24), nullable=False, comment="digits, the form that stands for the person"
        ),
        sa.Column("at", sa.BigInteger(), nullable=False, comment="when the person agreed"),
        sa.Column("source", sa.String(200), nullable=False, comment="where, by the row that said so"),
        sa.Column(
            "campaign_id", _ID, nullable=False, comment="of that row; the campaign may be deleted before"
        ),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "at", name=op.f("pk_consents")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Consents are lost, and campaigns that are still taken in leave none out."""
    op.drop_table("consents")
    op.execute("ALTER TABLE campaigns DROP COLUMN exclusions")
