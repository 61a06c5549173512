"""How many messages of a campaign are in each status, kept by the database itself with every change.

Triggers, because a status is changed in some twenty statements, and by hand as well. On PostgreSQL one small upsert a
statement, in a part of the connection's own, so that no transaction ever waits for another's; SQLite has one writer.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")

_POSTGRESQL = (
    """
CREATE FUNCTION bulksend_count_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO campaign_counts AS c (campaign_id, status, part, messages, attempts)
    SELECT n.campaign_id, n.status, pg_backend_pid(), count(*), sum(n.attempts)
    FROM new_rows n GROUP BY n.campaign_id, n.status
    ON CONFLICT (campaign_id, status, part) DO UPDATE
      SET messages = c.messages + excluded.messages, attempts = c.attempts + excluded.attempts;
  ELSIF TG_OP = 'UPDATE' THEN
    INSERT INTO campaign_counts AS c (campaign_id, status, part, messages, attempts)
    SELECT m.campaign_id, m.status, pg_backend_pid(), sum(m.messages), sum(m.attempts)
    FROM (SELECT n.campaign_id, n.status, 1 AS messages, n.attempts FROM new_rows n
          UNION ALL SELECT o.campaign_id, o.status, -1, -o.attempts FROM old_rows o) AS m
    GROUP BY m.campaign_id, m.status HAVING sum(m.messages) <> 0 OR sum(m.attempts) <> 0
    ON CONFLICT (campaign_id, status, part) DO UPDATE
      SET messages = c.messages + excluded.messages, attempts = c.attempts + excluded.attempts;
  ELSE
    INSERT INTO campaign_counts AS c (campaign_id, status, part, messages, attempts)
    SELECT o.campaign_id, o.status, pg_backend_pid(), -count(*), -sum(o.attempts)
    FROM old_rows o GROUP BY o.campaign_id, o.status
    ON CONFLICT (campaign_id, status, part) DO UPDATE
      SET messages = c.messages + excluded.messages, attempts = c.attempts + excluded.attempts;
  END IF;
  RETURN NULL;
END $$
""",
    """CREATE TRIGGER messages_counted_in AFTER INSERT ON messages REFERENCING NEW TABLE AS new_rows
       FOR EACH STATEMENT EXECUTE FUNCTION bulksend_count_messages()""",
    """CREATE TRIGGER messages_counted_on AFTER UPDATE ON messages
       REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
       FOR EACH STATEMENT EXECUTE FUNCTION bulksend_count_messages()""",
    """CREATE TRIGGER messages_counted_out AFTER DELETE ON messages REFERENCING OLD TABLE AS old_rows
       FOR EACH STATEMENT EXECUTE FUNCTION bulksend_count_messages()""",
)

_IN = """INSERT INTO campaign_counts (campaign_id, status, part, messages, attempts)
         VALUES (NEW.campaign_id, NEW.status, 0, 1, NEW.attempts)
         ON CONFLICT (campaign_id, status, part) DO UPDATE
           SET messages = messages + 1, attempts = attempts + excluded.attempts;"""
_OUT = """UPDATE campaign_counts SET messages = messages - 1, attempts = attempts - OLD.attempts
          WHERE campaign_id = OLD.campaign_id AND status = OLD.status AND part = 0;"""
_SQLITE = (
    f"CREATE TRIGGER messages_counted_in AFTER INSERT ON messages BEGIN {_IN} END",
    f"""CREATE TRIGGER messages_counted_on AFTER UPDATE OF status, attempts ON messages
        WHEN OLD.status <> NEW.status OR OLD.attempts <> NEW.attempts BEGIN {_OUT} {_IN} END""",
    f"CREATE TRIGGER messages_counted_out AFTER DELETE ON messages BEGIN {_OUT} END",
)

_FILL = """
INSERT INTO campaign_counts (campaign_id, status, part, messages, attempts)
SELECT campaign_id, status, 0, count(*), sum(attempts) FROM messages GROUP BY campaign_id, status
"""


def upgrade() -> None:
    """The table, what keeps it (which waits for those who write, and makes them wait), and what it says today."""
    op.create_table(
        "campaign_counts",
        sa.Column("campaign_id", _ID, nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column(
            "part",
            sa.Integer(),
            nullable=False,
            comment="the connection that counted; their sum is the number",
        ),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False, comment="of the messages in that status"),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["campaigns.id"],
            name=op.f("fk_campaign_counts_campaign_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("campaign_id", "status", "part", name=op.f("pk_campaign_counts")),
        # Room beside each row for its next version: no index is touched by counting.
        postgresql_with={"fillfactor": 50},
        sqlite_with_rowid=False,
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)
    op.execute(_FILL)


def downgrade() -> None:
    """Without it."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for trigger in ("messages_counted_in", "messages_counted_on", "messages_counted_out"):
        op.execute(f"DROP TRIGGER {trigger}{' ON messages' if postgresql else ''}")
    if postgresql:
        op.execute("DROP FUNCTION bulksend_count_messages()")
    op.drop_table("campaign_counts")
