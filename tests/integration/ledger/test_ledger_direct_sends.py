"""Direct sends: one message for each key, from any process; one statement stores a group of sends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import event

from bulksend.ledger import campaign_creation, campaigns, suppressions
from bulksend.ledger.direct_sends import AlreadyExpired, DueTimePassed, KeyConflict, Stored
from bulksend.ledger.person_keys import make_person_key
from bulksend.messaging.states import Kind, Status
from bulksend.messaging.units import LATE_MS


def test_a_send_with_a_used_key_returns_the_first_message(desk: Any) -> None:
    send = desk.new_send(key="login-1")
    (first,) = desk.send(send)
    (again,) = desk.send(send)
    assert (first.status, first.repeated) == (Status.QUEUED, False)
    assert (again.id, again.repeated) == (first.id, True)
    assert desk.broken() == {}


def test_a_used_key_to_another_form_of_the_number_returns_the_first_message(desk: Any) -> None:
    (first,) = desk.send(desk.new_send(key="login-1", recipient="541155550124"))
    (again,) = desk.send(desk.new_send(key="login-1", recipient="5491155550124"))
    assert (again.id, again.repeated) == (first.id, True)


def test_a_repeated_send_returns_the_status_of_the_first(desk: Any) -> None:
    send = desk.new_send(key="login-1")
    (first,) = desk.send(send)
    desk.accepted([first.id])
    (again,) = desk.send(send)
    assert again.status is Status.ACCEPTED


def test_a_key_of_another_message_is_a_conflict_with_its_id(desk: Any) -> None:
    (first,) = desk.send(desk.new_send(key="login-1"))
    for other in ({"content": '{"body":"x"}'}, {"recipient": "447700900124"}, {"type": "image"}):
        (became,) = desk.send(desk.new_send(key="login-1", **other))
        assert isinstance(became, KeyConflict)
        assert became.id == first.id
    assert desk.broken() == {}


def test_a_send_to_a_suppressed_recipient_is_stored_as_suppressed(desk: Any) -> None:
    desk.write(
        suppressions.add, {"447700900123": None}, scope="all", reason="stop", source="hand", actor="ada"
    )
    (taken,) = desk.send(desk.new_send())
    assert taken.status is Status.SUPPRESSED
    assert desk.status(taken.id) == "suppressed"
    assert desk.payload(taken.id) is None
    assert desk.broken() == {}


def test_a_send_past_its_time_to_live_is_not_stored(desk: Any) -> None:
    late = desk.new_send(key="late", due_at=desk.now() - 2_000, lives_ms=1_000)
    assert [type(became) for became in desk.send(late)] == [AlreadyExpired]
    # A due time long past is refused also without a time to live.
    for lives_ms in (None, 60_000):
        past = desk.new_send(key="past", due_at=desk.now() - LATE_MS - 1_000, lives_ms=lives_ms)
        assert [type(became) for became in desk.send(past)] == [DueTimePassed]
    home = desk.write(campaign_creation.standing_campaign, Kind.OTP)
    assert desk.read(campaigns.get, home.id).messages == 0


def test_a_late_repeat_still_returns_the_first_message(desk: Any) -> None:
    send = desk.new_send(key="login-1", due_at=desk.now(), lives_ms=60_000)
    (first,) = desk.send(send)
    (again,) = desk.send(send._replace(due_at=1_000))
    assert (again.id, again.repeated) == (first.id, True)


def test_each_send_of_a_group_gets_its_own_result(desk: Any) -> None:
    desk.write(
        suppressions.add, {"447700900999": None}, scope="all", reason="stop", source="hand", actor="ada"
    )
    known = desk.new_send(key="known")
    (first,) = desk.send(known)
    group = [
        desk.new_send(key="new"),
        known,
        desk.new_send(key="known", content='{"body":"x"}'),
        desk.new_send(key="late", due_at=1_000, lives_ms=60_000),
        desk.new_send(key="unwanted", recipient="447700900999"),
        desk.new_send(key="new"),
    ]
    new, again, conflict, late, unwanted, twice = desk.send(*group)
    assert (new.status, new.repeated) == (Status.QUEUED, False)
    assert again == Stored(first.id, Status.QUEUED, repeated=True)
    assert isinstance(conflict, KeyConflict)
    assert isinstance(late, DueTimePassed)
    assert unwanted.status is Status.SUPPRESSED
    assert twice == Stored(new.id, Status.QUEUED, repeated=True)
    home = desk.read(campaigns.get, desk.write(campaign_creation.standing_campaign, Kind.OTP).id)
    assert (home.rows_read, home.messages, home.suppressed) == (3, 3, 1)
    assert desk.broken() == {}


def test_a_send_that_is_due_now_is_due_by_the_ledgers_clock(desk: Any) -> None:
    before = desk.now()
    (taken,) = desk.send(desk.new_send(lives_ms=300_000))
    row = desk.row(taken.id)
    assert before <= row["due_at"] <= desk.now()
    assert row["expires_at"] == row["due_at"] + 300_000


def test_the_same_send_from_many_processes_at_once_is_one_message(desk: Any) -> None:
    send = desk.new_send(key="login-1")
    desk.write(campaign_creation.standing_campaign, Kind.OTP)
    start = threading.Barrier(8)

    def one(_: int) -> Any:
        start.wait(timeout=60)
        (taken,) = desk.send(send)
        return taken

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(one, range(8)))
    assert len({taken.id for taken in done}) == 1
    assert sum(not taken.repeated for taken in done) == 1
    assert desk.broken() == {}


def test_a_group_costs_as_many_statements_as_one_send(desk: Any) -> None:
    home = desk.write(campaign_creation.standing_campaign, Kind.OTP)
    asked: list[str] = []
    event.listen(desk.database.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
    counts = []
    desk.write(make_person_key)  # as in every ledger; a process keeps it
    for size in (1, 50):
        asked.clear()
        sends = [desk.new_send() for _ in range(size)]
        desk.send_from(home, sends)
        counts.append(len([sql for sql in asked if not sql.startswith(("BEGIN", "COMMIT"))]))
    assert counts == [counts[0]] * 2
    assert counts[0] <= (4 if desk.database.is_sqlite else 3)
