"""Files that programs post: stored on the disk of `serve`, then taken in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")
_LIVE = "state IN ('stored', 'intake')"


def upgrade() -> None:
    """No file has been posted yet."""
    op.create_table(
        "uploads",
        sa.Column("id", _ID, nullable=False, comment="its campaign gets the same id"),
        sa.Column(
            "campaign_id", _ID, comment="the campaign that has its rows; another one where it repeats it"
        ),
        sa.Column("state", sa.String(12), nullable=False, comment="stored, intake, done or refused"),
        sa.Column("options", sa.Text(), nullable=False, comment="how it is sent, as JSON"),
        sa.Column("campaign_key", sa.String(200), nullable=False),
        sa.Column("source_hash", sa.String(64), nullable=False),
        sa.Column("file", sa.String(100), nullable=False, comment="its name in its folder"),
        sa.Column("sha256", sa.String(64), nullable=False, comment="of the file"),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column("owner", _ID, comment="the intake that has it"),
        sa.Column("lease_until", sa.BigInteger(), comment="when another intake may take it over"),
        sa.Column("failures", sa.Integer(), nullable=False, comment="unexpected errors of its intake"),
        sa.Column("error_code", sa.String(40)),
        sa.Column("error", sa.Text(), comment="why its rows are not, or not all, in a campaign"),
        sa.Column("report", sa.Text(), comment="what its intake found, as JSON"),
        sa.Column("ended_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["campaign_id"], ["campaigns.id"], name=op.f("fk_uploads_campaign_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_campaign_id", "uploads", ["campaign_id"])
    op.create_index(
        "ix_uploads_live",
        "uploads",
        ["state", "id"],
        sqlite_where=sa.text(_LIVE),
        postgresql_where=sa.text(_LIVE),
    )


def downgrade() -> None:
    """What is not taken in yet is forgotten; the files stay on the disk."""
    op.drop_table("uploads")
