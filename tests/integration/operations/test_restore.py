"""An older ledger is made safe: what may have been sent after the backup is not sent again unless a person says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bulksend.errors import WrongState
from bulksend.ledger import (
    campaign_retry,
    campaign_settings,
    campaigns,
    canary,
    event_numbers,
    events,
    leases,
    messages,
    pauses,
    plans,
    unknowns,
)
from bulksend.ledger.database import Database
from bulksend.ledger.search import Query
from bulksend.ledger.unknowns import Trace
from bulksend.messaging.canary import CanaryRules
from bulksend.messaging.outcome import Refused
from bulksend.messaging.states import CampaignStatus, Kind, OnUnknown
from bulksend.operations.restore import Marked, mark_restored
from tests.conftest import Databases
from tests.integration.ledger.conftest import ACCOUNT, Desk

HOUR_MS = 3_600_000
WHY = "the disk died; backup of noon"


class Backup:
    """Backups of the desk's ledger while it is in use, and ledgers restored from them."""

    def __init__(self, desk: Desk, folder: Path, request: pytest.FixtureRequest) -> None:
        self._desk = desk
        self._folder = folder
        self._request = request
        self._opened: list[Desk] = []

    def restored(self) -> Desk:
        """A desk at a ledger of this moment."""
        database = self._desk.database
        if database.is_sqlite:
            file = self._folder / "restored.db"
            # As docs/operations.md has it, by another process.
            with closing(sqlite3.connect(database.url.database or "")) as source:
                source.execute("VACUUM INTO ?", (str(file),))
            url = f"sqlite:///{file}"
        else:
            database.engine.dispose()  # a template must not be in use
            databases: Databases = self._request.getfixturevalue("postgres_databases")
            url = databases.new(str(database.url.database))
            self._request.addfinalizer(lambda: databases.drop(url))
        made = Desk(Database(url))
        self._opened.append(made)
        return made

    def close(self) -> None:
        for desk in self._opened:
            desk.database.close()


@pytest.fixture
def backup(desk: Desk, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Backup]:
    made = Backup(desk, tmp_path, request)
    yield made
    made.close()


def mark(desk: Desk, *, dry_run: bool = False) -> Marked:
    return mark_restored(desk.database, ACCOUNT, actor="ada", why=WHY, dry_run=dry_run)


def resume(desk: Desk) -> None:
    desk.write(pauses.resume_account, ACCOUNT, actor="ada", why="checked")


def claimable(desk: Desk, *ids: str) -> list[str]:
    return [claimed.id for claimed in desk.claim(desk.lease("new:1"), ids)]


def doubted(desk: Desk) -> set[str]:
    """The messages that are unknown for the sake of the restore."""
    found = desk.read(unknowns.unknown, Query(), traces=[Trace.RESTORED], limit=100)
    return {str(row["id"]) for row in found}


def test_what_was_sent_after_the_backup_is_sent_again_only_when_a_person_says_so(
    desk: Desk, backup: Backup
) -> None:
    blast = desk.queued(n=5)
    (code,) = desk.queued(Kind.OTP, life_ms=HOUR_MS)
    lease = desk.lease()
    desk.accepted(blast[:1], lease)
    restored = backup.restored()
    restored.lapse(lease)
    # What the vendor got after the backup: the ledger that knew it is lost.
    desk.accepted([*blast[1:], code], lease)

    done = mark(restored)
    assert (done.unknown, done.account) == (5, ACCOUNT)
    resume(restored)
    assert claimable(restored, *blast, code) == []
    assert doubted(restored) == {*blast[1:], code}
    assert restored.broken() == {}

    restored.write(messages.resolve, blast[2], as_="resend", actor="ada", why="not on the bill")
    restored.write(messages.resolve, blast[3], as_="accepted", actor="ada", why="on the bill")
    assert claimable(restored, *blast, code) == [blast[2]]
    assert restored.broken() == {}


