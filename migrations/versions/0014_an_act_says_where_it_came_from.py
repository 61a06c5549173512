"""An act has the address and the request that it came by, and the values before and after it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier acts have none of them."""
    with op.batch_alter_table("acts") as table:
        table.alter_column("subject", existing_type=sa.String(40), type_=sa.String(100))
        table.add_column(sa.Column("ip", sa.String(45), comment="of the request; null outside the HTTP API"))
        table.add_column(
            sa.Column("request_id", sa.String(64), comment="of the HTTP request, not the vendor's")
        )
        table.add_column(
            sa.Column("before", sa.Text(), comment="the values that the act changed, as JSON; never private")
        )
        table.add_column(sa.Column("after", sa.Text()))


def downgrade() -> None:
    """Acts on what has a longer name are lost."""
    op.execute("DELETE FROM acts WHERE length(subject) > 40")
    with op.batch_alter_table("acts") as table:
        for column in ("after", "before", "request_id", "ip"):
            table.drop_column(column)
        table.alter_column("subject", existing_type=sa.String(100), type_=sa.String(40))
