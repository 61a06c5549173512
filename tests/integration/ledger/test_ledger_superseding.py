"""Of two one-time codes for one person and purpose that wait, only the newer one is sent, and never none."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bulksend.ledger import (
    campaign_control,
    campaign_creation,
    direct_sends,
    due,
    pauses,
    senders,
    suppressions,
)
from bulksend.ledger.clock import now_sql
from bulksend.ledger.direct_sends import SendRequest, WouldBeLate
from bulksend.ledger.event_numbers import number_committed
from bulksend.ledger.events import after
from bulksend.ledger.release import end_claimed
from bulksend.ledger.superseding import HELD, WAITING, Walk
from bulksend.messaging.outcome import Accepted, Evidence, NotSent, Refused, Scope, Throttled, Unknown
from bulksend.messaging.states import Kind, Status
from tests.integration.ledger.conftest import SENDER, Desk, in_between

TO, OTHER_SENDER = "447700900123", "15550100199"
BY = {"actor": "ada", "why": "wrong file"}
NOTHING = {"superseded": 0, "held": 0, "freed": 0}


def code(desk: Desk, **changes: Any) -> str:
    (stored,) = desk.send(desk.new_send(**({"purpose": None} | changes)))
    return str(stored.id)


def walk(desk: Desk, which: Any = HELD) -> dict[str, int]:
    """A turn of the relay's task."""
    return desk.write(Walk(which).settle)


def opened(desk: Desk, *ids: str, lease: str | None = None) -> list[str]:
    """The codes that a worker may POST after its last look."""
    lease = lease or desk.lease()
    openings = desk.openings(desk.claim(lease, ids))
    attempts = desk.open(lease, openings).attempts
    return [o.message.id for o in openings if o.attempt_id in attempts]


def test_the_newer_code_is_sent_and_the_older_one_ends_as_superseded(desk: Desk) -> None:
    older, newer = code(desk), code(desk)
    lease = desk.lease()
    openings = {o.message.id: o for o in desk.openings(desk.claim(lease, [older, newer]))}
    done = desk.open(lease, list(openings.values()))
    assert (done.attempts, done.held) == (frozenset({openings[newer].attempt_id}), [older])
    assert done.next == [newer]
    row = desk.row(older)
    assert (row["status"], row["gate"]) == ("queued", "newer_code")
    assert opened(desk, older) == []
    assert walk(desk) == NOTHING, "the newer one may still turn out as not sent"

    desk.settle(openings[newer], Accepted("mid", "rid"), evidence=Evidence(200, 0, message_id="mid"))
    assert walk(desk) == NOTHING | {"superseded": 1}
    row = desk.row(older)
    assert (row["status"], str(row["superseded_by"]), desk.payload(older)) == ("superseded", newer, None)
    told = [
        (event.type, event.data["id"], event.data.get("superseded_by"))
        for event in _events(desk)
        if event.type.startswith("message.")
    ]
    assert ("message.superseded", older, newer) in told, "its producer learns which code went out instead"
    assert ("message.accepted", newer, None) in told
    assert desk.broken() == {}


def _events(desk: Desk) -> list[Any]:
    desk.write(number_committed)
    return desk.read(after, 0, 100)


@pytest.mark.parametrize("outcome", [Accepted("mid", "rid"), Unknown("ReadTimeout")])
def test_an_older_code_whose_turn_comes_after_the_newer_one_went_out_is_not_sent(
    desk: Desk, outcome: Any
) -> None:
    older, newer = code(desk), code(desk)
    (opening,) = desk.sent(desk.lease(), [newer])
    desk.settle(opening, outcome, evidence=Evidence(200, 0, message_id="mid"))
    assert opened(desk, older) == []
    assert (desk.status(older), str(desk.row(older)["superseded_by"])) == ("superseded", newer)
    assert desk.broken() == {}


def paused_campaign(desk: Desk) -> str:
    """A code of a file whose campaign was paused before it was claimed: no gate is on record."""
    (older,) = desk.queued(Kind.OTP)
    desk.write(pauses.pause_campaign, str(desk.row(older)["campaign_id"]), **BY)
    return older


def behind_a_canary(desk: Desk) -> str:
    return sorted(desk.queued(Kind.OTP, n=120, canary="1%"))[-1]


