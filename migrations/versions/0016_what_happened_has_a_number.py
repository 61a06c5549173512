"""Events: what happened to messages and campaigns, in an order that readers can follow.

Triggers, because a status is changed in some twenty statements, and by hand as well. On PostgreSQL one row for each
statement, type and campaign; it gets its number after its transaction is committed. SQLite has one writer and row
triggers only: one row for each message, whose id is its number.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_ID = sa.Uuid(as_uuid=False).with_variant(sa.String(length=36), "sqlite")

# Words at the time of this migration.
_OPEN = "('claimed', 'sending', 'queued', 'retry')"
# As IN, it would make SQLite build a set for each row: 2 µs for each move of a message instead of 0.4.
_ENDED = (
    "NEW.status <> 'claimed' AND NEW.status <> 'sending' AND NEW.status <> 'queued' AND NEW.status <> 'retry'"
)
_TYPE = """CASE WHEN {o}.status = 'unknown' AND {n}.status NOT IN ('delivered', 'read') THEN 'message.resolved'
           ELSE 'message.' || {n}.status END"""
#: What a resolved message is now.
_DATA = """CASE WHEN {o}.status = 'unknown' AND {n}.status NOT IN ('delivered', 'read')
           THEN '{{"status":"' || {n}.status || '"}}' END"""
_MOVED = "{o}.status <> {n}.status AND ({ended} OR {o}.status = 'unknown')"
_NOW_POSTGRESQL = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
_NOW_SQLITE = "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
_OF_TABLES = {"o": "o", "n": "n", "ended": f"n.status NOT IN {_OPEN}"}
_OF_ROW = {"o": "OLD", "n": "NEW", "ended": f"({_ENDED})"}
_CAMPAIGN = """CASE WHEN NEW.status IN ('paused', 'finished', 'cancelled') THEN 'campaign.' || NEW.status
               WHEN OLD.status = 'paused' THEN 'campaign.resumed'
               WHEN OLD.status = 'finished' THEN 'campaign.reopened' END"""

_POSTGRESQL = (
    # The ids of a statement are not worth an attempt to compress them.
    "ALTER TABLE events ALTER COLUMN items SET STORAGE EXTERNAL",
    f"""
CREATE FUNCTION bulksend_note_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM old_rows WHERE status NOT IN {_OPEN}) THEN
    -- None had ended before: each that has ended now has moved, and no join says so.
    IF EXISTS (SELECT 1 FROM new_rows WHERE status NOT IN {_OPEN}) THEN
      INSERT INTO events (type, at, campaign_id, count, items)
      SELECT 'message.' || n.status, {_NOW_POSTGRESQL}, n.campaign_id, count(*), array_agg(n.id)
      FROM new_rows n WHERE n.status NOT IN {_OPEN} GROUP BY n.campaign_id, n.status;
    END IF;
  ELSE
    INSERT INTO events (type, at, campaign_id, count, items, data)
    SELECT m.type, {_NOW_POSTGRESQL}, m.campaign_id, count(*), array_agg(m.id), m.data
    FROM (SELECT {_TYPE.format(**_OF_TABLES)} AS type, {_DATA.format(**_OF_TABLES)} AS data, n.campaign_id, n.id
          FROM new_rows n JOIN old_rows o ON o.id = n.id WHERE {_MOVED.format(**_OF_TABLES)}) AS m
    GROUP BY m.campaign_id, m.type, m.data;
  END IF;
  RETURN NULL;
END $$
""",  # noqa: S608 - our own words
    f"""
CREATE FUNCTION bulksend_note_new_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM new_rows WHERE status NOT IN {_OPEN}) THEN
    INSERT INTO events (type, at, campaign_id, count, items)
    SELECT 'message.' || n.status, {_NOW_POSTGRESQL}, n.campaign_id, count(*), array_agg(n.id)
    FROM new_rows n WHERE n.status NOT IN {_OPEN} GROUP BY n.campaign_id, n.status;
  END IF;
  RETURN NULL;
END $$
""",  # noqa: S608 - our own words
    f"""
CREATE FUNCTION bulksend_note_campaign() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  what text := 'campaign.started';
BEGIN
  IF TG_OP = 'UPDATE' THEN
    what := {_CAMPAIGN};
  END IF;
  IF what IS NOT NULL THEN
    INSERT INTO events (type, at, campaign_id, count) VALUES (what, {_NOW_POSTGRESQL}, NEW.id, 1);
  END IF;
  RETURN NULL;
