"""From when on an id's time is within half a second of the ledger's clock, so that a time range is a range of ids.

Before, an id had the time of its maker's own clock, which may have been off by hours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAME = "ids_near_since"
_installation = sa.table("installation", sa.column("name"), sa.column("value"))
_NOW = {
    "sqlite": "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)",
    "postgresql": "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def upgrade() -> None:
    """From now on; in an empty ledger from the beginning of time."""
    bind = op.get_bind()
    begun = bind.execute(sa.text("SELECT 1 FROM messages LIMIT 1")).first() is not None
    since = bind.execute(sa.text(_NOW[bind.dialect.name])).scalar_one() if begun else 0
    bind.execute(_installation.insert().values(name=NAME, value=str(since).encode()))


def downgrade() -> None:
    """Nothing to undo: the instant was not known before."""
    op.get_bind().execute(_installation.delete().where(_installation.c.name == NAME))
