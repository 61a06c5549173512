"""Persons may be forgotten: the key of the hashes that stand for them; legal holds, which keep what they name."""

from __future__ import annotations

import os

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")
NAME = "person_hash_key"
_HASHED = sa.text("subject LIKE '#%'")
_installation = sa.table("installation", sa.column("name"), sa.column("value"))


def upgrade() -> None:
    """The key, so that every process reads the same one from the beginning, and the table."""
    op.create_table(
        "legal_holds",
        sa.Column("id", _ID, primary_key=True),
        sa.Column("scope", sa.String(12), nullable=False, comment="campaign or person"),
        sa.Column(
            "subject",
            sa.String(40),
            nullable=False,
            comment="the campaign's id, or the person's canonical number",
        ),
        sa.Column("why", sa.String(500), nullable=False),
        sa.Column("placed_by", sa.String(100), nullable=False),
        sa.Column("placed_at", sa.BigInteger(), nullable=False),
        sa.UniqueConstraint("scope", "subject"),
    )
    op.create_index(
        "ix_suppressions_hashed", "suppressions", ["subject"], sqlite_where=_HASHED, postgresql_where=_HASHED
    )
    op.get_bind().execute(_installation.insert().values(name=NAME, value=os.urandom(32)))


def downgrade() -> None:
    """Without them. Suppressions of forgotten persons no longer work."""
    op.get_bind().execute(_installation.delete().where(_installation.c.name == NAME))
    op.drop_index("ix_suppressions_hashed", "suppressions")
    op.drop_table("legal_holds")
