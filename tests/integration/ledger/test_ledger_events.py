"""Every ending has an event with a number, and a reader of the numbers misses nothing and sees nothing twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from bulksend.errors import EventsGone, InvalidValue
from bulksend.ledger import campaign_control, campaigns, event_numbers, events, messages, pauses
from bulksend.ledger.database import Database
from bulksend.ledger.events import Event
from bulksend.ledger.ids import new_id
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.states import Kind, Status

Desk = Any


def told(desk: Desk, after: int = 0, limit: int = 1000) -> list[Event]:
    """What a reader that has seen all up to ``after`` gets."""
    desk.write(event_numbers.number_committed)
    found: list[Event] = desk.read(events.after, after, limit, numbers=True)
    return found


def types_of(desk: Desk, id: str) -> list[str]:
    """The types of a message's events, in order."""
    return [event.type for event in told(desk) if event.data.get("id") == id]


def last(desk: Desk) -> int:
    desk.write(event_numbers.number_committed)
    return int(desk.read(event_numbers.newest))


def test_a_message_that_is_delivered_and_read_has_an_event_of_each(desk: Desk) -> None:
    (id,) = desk.queued()
    (message_id,) = desk.accepted([id])
    desk.receive(Receipt(message_id, "read", 7), Receipt(message_id, "sent", 5))
    assert types_of(desk, id) == ["message.accepted", "message.read"]
    accepted, read = (event for event in told(desk) if event.data.get("id") == id)
    assert accepted.data["message_id"] == message_id
    assert accepted.data["status"] == "accepted"
    assert accepted.data["version"] == accepted.seq < read.seq
    assert "read_at" not in accepted.data
    assert read.data["read_at"] == read.data["delivered_at"] == "1970-01-01T00:00:00.007+00:00"


def test_waiting_claims_and_openings_have_no_event(desk: Desk) -> None:
    ids = desk.queued(n=3)
    before = last(desk)
    lease = desk.lease()
    desk.sent(lease, ids[:1])
    desk.claim(lease, ids[1:])
    assert last(desk) == before


@pytest.mark.parametrize(
    ("as_", "status"), [("accepted", "accepted"), ("failed", "failed"), ("resend", "queued")]
)
def test_a_resolved_message_says_what_it_is_now(
    desk: Desk, answers: dict[str, Any], as_: str, status: str
) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, answers["unknown"][0])
    desk.write(messages.resolve, id, as_=as_, actor="ada", why="seen")
    assert types_of(desk, id) == ["message.unknown", "message.resolved"]
    assert told(desk)[-1].data["status"] == status


def test_a_receipt_of_an_unknown_message_says_delivered_and_not_resolved(
    desk: Desk, answers: dict[str, Any]
) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    evidence = desk.settlement(opening, answers["unknown"][0]).evidence
    desk.settle(opening, answers["unknown"][0], evidence=evidence._replace(message_id="mid-9"))
    desk.receive(Receipt("mid-9", "delivered", 7))
    assert types_of(desk, id) == ["message.unknown", "message.delivered"]


def test_what_ends_at_intake_or_by_a_cancel_has_an_event(desk: Desk) -> None:
    desk.sql(
        "INSERT INTO suppressions (subject, scope, reason, source, added_at) "
        "VALUES ('447700900001', 'all', 'r', 's', 1)"
    )
    campaign = desk.campaign()
    desk.take(campaign, *(desk.new_message(n) for n in (1, 2, 3)))
    campaign_control.cancel(desk.database, campaign.id, actor="ada", why="because")
    assert Counter(event.type for event in told(desk)) == {
        "campaign.started": 1,
        "campaign.cancelled": 1,
        "message.suppressed": 1,
        "message.cancelled": 2,
    }


def test_a_campaign_tells_when_it_pauses_resumes_finishes_and_runs_again(desk: Desk) -> None:
    (id,) = desk.queued()
    campaign = desk.row(id)["campaign_id"]
    desk.write(pauses.pause_campaign, campaign, actor="ada", why="because")
    desk.write(pauses.resume_campaign, campaign, actor="ada", why="because")
    desk.accepted([id])
    desk.write(campaigns.finish_ended)
    desk.write(campaigns.reopen, [campaign])
    found = [event for event in told(desk) if event.type.startswith("campaign.")]
    assert [event.type.removeprefix("campaign.") for event in found] == [
        *("started", "paused", "resumed", "finished", "reopened"),
    ]
    assert found[0].data["name"] == "spring"
    assert found[0].data["statuses"] == {"accepted": 1}