def test_no_event_has_a_number_that_a_reader_saw_before_the_restore(desk: Desk, backup: Backup) -> None:
    mark(desk)  # before the first event
    resume(desk)
    ids = desk.queued(n=4)
    lease = desk.lease()
    desk.accepted(ids[:1], lease)
    restored = backup.restored()
    restored.lapse(lease)
    desk.accepted(ids[1:], lease)
    event_numbers.number_all(desk.database)
    seen = desk.read(event_numbers.newest)

    event_numbers.number_all(restored.database)
    before = restored.read(event_numbers.newest)
    mark(restored)
    event_numbers.number_all(restored.database)
    restored.read(event_numbers.check_after, seen)
    later = restored.read(events.after, seen, 100)
    assert [event.type for event in later] == ["message.unknown"] * 3
    assert {event.data["id"] for event in later} == set(ids[1:])
    assert event_numbers.count_between(before, restored.read(event_numbers.newest)) == 3
    # A reader that had not seen all of the backup misses none of it.
    assert len(restored.read(events.after, 0, 100)) == len(desk.read(events.after, 0, 100))


def test_what_was_not_due_yet_goes_out_at_its_time(desk: Desk, backup: Backup) -> None:
    restored = backup.restored()
    later, quiet = restored.queued(n=2)
    restored.sql("UPDATE messages SET due_at = :at", at=restored.now() + HOUR_MS)
    restored.sql("UPDATE messages SET gate = 'quiet_hours' WHERE CAST(id AS text) = :id", id=quiet)
    (before,) = restored.queued(n=1)
    assert mark(restored).unknown == 1
    assert doubted(restored) == {before}
    assert restored.status(later) == restored.status(quiet) == "queued"


def test_what_was_off_its_schedule_may_have_got_a_time_and_been_sent_since(
    desk: Desk, backup: Backup
) -> None:
    later = desk.now() + HOUR_MS
    (id,) = desk.queued(n=1, due_at=later)
    desk.sql("UPDATE messages SET due_at = :at", at=later)
    campaign = str(desk.row(id)["campaign_id"])
    campaign_settings.unschedule(desk.database, campaign, actor="ada", why="not yet")
    assert desk.read(campaigns.get, campaign).is_unscheduled
    restored = backup.restored()
    assert (mark(restored, dry_run=True).unknown, mark(restored).unknown) == (1, 1)
    assert restored.status(id) == "unknown"
    assert restored.broken() == {}


def test_nothing_is_sent_before_a_person_resumes_the_account(desk: Desk, backup: Backup) -> None:
    restored = backup.restored()
    mark(restored)
    (new,) = restored.queued()
    assert claimable(restored, new) == []
    account = restored.read(pauses.account_pause, ACCOUNT)
    assert account is not None
    assert account[1] == WHY
    resume(restored)
    assert claimable(restored, new) == [new]


@pytest.mark.parametrize("on_unknown", OnUnknown)
def test_a_flight_record_of_after_the_backup_clears_nothing(
    desk: Desk, backup: Backup, on_unknown: OnUnknown
) -> None:
    """The worker of that lease went on: its record lacks the attempts that it finished, and says nothing of them."""
    lease = desk.lease()
    ids = desk.queued(n=3, on_unknown=on_unknown)
    desk.sent(lease, ids[:2])
    desk.claim(lease, ids[2:])
    restored = backup.restored()
    restored.lapse(lease)
    assert mark(restored).unknown == 3
    resume(restored)
    reaped = restored.write(leases.reap, lease, rendering=None, begun=[], resend_wait_ms=0)
    assert reaped == leases.Rescued([], [], [])
    restored.rescue()
    assert claimable(restored, *ids) == []
    assert doubted(restored) == set(ids)
    assert restored.broken() == {}


def test_a_message_that_a_relay_called_lost_before_is_not_cleared_either(desk: Desk, backup: Backup) -> None:
    lease = desk.lease()
    ids = desk.queued(n=1)
    desk.sent(lease, ids)
    restored = backup.restored()
    restored.lapse(lease)
    restored.rescue()
    mark(restored)
    resume(restored)
    restored.write(leases.reap, lease, rendering=None, begun=[], resend_wait_ms=0)
    assert claimable(restored, *ids) == []
    assert restored.broken() == {}


