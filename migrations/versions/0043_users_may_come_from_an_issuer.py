"""Users may come from an OpenID provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Those that there are sign in here."""
    op.add_column(
        "users", sa.Column("issuer", sa.String(255), comment="at which the user signs in; null: here")
    )
    op.add_column("users", sa.Column("subject", sa.String(255), comment="who the user is at the issuer"))
    op.create_index(op.f("ix_users_issuer_subject"), "users", ["issuer", "subject"], unique=True)


def downgrade() -> None:
    """Users of an issuer are left without a way to sign in."""
    op.drop_index(op.f("ix_users_issuer_subject"), "users")
    op.execute("ALTER TABLE users DROP COLUMN issuer")
    op.execute("ALTER TABLE users DROP COLUMN subject")