def test_statuses_that_are_changed_by_hand_have_events_of_their_own_moves(desk: Desk) -> None:
    """One statement that moves some, ends some and leaves some as they are."""
    ids = sorted(desk.queued(n=4))
    desk.accepted(ids[:2])
    before = last(desk)
    desk.sql(
        "UPDATE messages SET status = CASE WHEN CAST(id AS text) = :a THEN 'accepted' WHEN CAST(id AS text) = :b THEN "
        "'failed' WHEN CAST(id AS text) = :c THEN 'queued' ELSE 'expired' END",
        **dict(zip("abc", ids, strict=False)),
    )
    assert {(event.data["id"], event.type) for event in told(desk, before)} == {
        (ids[1], "message.failed"),
        (ids[3], "message.expired"),
    }


def test_no_event_has_a_number_a_content_or_a_code_unless_numbers_are_asked_for(desk: Desk) -> None:
    done = desk.send(desk.new_send(key="+44 7700 900123"))
    desk.accepted([done[0].id])
    shown = desk.read(events.after, 0, 100)
    in_full = told(desk)
    assert "447700900123" not in json.dumps([event.data for event in shown])
    assert in_full[-1].data["to"] == "447700900123"
    assert "123456" not in json.dumps([event.data for event in in_full])


def test_an_event_added_by_name_has_its_data(desk: Desk) -> None:
    desk.write(events.add, "sender.changed", {"sender": "15550100100", "quality": "RED"})
    (event,) = told(desk)
    assert (event.type, event.data["quality"]) == ("sender.changed", "RED")
    assert abs(event.at - desk.now()) < 60_000


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_of_any_size_begin_where_the_last_one_ended(desk: Desk, limit: int) -> None:
    ids = desk.queued(n=5)
    desk.accepted(ids)
    desk.sql("UPDATE messages SET status = 'delivered'")
    seen: list[Event] = []
    while found := told(desk, seen[-1].seq if seen else 0, limit):
        seen += found
    assert [event.seq for event in seen] == list(range(1, 12))
    assert Counter(event.type for event in seen if event.data.get("id") == ids[3]) == {
        "message.accepted": 1,
        "message.delivered": 1,
    }


def test_a_filtered_page_says_how_far_it_looked(desk: Desk) -> None:
    ids = desk.queued(n=3)
    desk.accepted(ids)
    desk.write(event_numbers.number_committed)
    page = desk.read(events.page, 0, 10, types=["message.read"])
    assert (page.events, page.upto, page.more) == ([], 4, False)
    campaign = desk.row(ids[0])["campaign_id"]
    page = desk.read(events.page, 0, 2, types=["message.accepted"], campaign_id=campaign)
    assert ([event.seq for event in page.events], page.upto, page.more) == ([2, 3], 3, True)
    assert desk.read(events.page, 0, 2, campaign_id=new_id()).events == []


def test_an_event_whose_message_was_deleted_still_has_its_id(desk: Desk) -> None:
    (id,) = desk.queued()
    desk.accepted([id])
    desk.sql("DELETE FROM attempts")
    desk.sql("DELETE FROM messages")
    assert told(desk)[-1].data == {
        "id": id,
        "campaign_id": told(desk)[-1].data["campaign_id"],
        "status": "accepted",
        "version": 2,
    }


# -- numbers ----------------------------------------------------------------------------------------


def end(tx: Connection, id: str) -> None:
    """A change by one of many writers."""
    tx.execute(text("UPDATE messages SET status = 'failed' WHERE CAST(id AS text) = :id"), {"id": id})


def test_a_writer_that_wrote_first_and_commits_last_is_missed_by_no_reader(server: Desk) -> None:
    first, second = server.queued(n=2)
    seen = [event.seq for event in told(server)]
    with server.database.engine.connect() as late, late.begin():
        end(late, first)
        server.write(end, second)
        found = told(server, seen[-1])
        assert [event.data["id"] for event in found] == [second]
        seen += [event.seq for event in found]
    found = told(server, seen[-1])
    assert [event.data["id"] for event in found] == [first]
    assert found[0].seq == seen[-1] + 1
    assert told(server, found[0].seq) == []