def gated(gate: str | None, status: str = "queued") -> Any:
    """A code that a worker gave back: due again in an hour."""

    def made(desk: Desk) -> str:
        older = code(desk)
        desk.sql(
            "UPDATE messages SET gate = :gate, status = :status, due_at = due_at + 3600000"
            " WHERE CAST(id AS text) = :id",
            **{"gate": gate, "status": status, "id": older},
        )
        return older

    return made


WAITS: dict[str, Any] = {
    **{gate: gated(gate) for gate in ("pair_rate", "quota", "outage", "sender_paused", "quiet_hours")},
    "backoff": gated(None, "retry"),
    "paused campaign": paused_campaign,
    "canary": behind_a_canary,
}


@pytest.mark.parametrize("outcome", [Accepted("mid", "rid"), Unknown("ReadTimeout")], ids=["sent", "unknown"])
@pytest.mark.parametrize("waits", WAITS)
def test_an_older_code_ends_when_the_newer_one_went_out_whatever_it_waits_for(
    desk: Desk, waits: str, outcome: Any
) -> None:
    older = WAITS[waits](desk)
    newer = code(desk, recipient=desk.row(older)["recipient"])
    (opening,) = desk.sent(desk.lease(), [newer])
    done = NOTHING | {"held": int(waits == "pair_rate")}
    assert walk(desk, WAITING) == done, "it may still turn out as not sent"
    desk.settle(opening, outcome, evidence=Evidence(200, 0, message_id="mid"))
    assert walk(desk, WAITING) == NOTHING | {"superseded": 1}
    row = desk.row(older)
    assert (row["status"], str(row["superseded_by"]), desk.payload(older)) == ("superseded", newer, None)
    assert ("message.superseded", older) in [(event.type, event.data.get("id")) for event in _events(desk)]
    assert desk.broken() == {}


def test_a_newer_code_is_the_next_that_asks_for_a_person_at_their_pair_rate(desk: Desk) -> None:
    """A permit counts there whether it is used or not: the older ones would make the newer one wait for longer."""
    older, newer = gated("pair_rate")(desk), gated("pair_rate")(desk)
    assert walk(desk, WAITING) == NOTHING | {"held": 1}
    assert [desk.row(id)["gate"] for id in (older, newer)] == ["newer_code", "pair_rate"]
    desk.sql("UPDATE messages SET due_at = 0 WHERE CAST(id AS text) = :id", id=newer)
    ENDS["failed"](desk, newer)
    assert walk(desk) == NOTHING | {"freed": 1}
    assert opened(desk, older) == [older]
    assert desk.broken() == {}


@pytest.mark.parametrize("waits", sorted(WAITS.keys() - {"pair_rate"}))
def test_the_walk_opens_no_gate_but_that_of_a_newer_code(desk: Desk, waits: str) -> None:
    older = WAITS[waits](desk)
    before = dict(desk.row(older))
    newer = code(desk, recipient=before["recipient"])
    assert walk(desk, WAITING) == NOTHING
    ENDS["failed"](desk, newer)
    assert walk(desk, WAITING) == NOTHING
    assert dict(desk.row(older)) == before


def test_a_walk_looks_at_a_part_of_the_codes_at_a_time_and_at_no_blast(
    desk: Desk, plans_in: Callable[..., Any]
) -> None:
    desk.queued(Kind.MARKETING, n=3)
    recipients = [f"4477009123{n:02d}" for n in range(5)]
    older = [code(desk, recipient=to) for to in recipients]
    desk.accepted([code(desk, recipient=to) for to in recipients])
    turns = Walk(WAITING)
    assert [desk.write(turns.settle, 2).get("superseded") for _ in range(4)] == [2, 2, 1, None]
    assert {desk.status(id) for id in older} == {"superseded"}
    assert "ix_messages_waiting_codes" in plans_in(desk.database)(Walk(WAITING).settle)
    assert "ix_messages_held_codes" in plans_in(desk.database)(Walk(HELD).settle)


def cancel(desk: Desk, newer: str) -> None:
    """Its campaign is cancelled; until the relay has ended it, it holds the older one."""
    desk.write(campaign_control.mark_cancelled, str(desk.row(newer)["campaign_id"]), **BY)
    assert walk(desk) == NOTHING
    desk.write(campaign_control.end_cancelled)


