"""Pages read fewer rows: sums by day, and by hour without country and code; replies by campaign and by word."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None

_DAY_MS = 86_400_000
_MEASURES = (
    *(
        "accepted",
        "delivered",
        "read",
        "failed",
        "unknown",
        "expired",
        "suppressed",
        "cancelled",
        "superseded",
    ),
    *("attempts", "answered", "latency_ms", "delivery_timed", "delivery_ms"),
)
_COMMENTS = {
    "answered": "of them, those with a latency",
    "latency_ms": "the sum",
    "delivery_timed": "deliveries whose delay is known",
    "delivery_ms": "from acceptance to delivery, the sum",
}


_WITH_KEYWORD = "keyword IS NOT NULL"


def upgrade() -> None:
    """The sums are filled from the hours that there are."""
    op.create_index("ix_inbound_messages_campaign_id_id", "inbound_messages", ["campaign_id", "id"])
    op.drop_index("ix_inbound_messages_campaign_id", "inbound_messages")
    op.create_index(
        "ix_inbound_messages_keyword",
        "inbound_messages",
        ["keyword", "id"],
        sqlite_where=sa.text(_WITH_KEYWORD),
        postgresql_where=sa.text(_WITH_KEYWORD),
    )
    _create("stats_daily", "day", "its begin, by UTC", (("country", 2), ("code", 20)))
    _create("stats_hourly_totals", "hour", "its begin", ())
    _fill("stats_daily", f"hour - hour % {_DAY_MS}", "kind, sender, country, code")
    _fill("stats_hourly_totals", "hour", "kind, sender")


def downgrade() -> None:
    """The hours have the same sums."""
    op.drop_index("ix_inbound_messages_keyword", "inbound_messages")
    op.create_index("ix_inbound_messages_campaign_id", "inbound_messages", ["campaign_id"])
    op.drop_index("ix_inbound_messages_campaign_id_id", "inbound_messages")
    op.drop_table("stats_hourly_totals")
    op.drop_table("stats_daily")


def _create(name: str, time: str, what: str, more: Sequence[tuple[str, int]]) -> None:
    keys = (("kind", 12), ("sender", 20), *more)
    op.create_table(
        name,
        sa.Column(time, sa.BigInteger(), nullable=False, comment=what, autoincrement=False),
        *(sa.Column(key, sa.String(length), nullable=False) for key, length in keys),
        *(_measure(measure, time) for measure in _MEASURES),
        sa.PrimaryKeyConstraint(time, *(key for key, _ in keys), name=op.f(f"pk_{name}")),
        sqlite_with_rowid=False,
    )


def _measure(name: str, time: str) -> sa.Column[int]:
    comment = f"POSTs that started in this {time}" if name == "attempts" else _COMMENTS.get(name)
    default = "0" if name == "superseded" else None
    return sa.Column(name, sa.BigInteger(), nullable=False, comment=comment, server_default=default)


def _fill(name: str, time: str, keys: str) -> None:
    measures = ", ".join(_MEASURES)
    sums = ", ".join(f"sum({measure})" for measure in _MEASURES)
    key = "day" if name == "stats_daily" else "hour"
    op.execute(
        f"INSERT INTO {name} ({key}, {keys}, {measures}) SELECT {time}, {keys}, {sums} FROM stats_hourly "  # noqa: S608
        f"GROUP BY {time}, {keys}"
    )