def test_numbers_are_given_by_one_transaction_at_a_time(server: Desk) -> None:
    """The second waits for the first, which may still roll back: its numbers are given again."""
    server.queued()
    given: list[int] = []
    with server.database.engine.connect() as first:
        transaction = first.begin()
        assert event_numbers.number_committed(first) == 1
        second = threading.Thread(target=lambda: given.append(server.write(event_numbers.number_committed)))
        second.start()
        while not server.scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'"):
            pass
        assert server.read(events.after, 0, 10) == []
        transaction.rollback()
    second.join()
    assert given == [1]
    assert [event.seq for event in server.read(events.after, 0, 10)] == [1]


class Reader:
    """Polls, and at times reconnects: it remembers only the last number that it has seen."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seen: list[Event] = []

    def poll(self, limit: int) -> None:
        if not self.database.is_sqlite:
            with self.database.write() as tx:
                event_numbers.number_committed(tx, most=limit)
        with self.database.read() as tx:
            self.seen += events.after(tx, self.seen[-1].seq if self.seen else 0, limit)


@given(
    schedule=st.lists(
        st.one_of(
            st.tuples(st.just("write"), st.integers(0, 2)),
            st.tuples(st.sampled_from(["commit", "roll back"]), st.integers(0, 2)),
            st.tuples(st.just("poll"), st.integers(1, 3)),
        ),
        max_size=40,
    )
)
@settings(max_examples=25)
def test_with_any_order_of_writes_commits_and_polls_each_event_is_read_once(
    desk: Desk, schedule: list[tuple[str, int]]
) -> None:
    """Writers that commit in any order (one at a time on SQLite); a reader that asks for small pages at any time."""
    desk.sql("DELETE FROM events")
    desk.sql("DELETE FROM installation WHERE name = 'events_numbered'")
    begun = last(desk)
    reader = Reader(desk.database)
    count = 1 if desk.database.is_sqlite else 3
    connections = [desk.database.engine.connect() for _ in range(count)]
    writers = [connection.execution_options(bulksend_write=True) for connection in connections]
    open_writes: list[list[str]] = [[] for _ in writers]
    committed: list[str] = []
    for step, number in schedule:
        n = number % count
        if step == "poll":
            reader.poll(number)
        elif step == "write":
            if not writers[n].in_transaction():
                writers[n].begin()
            name = new_id()
            events.add(writers[n], "sender.changed", {"name": name})
            open_writes[n].append(name)
        elif writers[n].in_transaction():
            (writers[n].commit if step == "commit" else writers[n].rollback)()
            committed += open_writes[n] if step == "commit" else []
            open_writes[n] = []
    for writer in writers:
        writer.close()
    for _ in range(len(committed) + 1):
        reader.poll(2)
    assert Counter(event.data["name"] for event in reader.seen) == Counter(committed)
    assert [event.seq for event in reader.seen] == list(range(begun + 1, begun + len(committed) + 1))


def test_on_sqlite_a_second_writer_waits_so_ids_are_in_the_order_of_commits(desk: Desk) -> None:
    if not desk.database.is_sqlite:
        return
    first, second = desk.queued(n=2)
    begun = last(desk)
    with desk.database.engine.connect() as connection:
        late = connection.execution_options(bulksend_write=True)
        with late.begin():
            end(late, first)
            other = threading.Thread(target=lambda: desk.write(end, second))
            other.start()
            assert desk.read(events.after, begun, 10) == []
    other.join()
    assert [event.data["id"] for event in told(desk, begun)] == [first, second]


def test_readers_beside_writers_see_each_event_once_and_in_order(desk: Desk) -> None:
    """Real threads: four writers, two readers that start anywhere."""
    wanted = 4 * 25
    readers = [Reader(desk.database) for _ in range(2)]
    failed: list[BaseException] = []

    def run(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - shown by the test
                failed.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def write() -> None:
        for _ in range(25):
            desk.write(events.add, "sender.changed", {"name": new_id()})

    def read(reader: Reader) -> None:
        while len(reader.seen) < wanted and not failed:
            reader.poll(7)

    threads = [run(write) for _ in range(4)] + [run(lambda r=reader: read(r)) for reader in readers]  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert failed == []
    for reader in readers:
        assert [event.seq for event in reader.seen] == list(range(1, wanted + 1))
        assert len({event.data["name"] for event in reader.seen}) == wanted


# -- age --------------------------------------------------------------------------------------------


def test_old_events_are_deleted_from_the_lowest_number_without_a_gap(desk: Desk) -> None:
    desk.accepted(desk.queued(n=4))
    desk.write(event_numbers.number_committed)
    desk.sql("UPDATE events SET at = 1 WHERE type <> 'campaign.started'")
    assert desk.write(event_numbers.delete_old, 1000) == 0
    desk.sql("UPDATE events SET at = 1")
    assert desk.read(event_numbers.oldest) == 1
    rows = desk.scalar("SELECT count(*) FROM events")
    assert desk.write(event_numbers.delete_old, 1000, limit=1) == 1
    assert desk.read(event_numbers.oldest) == 2
    assert desk.write(event_numbers.delete_old, 1000) == rows - 1
    assert (desk.read(event_numbers.oldest), desk.read(event_numbers.newest)) == (6, 5)
    desk.write(events.add, "sender.changed", {})
    assert [event.seq for event in told(desk, 5)] == [6]


def test_a_reader_behind_the_oldest_event_or_ahead_of_the_newest_is_told(desk: Desk) -> None:
    desk.accepted(desk.queued(n=2))
    desk.write(event_numbers.number_committed)
    desk.sql("UPDATE events SET at = 1 WHERE type = 'campaign.started'")
    desk.write(event_numbers.delete_old, 1000)
    desk.read(event_numbers.check_after, 1)
    desk.read(event_numbers.check_after, 3)
    with pytest.raises(EventsGone, match="the oldest one kept is 2") as gone:
        desk.read(event_numbers.check_after, 0)
    assert gone.value.oldest == 2
    with pytest.raises(InvalidValue, match="above the newest number, 3"):
        desk.read(event_numbers.check_after, 4)


# -- undelivered ------------------------------------------------------------------------------------


def test_an_accepted_code_without_a_receipt_is_undelivered_once(desk: Desk) -> None:
    late, delivered, young = (done.id for done in desk.send(*(desk.new_send() for _ in range(3))))
    (blast,) = desk.queued(Kind.MARKETING)
    desk.accepted([late, delivered, young, blast])
    desk.sql("UPDATE messages SET accepted_at = accepted_at - 61000 WHERE CAST(id AS text) <> :id", id=young)
    desk.receive(Receipt(f"mid-{delivered}", "delivered", 7))
    before = last(desk)
    assert desk.write(events.add_undelivered, 60_000) == 1
    assert desk.write(events.add_undelivered, 60_000) == 0
    (event,) = told(desk, before)
    assert (event.type, event.data["id"]) == ("message.undelivered", late)
    assert (event.data["status"], event.data["after_seconds"]) == ("accepted", 60)
    desk.receive(Receipt(f"mid-{late}", "delivered", 8))
    assert types_of(desk, late) == ["message.accepted", "message.undelivered", "message.delivered"]


def test_nothing_is_undelivered_where_no_receipt_ever_came_and_hours_later(desk: Desk) -> None:
    first, second = (done.id for done in desk.send(desk.new_send(), desk.new_send()))
    desk.accepted([first, second])
    desk.sql("UPDATE messages SET accepted_at = accepted_at - 61000")
    assert desk.write(events.add_undelivered, 60_000) == 0
    desk.receive(Receipt("mid-of-another", "sent", 7))
    desk.sql("UPDATE messages SET accepted_at = accepted_at - 4000000 WHERE CAST(id AS text) = :id", id=first)
    assert desk.write(events.add_undelivered, 0) == 0
    assert desk.write(events.add_undelivered, 60_000) == 1
    assert told(desk)[-1].data["id"] == second


def test_late_codes_are_found_by_their_index(desk: Desk, plans_in: Callable[..., Any]) -> None:
    desk.receive(Receipt("mid-of-another", "sent", 7))
    plan = plans_in(desk.database)(events.add_undelivered, 60_000)
    assert "ix_messages_late_codes" in plan


def test_the_moves_of_every_status_are_said(desk: Desk) -> None:
    """From each status to every one, by one statement for each that is left."""
    after = dict(zip(desk.queued(n=len(Status)), Status, strict=True))
    moves = " ".join(f"WHEN '{id}' THEN '{status}'" for id, status in after.items())
    for before in Status:
        desk.sql("UPDATE messages SET status = :status", status=before.value)
        number = last(desk)
        desk.sql(f"UPDATE messages SET status = CASE CAST(id AS text) {moves} END")  # noqa: S608
        found = {event.data["id"]: event.type for event in told(desk, number)}
        for id, status in after.items():
            leaves = before is Status.UNKNOWN and status not in (Status.DELIVERED, Status.READ)
            expected = "message.resolved" if leaves else f"message.{status}"
            is_said = before is not status and (leaves or expected in events.TYPES)
            assert found.pop(id, None) == (expected if is_said else None), f"{before} -> {status}"
        assert found == {}