def fail_to_render(desk: Desk, newer: str) -> None:
    lease = desk.lease()
    assert desk.claim(lease, [newer])
    desk.write(end_claimed, [(newer, "cannot be rendered: its file is gone")], Status.FAILED, lease)


def expire_after_a_throttle(desk: Desk, newer: str) -> None:
    (opening,) = desk.sent(desk.lease(), [newer])
    desk.settle(opening, Throttled("131056", "too many", Scope.SENDER))
    assert walk(desk) == NOTHING
    ENDS["expired"](desk, newer)


ENDS: dict[str, Any] = {
    "failed": lambda desk, id: desk.settle(
        desk.sent(desk.lease(), [id])[0], Refused("131026", "not on WhatsApp")
    ),
    "expired": lambda desk, id: (
        desk.sql("UPDATE messages SET expires_at = :now WHERE CAST(id AS text) = :id", now=desk.now(), id=id),
        desk.write(due.expire),
    ),
    "cancelled": cancel,
    "failed: not rendered": fail_to_render,
    "expired: throttled": expire_after_a_throttle,
}


@pytest.mark.parametrize("end", ENDS)
def test_an_older_code_is_kept_and_sent_when_the_newer_one_cannot_be(desk: Desk, end: str) -> None:
    older = code(desk, lives_ms=600_000, recipient="447700900001")
    (newer,) = desk.queued(Kind.OTP, life_ms=600_000)
    assert opened(desk, older) == []
    assert desk.payload(older) is not None
    ENDS[end](desk, newer)
    assert desk.status(newer) == end.partition(":")[0]
    assert walk(desk) == NOTHING | {"freed": 1}
    assert opened(desk, older) == [older]
    assert desk.broken() == {}


@pytest.mark.parametrize("held", ["sender", "campaign", "canary"])
def test_a_newer_code_that_a_pause_holds_is_waited_for_and_the_older_one_is_sent_if_it_ends(
    desk: Desk, held: str
) -> None:
    older = code(desk, purpose="login", recipient="447700900120", sender=OTHER_SENDER)
    newer = sorted(desk.queued(Kind.OTP, n=120, canary="1%" if held == "canary" else None))[-1]
    campaign = str(desk.row(newer)["campaign_id"])
    desk.sql("UPDATE messages SET purpose = 'login' WHERE CAST(id AS text) = :id", id=newer)
    if held == "sender":
        desk.write(senders.register, SENDER, rate=80.0)
        desk.write(pauses.pause_sender, SENDER, **BY)
    elif held == "campaign":
        desk.write(pauses.pause_campaign, campaign, **BY)
    assert desk.row(older)["recipient"] == desk.row(newer)["recipient"]
    assert desk.claim(desk.lease(), [newer]) == []
    assert opened(desk, older) == []
    cancel(desk, newer)
    assert walk(desk) == NOTHING | {"freed": 1}
    assert opened(desk, older) == [older]


def test_a_newer_code_that_surely_was_not_sent_after_all_takes_the_place_of_the_one_it_ended(
    desk: Desk,
) -> None:
    """Its worker was lost, so the older code has ended; then the worker's result comes."""
    older, newer = code(desk), code(desk)
    lease = desk.lease()
    (opening,) = desk.sent(lease, [newer])
    desk.lapse(lease)
    desk.rescue()
    assert opened(desk, older) == []
    assert (desk.status(older), desk.status(newer)) == ("superseded", "unknown")
    desk.settle(opening, NotSent("connection refused"), payload=opening.message.payload)
    assert opened(desk, newer) == [newer]
    assert desk.broken() == {}


def test_a_newer_code_that_intake_refuses_changes_nothing(desk: Desk) -> None:
    older = code(desk)
    home, late = desk.write(campaign_creation.standing_campaign, Kind.OTP), WouldBeLate(9_000)
    newer = [SendRequest([(Kind.OTP, desk.new_send(purpose=None))])]
    of: dict[str, Any] = {"cipher": desk.cipher, "late": lambda _: late}
    assert direct_sends.store(desk.database, {Kind.OTP: home}, newer, **of) == [[late]]
    assert opened(desk, older) == [older]


