"""Messages in flight have a small row of their own: a claim and a write-ahead no longer write the message's row.

A message that a worker has waits by its row. An attempt is inserted when it has ended; its key is its message and its
number. A RequestId is found among the attempts alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")

#: The newest attempt of a message without the open one.
_BEFORE = """(SELECT a.{column} FROM attempts a WHERE a.message_pk = messages.id AND a.outcome IS NOT NULL
    ORDER BY a.n DESC LIMIT 1)"""
_UP = (
    """INSERT INTO in_flight (message_pk, owner, attempt_id, started_at)
       SELECT id, owner, CASE WHEN status = 'sending' THEN attempt_id END, CASE WHEN status = 'sending' THEN sent_at END
       FROM messages WHERE status IN ('claimed', 'sending')""",
    """DELETE FROM attempts WHERE outcome IS NULL
       AND message_pk IN (SELECT message_pk FROM in_flight WHERE attempt_id IS NOT NULL)""",
    f"""UPDATE messages SET attempts = attempts - 1, attempt_id = {_BEFORE.format(column="id")},
           sent_at = {_BEFORE.format(column="started_at")}
        WHERE status = 'sending'""",  # noqa: S608 - our own words
    """UPDATE messages SET status = CASE WHEN attempts > 0 THEN 'retry' ELSE 'queued' END
       WHERE status IN ('claimed', 'sending')""",
)
_WAITS = "m.status IN ('queued', 'retry')"
# An attempt of a message that evidence of an earlier one moved meanwhile is unknown, as a rescue leaves it: the result
# of its worker replaces that.
_DOWN = (
    f"""INSERT INTO attempts (id, message_pk, n, owner, worker, sender, started_at, finished_at, outcome, error)
       SELECT f.attempt_id, m.id, m.attempts + 1, f.owner, COALESCE(w.name, ''), m.sender, f.started_at,
           CASE WHEN NOT {_WAITS} THEN f.started_at END, CASE WHEN NOT {_WAITS} THEN 'unknown' END,
           CASE WHEN NOT {_WAITS} THEN 'its worker was lost' END
       FROM in_flight f JOIN messages m ON m.id = f.message_pk LEFT JOIN workers w ON w.id = f.owner
       WHERE f.attempt_id IS NOT NULL""",  # noqa: S608 - our own words
    """UPDATE messages SET attempts = attempts + 1, attempt_id = f.attempt_id, sent_at = f.started_at,
           status = CASE WHEN status IN ('queued', 'retry') THEN 'sending' ELSE status END,
           owner = CASE WHEN status IN ('queued', 'retry') THEN f.owner END
       FROM in_flight f WHERE f.message_pk = messages.id AND f.attempt_id IS NOT NULL""",
    """UPDATE messages SET status = 'claimed', owner = f.owner
       FROM in_flight f
       WHERE f.message_pk = messages.id AND f.attempt_id IS NULL AND status IN ('queued', 'retry')""",
)


#: Column -> its comment before and after.
_COMMENTS = {
    "messages.attempt_id": ("the newest attempt", "the newest attempt, without one that is open"),
    "messages.attempts": ("POSTs opened", "attempts, without one that is open"),
    "messages.sent_at": ("when the newest POST was opened", "when the newest attempt was opened"),
    "attempts.outcome": (
        "accepted, refused, not_sent, throttled, unknown; null while open",
        "accepted, refused, not_sent, throttled, unknown",
    ),
}


def _comment(which: int) -> None:
    if op.get_bind().dialect.name == "postgresql":
        for column, texts in _COMMENTS.items():
            op.execute(f"COMMENT ON COLUMN {column} IS '{texts[which]}'")


def upgrade() -> None:
    """Move what workers hold."""
    _comment(1)
    op.create_table(
        "in_flight",
        sa.Column("message_pk", _ID, nullable=False),
        sa.Column(
            "owner", _ID, nullable=False, comment="lease of the worker that holds it: the fencing token"
        ),
        sa.Column("attempt_id", _ID, comment="the attempt that is open; null: claimed, and nothing has left"),
        sa.Column(
            "started_at", sa.BigInteger(), comment="when the attempt was opened; committed before the POST"
        ),
        sa.PrimaryKeyConstraint("message_pk", name=op.f("pk_in_flight")),
        postgresql_with={
            "fillfactor": 50,
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 5000,
        },
        sqlite_with_rowid=False,
    )
    for sql in _UP:
        op.execute(sql)
    op.drop_index("ix_messages_held", "messages")
    op.drop_index("ix_messages_request_id", "messages")
    op.execute("ALTER TABLE messages DROP COLUMN owner")
    with op.batch_alter_table("attempts") as table:
        table.drop_constraint("fk_attempts_message_pk", type_="foreignkey")
        table.drop_constraint("uq_attempts_message_pk_n", type_="unique")
        table.drop_constraint("pk_attempts", type_="primary")
        table.create_primary_key("pk_attempts", ["message_pk", "n"])


def downgrade() -> None:
    """Move them back."""
    _comment(0)
    with op.batch_alter_table("attempts") as table:
        table.drop_constraint("pk_attempts", type_="primary")
        table.create_primary_key("pk_attempts", ["id"])
        table.create_unique_constraint("uq_attempts_message_pk_n", ["message_pk", "n"])
        table.create_foreign_key("fk_attempts_message_pk", "messages", ["message_pk"], ["id"])
    op.add_column(
        "messages", sa.Column("owner", _ID, comment="lease of the worker that holds it: the fencing token")
    )
    for sql in _DOWN:
        op.execute(sql)
    has_one = sa.text("request_id IS NOT NULL")
    op.create_index(
        "ix_messages_request_id", "messages", ["request_id"], sqlite_where=has_one, postgresql_where=has_one
    )
    held = sa.text("status IN ('claimed', 'sending')")
    op.create_index("ix_messages_held", "messages", ["owner"], sqlite_where=held, postgresql_where=held)
    op.drop_table("in_flight")
