"""The schema: from nothing to the newest and back, and never different from what the code believes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, inspect, text

from bulksend.errors import LedgerUnreachable, SchemaOutdated
from bulksend.ledger import counters, in_flight
from bulksend.ledger.counters import Counts
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import MIGRATIONS, check_schema, migrate, newest_revision
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.schema import metadata
from bulksend.ledger.write_ahead import Opening
from bulksend.messaging import Accepted, Evidence, NotSent, OnUnknown, Outcome, Refused, Status, Unknown
from bulksend.messaging.states import HELD
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


#: A message in each state that a worker leaves it in: how it is shown, and the outcomes of its attempts.
STATES: dict[str, tuple[str, list[str | None]]] = {
    "queued": ("queued", []),
    "retry": ("retry", ["not_sent"]),
    "claimed": ("claimed", []),
    "claimed again": ("claimed", ["not_sent"]),
    "sending": ("sending", [None]),
    "sending again": ("sending", ["not_sent", None]),
    "accepted": ("accepted", ["accepted"]),
    "failed": ("failed", ["refused"]),
    "unknown": ("unknown", ["unknown"]),
    "delivered": ("delivered", ["accepted"]),
    "accepted while sending again": ("accepted", ["accepted", None]),
}


def in_every_state(desk: Desk) -> tuple[str, dict[str, str], list[Opening]]:
    """A message in each of the states, the lease that holds some, and the attempts that are open."""
    ids = dict(zip(STATES, desk.queued(n=len(STATES), on_unknown=OnUnknown.RESEND), strict=True))
    lease, late = desk.lease(), ids["accepted while sending again"]
    answers: list[tuple[Outcome, tuple[str, ...]]] = [
        (NotSent("no connection"), ("retry", "claimed again", "sending again")),
        (Refused("17009", "no such template"), ("failed",)),
        (Unknown("no answer"), ("unknown",)),
    ]
    for outcome, of in answers:
        for opening in desk.sent(lease, [ids[name] for name in of]):
            desk.settle(opening, outcome)
    desk.accepted([ids["accepted"]], lease)
    (mid,) = desk.accepted([ids["delivered"]], lease)
    desk.receive(Receipt(mid, "delivered", desk.now()))
    (first,) = desk.sent(lease, [late])
    desk.settle(first, Unknown("no answer"), status=Status.RETRY, due_at=0)
    desk.claim(lease, [ids["claimed"], ids["claimed again"]])
    opened = [
        *desk.sent(lease, [ids["sending"]]),
        *desk.sent(lease, [ids["sending again"]]),
        *desk.sent(lease, [late]),
    ]
    desk.settle(first, Accepted("mid-1", "rid-1"), evidence=Evidence(200, 0, message_id="mid-1"))
    return lease, ids, opened


def states(desk: Desk, ids: dict[str, str]) -> dict[str, tuple[str, list[str | None]]]:
    return {name: (desk.status(id), desk.outcomes(id)) for name, id in ids.items()}


def told(desk: Desk, ids: dict[str, str]) -> list[object]:
    """All that is shown of the messages and of their attempts, and the counts of their campaign."""
    rows = [desk.row(id) for id in ids.values()]
    campaign = str(rows[0]["campaign_id"])
    return [*rows, *(desk.attempts(id) for id in ids.values()), desk.read(counters.of, [campaign])]


def held_before(desk: Desk) -> dict[str, tuple[str, str | None, list[str | None]]]:
    """By the schema of 0043: the status of each message, the lease that holds it, the outcomes of its attempts.

    Each counts its attempts and names the newest.
    """
    with desk.database.read() as tx:
        tried: dict[str, list[tuple[str, int, str | None]]] = {}
        for of, *attempt in tx.execute(
            text(
                "SELECT CAST(message_pk AS text), CAST(id AS text), started_at, outcome FROM attempts ORDER BY n"
            )
        ):
            tried.setdefault(of, []).append((attempt[0], attempt[1], attempt[2]))
        rows = tx.execute(
            text(
                "SELECT CAST(id AS text), status, CAST(owner AS text), attempts, CAST(attempt_id AS text), sent_at "
                "FROM messages"
            )
        ).all()
    found = {}
    for id, status, owner, attempts, newest, sent_at in rows:
        of_it = tried.get(id, [])
        assert (attempts, newest, sent_at) == (len(of_it), *(of_it[-1][:2] if of_it else (None, None)))
        found[id] = (status, owner, [outcome for _, _, outcome in of_it])
    return found


def test_what_workers_hold_moves_to_rows_of_its_own_and_back(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    desk = Desk(database)
    lease, ids, _ = in_every_state(desk)
    late = "accepted while sending again"
    assert states(desk, ids) == STATES
    assert desk.broken() == {}
    first = told(desk, {name: id for name, id in ids.items() if name != late})[:-1]
    migrate(database, "0043")
    # No row of the schema before says that a message was accepted while an attempt of it is open.
    before = STATES | {late: ("accepted", ["accepted", "unknown"])}
    assert held_before(desk) == {
        ids[name]: (status, lease if status in HELD else None, outcomes)
        for name, (status, outcomes) in before.items()
    }
    migrate(database)
    assert states(desk, ids) == before
    assert told(desk, {name: id for name, id in ids.items() if name != late})[:-1] == first
    assert desk.read(in_flight.claimed_under, lease) == sorted([ids["claimed"], ids["claimed again"]])
    assert desk.broken() == {}
    again = told(desk, ids)
    migrate(database, "0043")
    migrate(database)
    assert told(desk, ids) == again
    database.close()


def test_what_workers_held_during_a_migration_is_settled_and_rescued_after_it(database_url: str) -> None:
    database = Database(database_url)
    migrate(database)
    desk = Desk(database)
    lease, ids, (sending, _, late) = in_every_state(desk)
    migrate(database, "0043")
    migrate(database)
    for opening in (sending, late):
        desk.settle(opening, Accepted(f"mid-{opening.attempt_id}", "rid"))
    desk.lapse(lease)
    desk.rescue()
    assert states(desk, ids) == STATES | {
        "claimed": ("queued", []),
        "claimed again": ("retry", ["not_sent"]),
        "sending": ("accepted", ["accepted"]),
        "sending again": ("unknown", ["not_sent", "unknown"]),
        "accepted while sending again": ("accepted", ["accepted", "accepted"]),
    }
    assert desk.broken() == {}
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