def test_newer_is_what_the_ledger_stored_later_whatever_the_ids_say(desk: Desk) -> None:
    """Two hosts whose clocks differ make ids that are near the ledger's clock, and not in its order."""
    newer, older = code(desk), code(desk)
    desk.sql("UPDATE messages SET queued_at = queued_at - 400 WHERE CAST(id AS text) = :id", id=older)
    assert opened(desk, older, newer) == [newer]


def test_of_three_codes_the_newest_that_can_be_sent_is(desk: Desk) -> None:
    first, second, third = code(desk), code(desk), code(desk)
    assert opened(desk, first, second) == []
    ENDS["failed"](desk, third)
    assert walk(desk)["freed"] == 1
    assert opened(desk, first, second) == [second]


def test_only_codes_for_the_same_person_and_purpose_replace_each_other(desk: Desk) -> None:
    ids = [
        code(desk),
        code(desk, purpose="login"),
        code(desk, recipient="447700900124"),
        code(desk, sender=OTHER_SENDER),
        desk.send(desk.new_send(), kind=Kind.UTILITY)[0].id,
    ]
    assert sorted(opened(desk, *ids)) == sorted(ids)


def test_a_purpose_is_shared_by_senders_and_a_person_has_several_numbers(desk: Desk) -> None:
    older = code(desk, purpose="login", recipient="551187654321")
    newer = code(desk, purpose="login", recipient="5511987654321", sender=OTHER_SENDER)
    waiting = code(desk, purpose="login", recipient="551187654321", due_at=desk.now() + 600_000)
    assert opened(desk, older, newer) == [newer]
    assert walk(desk, WAITING) == NOTHING
    desk.sql("UPDATE messages SET status = 'accepted' WHERE CAST(id AS text) = :id", id=newer)
    assert walk(desk, WAITING) == NOTHING | {"superseded": 1}
    assert (desk.status(older), desk.status(waiting)) == ("superseded", "queued")


def test_a_code_for_later_counts_from_its_time(desk: Desk) -> None:
    """It replaces none before it is due, is replaced by none that came before, and is newer than those then."""
    later, now = code(desk, due_at=desk.now() + 500), code(desk)
    (opening,) = desk.sent(desk.lease(), [now])
    desk.settle(opening, Accepted("mid", "rid"), evidence=Evidence(200, 0, message_id="mid"))
    waiting = code(desk)
    while desk.now() < desk.row(later)["first_due_at"]:
        time.sleep(0.01)
    assert opened(desk, waiting, later) == [later]


def test_a_newer_code_behind_a_gate_still_goes_first(desk: Desk) -> None:
    older, newer = code(desk), code(desk)
    desk.sql(
        "UPDATE messages SET gate = 'pair_rate', due_at = due_at + 60000 WHERE CAST(id AS text) = :id",
        id=newer,
    )
    assert opened(desk, older) == []


def test_a_suppressed_person_and_a_cancel_come_before_the_newer_code(desk: Desk) -> None:
    older, newer = code(desk), code(desk)
    desk.write(suppressions.add, {TO: None}, scope="all", reason="stop", source="hand", actor="a")
    assert opened(desk, older, newer) == []
    assert {desk.status(older), desk.status(newer)} == {"suppressed"}


def test_a_file_replaces_a_waiting_code_of_another_file(desk: Desk) -> None:
    (older,), (newer,) = desk.queued(Kind.OTP), desk.queued(Kind.OTP)
    assert opened(desk, older, newer) == [newer]
    desk.write(
        campaign_control.mark_cancelled, str(desk.row(older)["campaign_id"]), actor="ada", why="wrong file"
    )
    desk.write(campaign_control.end_cancelled)
    assert desk.status(older) == "cancelled"


def test_a_last_look_locks_codes_in_the_order_of_their_ids_as_all_do_so_that_none_deadlocks(
    server: Desk,
) -> None:
    held, _ = code(server), code(server)
    replaced, newer = (code(server, recipient="447700900124") for _ in range(2))
    (opening,) = server.sent(server.lease(), [newer])
    server.settle(opening, Accepted("mid", "rid"), evidence=Evidence(200, 0, message_id="mid"))

    def locked(id: str) -> Callable[[Connection], object]:
        lock = text("SELECT 1 FROM messages WHERE id = CAST(:id AS uuid) FOR UPDATE NOWAIT")
        return lambda tx: tx.execute(lock, {"id": id})

    assert held < replaced
    assert in_between(server, locked(held), lambda: opened(server, replaced, held), locked(replaced)) == []
    assert (server.status(held), server.row(held)["gate"]) == ("queued", "newer_code")
    assert server.status(replaced) == "superseded"