END $$
""",  # noqa: S608 - our own words
    """CREATE TRIGGER messages_noted_in AFTER INSERT ON messages REFERENCING NEW TABLE AS new_rows
       FOR EACH STATEMENT EXECUTE FUNCTION bulksend_note_new_messages()""",
    """CREATE TRIGGER messages_noted_on AFTER UPDATE ON messages
       REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
       FOR EACH STATEMENT EXECUTE FUNCTION bulksend_note_messages()""",
    """CREATE TRIGGER campaigns_noted_in AFTER INSERT ON campaigns
       FOR EACH ROW EXECUTE FUNCTION bulksend_note_campaign()""",
    """CREATE TRIGGER campaigns_noted_on AFTER UPDATE OF status ON campaigns
       FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION bulksend_note_campaign()""",
)

_SQLITE = (
    f"""CREATE TRIGGER messages_noted_in AFTER INSERT ON messages WHEN {_ENDED}
        BEGIN INSERT INTO events (seq, type, at, campaign_id, count, items)
        VALUES (0, 'message.' || NEW.status, {_NOW_SQLITE}, NEW.campaign_id, 1, NEW.id); END""",  # noqa: S608
    f"""CREATE TRIGGER messages_noted_on AFTER UPDATE OF status ON messages WHEN {_MOVED.format(**_OF_ROW)}
        BEGIN INSERT INTO events (seq, type, at, campaign_id, count, items, data)
        VALUES (0, {_TYPE.format(**_OF_ROW)}, {_NOW_SQLITE}, NEW.campaign_id, 1, NEW.id,
                {_DATA.format(**_OF_ROW)}); END""",  # noqa: S608 - our own words
    f"""CREATE TRIGGER campaigns_noted_in AFTER INSERT ON campaigns
        BEGIN INSERT INTO events (seq, type, at, campaign_id, count)
        VALUES (0, 'campaign.started', {_NOW_SQLITE}, NEW.id, 1); END""",  # noqa: S608 - our own words
    f"""CREATE TRIGGER campaigns_noted_on AFTER UPDATE OF status ON campaigns
        WHEN OLD.status <> NEW.status AND {_CAMPAIGN} IS NOT NULL
        BEGIN INSERT INTO events (seq, type, at, campaign_id, count)
        VALUES (0, {_CAMPAIGN}, {_NOW_SQLITE}, NEW.id, 1); END""",  # noqa: S608 - our own words
)

_LATE_CODES = "kind = 'otp' AND status = 'accepted' AND undelivered_at IS NULL"


def upgrade() -> None:
    """Events from now on."""
    op.create_table(
        "events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
            comment="the order of writing; on SQLite the number",
        ),
        sa.Column(
            "seq",
            sa.BigInteger(),
            comment="the number of its last item; null until it is numbered; on SQLite 0, see ledger/events.py",
        ),
        sa.Column("count", sa.Integer(), nullable=False, comment="of its items; 1 without items"),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("campaign_id", _ID),
        sa.Column(
            "items",
            sa.ARRAY(sa.Uuid(as_uuid=False)).with_variant(sa.String(length=36), "sqlite"),
            comment="the messages it happened to, by their ids",
        ),
        sa.Column("data", sa.Text(), comment="JSON: what else there is to say"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        # Ids of deleted rows are not given again.
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_events_seq",
        "events",
        ["seq"],
        unique=True,
        sqlite_where=sa.text("seq > 0"),
        postgresql_where=sa.text("seq IS NOT NULL"),
    )
    op.create_index(
        "ix_events_unnumbered",
        "events",
        ["id"],
        sqlite_where=sa.text("seq IS NULL"),
        postgresql_where=sa.text("seq IS NULL"),
    )
    op.add_column(
        "messages",
        sa.Column(
            "undelivered_at", sa.BigInteger(), comment="when message.undelivered was said, of a one-time code"
        ),
    )
    op.create_index(
        "ix_messages_late_codes",
        "messages",
        ["accepted_at"],
        sqlite_where=sa.text(_LATE_CODES),
        postgresql_where=sa.text(_LATE_CODES),
    )
    for statement in _POSTGRESQL if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Without them."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for table in ("messages", "campaigns"):
        for trigger in (f"{table}_noted_in", f"{table}_noted_on"):
            op.execute(f"DROP TRIGGER {trigger}{f' ON {table}' if postgresql else ''}")
    if postgresql:
        for function in ("messages", "new_messages", "campaign"):
            op.execute(f"DROP FUNCTION bulksend_note_{function}()")
    op.execute("DELETE FROM installation WHERE name = 'events_numbered'")
    op.drop_index("ix_messages_late_codes", "messages")
    op.drop_column("messages", "undelivered_at")
    op.drop_index("ix_events_unnumbered", "events")
    op.drop_index("ix_events_seq", "events")
    op.drop_table("events")
