"""The schema: from nothing to the newest and back, and never different from what the code believes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text

from bulksend.errors import LedgerUnreachable, SchemaOutdated
from bulksend.ledger import counters
from bulksend.ledger.counters import Counts
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import MIGRATIONS, check_schema, migrate, newest_revision
from bulksend.ledger.schema import metadata
from tests.integration.ledger.conftest import Desk


def test_an_empty_database_is_brought_up_and_back_to_nothing(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(SchemaOutdated, match="bulksend migrate"):
        check_schema(database)
    migrate(database)
    check_schema(database)
    migrate(database, "base")
    with database.read() as tx:
        assert set(inspect(tx).get_table_names()) <= {"alembic_version"}
    migrate(database)
    check_schema(database)
    database.close()


def test_the_migrations_make_just_the_tables_that_the_code_reads(ledger: Database) -> None:
    with ledger.read() as tx:
        differences = compare_metadata(MigrationContext.configure(tx), metadata)
    assert differences == []


def test_the_newest_revision_is_the_one_that_alembic_finds() -> None:
    assert newest_revision() == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def test_migrating_twice_changes_nothing(ledger: Database) -> None:
    migrate(ledger)
    check_schema(ledger)


def test_the_messages_that_are_there_are_counted_when_counting_begins(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    desk = Desk(database)
    ids = desk.queued(n=3)
    desk.sent(desk.lease(), ids[:1])
    for revision in ("0004", "head", "0004", "head"):
        migrate(database, revision)
    campaign = str(desk.row(ids[0])["campaign_id"])
    assert desk.read(counters.of, [campaign]) == {campaign: Counts({"queued": 2, "sending": 1}, 1)}
    assert desk.broken() == {}
    desk.sent(desk.lease(), ids[1:2])
    assert desk.broken() == {}
    database.close()


def test_a_messages_strikes_are_kept_when_their_column_is_renamed_and_named_back(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    desk = Desk(database)
    (id,) = desk.queued()
    desk.sql("UPDATE messages SET strikes = 2")
    migrate(database, "0007")
    assert desk.scalar("SELECT rescues FROM messages") == 2
    migrate(database)
    assert desk.row(id)["strikes"] == 2
    database.close()


def test_the_workers_on_record_stay_when_a_column_of_theirs_is_dropped_and_made_again(
    database_url: str,
) -> None:
    database = Database(database_url)
    migrate(database)
    desk = Desk(database)
    (id,) = desk.queued()
    lease = desk.lease()
    desk.sent(lease, [id])
    migrate(database, "0007")
    desk.sql("UPDATE workers SET limiter_away_at = 1")
    migrate(database)
    assert desk.scalar("SELECT CAST(id AS text) FROM workers WHERE ended_at IS NULL") == lease
    assert desk.row(id)["status"] == "sending"
    database.close()


def test_an_upgrade_of_a_ledger_in_use_keeps_no_lock_from_one_step_to_the_next(postgres_url: str) -> None:
    database = Database(postgres_url)
    migrate(database, "0020")
    commits: list[object] = []
    event.listen(database.engine, "commit", commits.append)
    migrate(database)
    database.close()
    assert len(commits) == int(newest_revision()) - 20


def test_an_upgrade_behind_a_long_read_lets_writers_pass_and_goes_on_after_it(postgres_url: str) -> None:
    database, other = Database(postgres_url), Database(postgres_url)
    migrate(database, "0015")
    with ThreadPoolExecutor(1) as thread, other.read() as long_read:
        long_read.execute(text("SELECT count(*) FROM messages"))
        with pytest.raises(LedgerUnreachable, match="run `bulksend migrate` again"):
            migrate(database, lock_ms=50, patience_s=0)
        upgrade = thread.submit(migrate, database, lock_ms=200)
        with other.autocommit() as tx:
            while not tx.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar():
                pass
        with other.write() as tx:
            tx.execute(text("UPDATE messages SET waits = waits"))
        assert not upgrade.done()
        long_read.rollback()
        upgrade.result(30)
    check_schema(database)
    database.close()
    other.close()