WORKERS, PEOPLE = 8, 40


def test_eight_workers_send_just_one_of_the_codes_that_wait_for_each_person(desk: Desk) -> None:
    """Some newer codes are refused by the vendor: then the older one is sent."""
    fate = random.Random(17)
    pairs = []
    for n in range(PEOPLE):
        older = code(desk, recipient=f"44770090{n:04d}", lives_ms=600_000)
        pairs.append((older, code(desk, recipient=f"44770090{n:04d}", lives_ms=600_000)))
    refused = {newer for _, newer in pairs if fate.random() < 0.3}
    blast = _Blast(desk, refused)
    blast.run()
    for older, newer in pairs:
        statuses = desk.status(older), desk.status(newer)
        assert statuses == (("accepted", "failed") if newer in refused else ("superseded", "accepted"))
    assert desk.broken() == {}


def test_codes_that_come_while_eight_workers_send_replace_just_those_that_still_wait(desk: Desk) -> None:
    blast = _Blast(desk, frozenset())
    by_person: dict[str, list[str]] = defaultdict(list)
    stored_at: dict[str, float] = {}

    def intake() -> None:
        fate = random.Random(5)
        for _ in range(PEOPLE * 3):
            to = f"44770091{fate.randrange(PEOPLE // 4):04d}"
            by_person[to].append(id := code(desk, recipient=to, lives_ms=600_000))
            stored_at[id] = time.monotonic()

    blast.run(intake)
    for codes in by_person.values():
        sent = [id for id in codes if desk.status(id) == "accepted"]
        assert sent[-1] == codes[-1]
        assert {desk.status(id) for id in codes} <= {"accepted", "superseded"}
        for older, newer in pairwise(codes):
            if older in sent:
                assert blast.opening_at[older] < stored_at[newer], "it waited when the newer one was stored"
    assert desk.broken() == {}


class _Blast:
    """Workers on threads, and the relay's task, until no code waits."""

    def __init__(self, desk: Desk, refused: set[str] | frozenset[str]) -> None:
        self._desk = desk
        self._refused = refused
        self._done = threading.Event()
        self._errors: list[BaseException] = []
        self.opening_at: dict[str, float] = {}
        """When the last look at a code that was sent began."""

    def run(self, intake: Any = lambda: None) -> None:
        threads = [threading.Thread(target=self._guarded, args=(self._work,)) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        try:
            intake()
            until = time.monotonic() + 120
            while self._waiting() and time.monotonic() < until and not self._errors:
                walk(self._desk)
        finally:
            self._done.set()
            for thread in threads:
                thread.join(60)
        assert self._errors == []
        assert not self._waiting()

    def _guarded(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test fails with it
            self._errors.append(error)

    def _waiting(self) -> int:
        return int(
            self._desk.scalar(
                "SELECT count(*) FROM messages WHERE status IN ('queued', 'retry', 'claimed', 'sending')"
            )
        )

    def _work(self) -> None:
        desk = self._desk
        lease = desk.lease(f"host:{threading.get_ident()}")
        while not self._done.is_set():
            wanted = desk.read(self._due)
            openings = desk.openings(desk.claim(lease, wanted))
            asked_at = time.monotonic()
            attempts = desk.open(lease, openings).attempts if openings else frozenset()
            for opening in openings:
                if opening.attempt_id not in attempts:
                    continue
                id = opening.message.id
                self.opening_at[id] = asked_at
                if id in self._refused:
                    desk.settle(opening, Refused("131026", "not on WhatsApp"))
                else:
                    evidence = Evidence(200, 0, message_id=f"mid-{id}")
                    desk.settle(opening, Accepted(f"mid-{id}", "rid"), evidence=evidence)
            if not openings:
                self._done.wait(0.005)

    @staticmethod
    def _due(tx: Any) -> list[str]:
        rows = tx.exec_driver_sql(
            f"SELECT id FROM messages WHERE status IN ('queued', 'retry') AND due_at <= {now_sql(tx)} LIMIT 20"  # noqa: S608
        )
        found = [str(id) for id in rows.scalars()]
        random.shuffle(found)
        return found[:5]
