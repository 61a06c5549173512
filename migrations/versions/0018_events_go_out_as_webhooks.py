"""Endpoints of webhooks, and what is sent to each one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")
_INDEXES = (
    ("ix_webhook_deliveries_endpoint_id_id", ["endpoint_id", "id"], None),
    ("ix_webhook_deliveries_due", ["endpoint_id", "next_at"], "status = 'pending'"),
    ("ix_webhook_deliveries_dead", ["endpoint_id", "created_at"], "status = 'dead'"),
    ("ix_webhook_deliveries_ended", ["ended_at"], "status = 'delivered'"),
    ("ix_webhook_deliveries_bodies", ["ended_at"], "status = 'delivered' AND body IS NOT NULL"),
)


def upgrade() -> None:
    """No endpoint exists at first."""
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", _ID, nullable=False),
        sa.Column(
            "url", sa.String(2000), nullable=False, comment="without its query, which may hold a secret"
        ),
        sa.Column(
            "sealed", sa.LargeBinary(), nullable=False, comment="the whole URL and the secrets, encrypted"
        ),
        sa.Column("events", sa.Text(), nullable=False, comment="types, separated by commas; empty: all"),
        sa.Column("numbers", sa.Boolean(), nullable=False, comment="whether phone numbers are sent in full"),
        sa.Column("status", sa.String(12), nullable=False, comment="active, disabled, removed"),
        sa.Column("status_why", sa.String(500)),
        sa.Column(
            "cursor", sa.BigInteger(), nullable=False, comment="seq of the newest event that is fanned out"
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(100), nullable=False),
        sa.Column(
            "old_secret_until", sa.BigInteger(), comment="until then the secret before this one signs too"
        ),
        sa.Column("failing_since", sa.BigInteger(), comment="first failure after the newest success"),
        sa.Column("succeeded_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", _ID, nullable=False, comment="the webhook-id, the same at every try"),
        sa.Column("endpoint_id", _ID, nullable=False),
        sa.Column("type", sa.String(40), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), comment="null some days after it was delivered"),
        sa.Column("status", sa.String(12), nullable=False, comment="pending, delivered, dead"),
        sa.Column(
            "attempts", sa.Integer(), nullable=False, comment="tries begun since it was made or replayed"
        ),
        sa.Column(
            "next_at",
            sa.BigInteger(),
            nullable=False,
            comment="when it is due; while it is sent, when its lease ends",
        ),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("tried_at", sa.BigInteger(), comment="end of the newest try, as the three below"),
        sa.Column("http_status", sa.Integer()),
        sa.Column("error", sa.String(200)),
        sa.Column("latency_ms", sa.Float()),
        sa.Column("ended_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(
            ["endpoint_id"], ["webhook_endpoints.id"], name=op.f("fk_webhook_deliveries_endpoint_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    for name, columns, where in _INDEXES:
        some = None if where is None else sa.text(where)
        op.create_index(name, "webhook_deliveries", columns, sqlite_where=some, postgresql_where=some)


def downgrade() -> None:
    """Every endpoint and delivery is lost."""
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_endpoints")