def test_a_code_that_may_have_been_sent_is_wiped_and_one_past_its_life_is_never_late(
    desk: Desk, backup: Backup
) -> None:
    ids = [*desk.queued(Kind.OTP, life_ms=HOUR_MS), *desk.queued(Kind.OTP, life_ms=1)]
    restored = backup.restored()
    mark(restored)
    assert doubted(restored) == set(ids)
    assert restored.scalar("SELECT count(*) FROM messages WHERE payload IS NOT NULL") == 0
    assert restored.broken() == {}


def test_a_campaign_whose_rows_were_not_all_taken_in_waits_for_a_person(desk: Desk, backup: Backup) -> None:
    campaign = desk.campaign()
    desk.take(campaign, desk.new_message(1))
    restored = backup.restored()
    assert mark(restored).campaigns_paused == [campaign.id]
    assert restored.read(campaigns.get, campaign.id).status is CampaignStatus.PAUSED


def test_what_a_retry_had_not_reached_is_not_queued(desk: Desk, backup: Backup) -> None:
    ids = desk.queued(n=3)
    for opening in desk.sent(desk.lease(), ids):
        desk.settle(opening, Refused("17009", "no such template"))
    campaign = str(desk.row(ids[0])["campaign_id"])
    campaign_retry.retry(desk.database, campaign, at_once=1, step=1, actor="ada", why="mended")
    restored = backup.restored()
    # After the backup the relay queued the others, and the vendor got them.
    restored.sql("UPDATE workers SET lease_until = 0")
    assert mark(restored).retries_ended == [campaign]
    assert restored.write(campaign_retry.retry_rest) == {"looked_at": 0, "queued": 0}
    assert [restored.status(id) for id in ids] == ["unknown", "failed", "failed"]
    assert restored.broken() == {}


def test_what_a_canary_held_may_have_been_sent_since(desk: Desk, backup: Backup) -> None:
    ids = sorted(desk.queued(n=60, canary="50"))
    campaign = desk.read(campaigns.get, str(desk.row(ids[0])["campaign_id"]))
    rules = CanaryRules(max_failed=0.05, min_delivered=0.7, wait_ms=60_000)
    desk.write(canary.advance, campaign, rules, actor="relay")
    restored = backup.restored()
    mark(restored)
    assert [restored.status(id) for id in ids] == ["unknown"] * 60
    assert restored.read(campaigns.get, campaign.id).held_after is not None
    assert restored.broken() == {}


def test_a_plan_that_may_have_been_applied_is_open_no_more(desk: Desk, backup: Backup) -> None:
    plan = desk.write(plans.add, desk.new_plan(), lives_ms=HOUR_MS)
    restored = backup.restored()
    assert mark(restored).plans_expired == [plan.id]
    with pytest.raises(WrongState, match="expired"):
        restored.read(plans.check_live, restored.read(plans.get, plan.id))
    assert mark(restored).plans_expired == []


def test_it_is_refused_while_a_worker_runs_and_a_dry_run_changes_nothing(desk: Desk, backup: Backup) -> None:
    desk.queued(n=3)
    lease = desk.lease()
    restored = backup.restored()
    with pytest.raises(WrongState, match="workers are running: host:1"):
        mark(restored)
    restored.lapse(lease)
    assert mark(restored, dry_run=True).unknown == 3
    assert doubted(restored) == set()
    assert restored.read(pauses.account_pause, ACCOUNT) is None


def test_an_interrupted_run_goes_on_when_it_is_repeated(desk: Desk, backup: Backup) -> None:
    ids = desk.queued(n=3)
    restored = backup.restored()
    assert mark(restored).unknown == 3
    again = mark(restored)
    assert again.unknown == 0
    assert doubted(restored) == set(ids)
    assert [attempt["n"] for attempt in restored.attempts(ids[0])] == [1]
