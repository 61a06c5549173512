"""Leases and rescue: what a lost worker held is found again, by the database's clock."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import campaign_control, leases, messages
from bulksend.ledger.write_ahead import Opened
from bulksend.messaging.outcome import Evidence, NotSent, Refused, Unknown
from bulksend.messaging.states import Kind, OnUnknown, Status


def test_a_lease_runs_from_the_databases_clock_and_is_renewed_by_it(desk: Any) -> None:
    before = desk.now()
    lease, told = desk.write(leases.take, "host:1", 60_000)
    until = desk.scalar("SELECT lease_until FROM workers")
    assert before <= told <= desk.now()
    assert until == told + 60_000
    renewed = desk.write(leases.renew, lease, 90_000)
    assert renewed is not None
    assert desk.scalar("SELECT lease_until FROM workers") == renewed + 90_000


def test_a_lease_that_has_lapsed_or_ended_cannot_be_renewed(desk: Any) -> None:
    lapsed, ended = desk.lease(), desk.lease()
    desk.lapse(lapsed, ms_ago=1)
    desk.end(ended)
    assert desk.write(leases.renew, lapsed, 60_000) is None
    assert desk.write(leases.renew, ended, 60_000) is None
    assert desk.read(leases.alive) == []


def test_those_alive_are_named(desk: Any) -> None:
    desk.lapse(desk.lease("host:1"))
    desk.lease("host:2")
    assert desk.read(leases.alive) == ["host:2"]


def test_nothing_is_taken_from_a_worker_whose_lease_runs(desk: Any) -> None:
    ids = desk.queued(n=2)
    lease = desk.lease()
    desk.claim(lease, ids)
    assert desk.rescue() == leases.Rescued([], [], [])


def test_what_a_lost_worker_had_claimed_goes_back_unsent(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    desk.claim(lease, [id])
    desk.lapse(lease)
    assert desk.rescue().given_back == [id]
    row = desk.row(id)
    assert (row["status"], row["strikes"], row["ended_at"]) == ("queued", 0, None)
    assert len(desk.claim(desk.lease(), [id])) == 1


def test_what_it_had_claimed_after_an_attempt_goes_back_as_a_retry(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.settle(opening, NotSent("ConnectError"))
    desk.claim(lease, [id])
    desk.lapse(lease)
    assert desk.rescue().given_back == [id]
    assert desk.status(id) == "retry"


@pytest.mark.parametrize("kind", list(Kind))
def test_what_a_lost_worker_was_sending_becomes_unknown_and_its_attempt_too(desk: Any, kind: Kind) -> None:
    (id,) = desk.queued(kind)
    lease = desk.lease()
    desk.sent(lease, [id])
    desk.lapse(lease)
    assert desk.rescue().unknown == [id]
    (attempt,) = desk.attempts(id)
    assert (desk.status(id), attempt["outcome"], attempt["error"]) == (
        "unknown",
        "unknown",
        "its worker was lost",
    )
    assert (desk.payload(id) is None) is (kind is Kind.OTP)
    assert desk.claim(desk.lease(), [id]) == []
    assert desk.broken() == {}


def test_a_worker_that_ends_in_order_returns_its_messages_at_once(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    desk.claim(lease, [id])
    assert desk.end(lease).given_back == [id]


def test_a_second_rescue_finds_nothing_left(desk: Any) -> None:
    ids = desk.queued(n=2)
    lease = desk.lease()
    desk.sent(lease, ids[:1])
    desk.claim(lease, ids[1:])
    desk.lapse(lease)
    desk.rescue()
    assert desk.rescue() == leases.Rescued([], [], [])


def test_hundreds_in_flight_are_all_found(desk: Any) -> None:
    ids = desk.queued(n=1_100)
    lease = desk.lease()
    desk.sent(lease, ids)
    desk.lapse(lease)
    assert set(desk.rescue().unknown) == set(ids)
    assert desk.scalar("SELECT count(*) FROM attempts WHERE outcome IS NULL") == 0


# -- sent again on request -----------------------------------------------------------------------------------


def lost_while_sending(desk: Any, kind: Kind = Kind.MARKETING, **named: Any) -> str:
    (id,) = desk.queued(kind, on_unknown=OnUnknown.RESEND, **named)
    lease = desk.lease()
    desk.sent(lease, [id])
    desk.lapse(lease)
    return id


def test_where_the_campaign_asked_for_it_the_message_is_queued_again_after_a_wait(desk: Any) -> None:
    id = lost_while_sending(desk)
    before = desk.now()
    desk.rescue(resend_wait_ms=60_000)
    row = desk.row(id)
    assert (row["status"], row["tries"], row["ended_at"]) == ("retry", 1, None)
    assert before + 60_000 <= row["due_at"] <= desk.now() + 60_000
    assert desk.outcomes(id) == ["unknown"]
    assert desk.broken() == {}


def test_it_is_sent_again_once_and_then_stays_unknown(desk: Any) -> None:
    id = lost_while_sending(desk)
    desk.rescue()
    lease = desk.lease()
    desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    assert (desk.status(id), desk.outcomes(id)) == ("unknown", ["unknown", "unknown"])
    assert desk.broken() == {}


def test_a_code_is_never_sent_again_whatever_its_campaign_says(desk: Any) -> None:
    id = lost_while_sending(desk, Kind.OTP)
    desk.rescue()
    assert desk.status(id) == "unknown"
    assert desk.payload(id) is None


def test_what_would_expire_before_its_second_attempt_stays_unknown(desk: Any) -> None:
    id = lost_while_sending(desk, life_ms=30_000)
    desk.rescue(resend_wait_ms=60_000)
    assert desk.status(id) == "unknown"


def test_nothing_of_a_cancelled_campaign_is_sent_again(desk: Any) -> None:
    id = lost_while_sending(desk)
    campaign_control.cancel(desk.database, desk.row(id)["campaign_id"], actor="ada", why="wrong list")
    desk.rescue()
    assert desk.status(id) == "unknown"


# -- quarantine ----------------------------------------------------------------------------------------------


def die_holding(desk: Any, id: str) -> leases.Rescued:
    lease = desk.lease()
    assert len(desk.claim(lease, [id])) == 1
    return reap(desk, lease, rendering=id)


def test_a_message_that_every_worker_dies_of_is_taken_out_of_the_queue(desk: Any) -> None:
    poison, healthy = desk.queued(Kind.OTP, n=2)
    for _ in range(leases.MAX_STRIKES - 1):
        assert die_holding(desk, poison).given_back == [poison]
    assert die_holding(desk, poison).quarantined == [poison]
    row = desk.row(poison)
    assert row["status"] == "failed"
    assert row["error"].startswith("quarantined: worker after worker died while rendering it")
    assert row["ended_at"] is not None
    assert desk.payload(poison) is None
    assert desk.status(healthy) == "queued"
    assert desk.broken() == {}


def test_leases_that_lapse_blame_no_message_however_often(desk: Any) -> None:
    # The ledger may have been out of a living worker's reach.
    (id,) = desk.queued()
    for _ in range(10):
        lease = desk.lease()
        desk.claim(lease, [id])
        desk.lapse(lease)
        assert desk.rescue() == leases.Rescued([id], [], [])
    assert (desk.status(id), desk.row(id)["strikes"]) == ("queued", 0)


def test_a_quarantined_message_that_may_have_gone_out_is_unknown_and_not_failed(desk: Any) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Unknown("ReadTimeout"), status=Status.RETRY, due_at=0)
    for _ in range(leases.MAX_STRIKES):
        done = die_holding(desk, id)
    assert done.quarantined == [id]
    assert desk.status(id) == "unknown"


def test_lapsed_leases_are_closed_for_the_eye(desk: Any) -> None:
    desk.lapse(desk.lease())
    desk.lease()
    assert desk.write(leases.close_ended) == 1
    assert desk.write(leases.close_ended) == 0


def test_a_rescue_and_a_returning_worker_never_both_win(desk: Any) -> None:
    """The worker comes back after its lease lapsed and before anybody rescued: it opens nothing."""
    (id,) = desk.queued()
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id]))
    desk.lapse(lease, ms_ago=1)
    assert desk.open(lease, openings) == Opened(frozenset(), [], [], [], [])
    desk.rescue()
    assert desk.status(id) == "queued"


# -- a dead worker's own record ----------------------------------------------------------------------------------------


def reap(desk: Any, lease: str, *, rendering: str | None = None, begun: Any = ()) -> leases.Rescued:
    return desk.write(leases.reap, lease, rendering=rendering, begun=begun, resend_wait_ms=1000)


def test_of_what_a_dead_worker_had_opened_only_what_had_begun_is_unknown(desk: Any) -> None:
    ids = desk.queued(n=3)
    lease = desk.lease()
    openings = desk.sent(lease, ids)
    done = reap(desk, lease, begun=[openings[1].attempt_id])
    assert done.unknown == [openings[1].message.id]
    assert sorted(done.given_back) == sorted([openings[0].message.id, openings[2].message.id])
    assert [desk.outcomes(o.message.id) for o in openings] == [["not_sent"], ["unknown"], ["not_sent"]]
    assert [desk.status(o.message.id) for o in openings] == ["retry", "unknown", "retry"]
    assert desk.broken() == {}
    # They go out by the next worker; nothing of it counts against their tries.
    again = desk.claim(desk.lease(), ids)
    assert [(m.tries, m.attempts) for m in again] == [(0, 1), (0, 1)]


def test_where_more_had_begun_than_was_on_record_all_that_was_opened_is_unknown(desk: Any) -> None:
    ids = desk.queued(n=2)
    lease = desk.lease()
    desk.sent(lease, ids)
    assert sorted(reap(desk, lease, begun=None).unknown) == sorted(ids)


def test_only_the_message_that_was_being_rendered_is_struck_and_after_three_strikes_it_fails(
    desk: Any,
) -> None:
    poison, innocent = desk.queued(n=2)
    for strike in range(1, leases.MAX_STRIKES + 1):
        lease = desk.lease()
        desk.claim(lease, [poison, innocent])
        done = reap(desk, lease, rendering=poison)
        assert innocent in done.given_back
        assert (desk.row(innocent)["strikes"], desk.row(poison)["strikes"]) == (0, strike)
    assert done.quarantined == [poison]
    row = desk.row(poison)
    assert row["status"] == "failed"
    assert "quarantined" in row["error"]
    assert desk.status(innocent) == "queued"
    assert desk.broken() == {}


def test_kills_without_end_never_fail_a_message_that_was_not_being_rendered(desk: Any) -> None:
    (id,) = desk.queued()
    for _ in range(leases.MAX_STRIKES + 2):
        lease = desk.lease()
        desk.claim(lease, [id])
        reap(desk, lease)
    assert (desk.status(id), desk.row(id)["strikes"]) == ("queued", 0)


def test_what_comes_back_is_a_job_for_the_relay_again(desk: Any) -> None:
    ids = desk.queued(n=2)
    before = [desk.row(id)["due_at"] for id in ids]
    lease = desk.lease()
    desk.sent(lease, ids[:1])
    desk.claim(lease, ids[1:])
    reap(desk, lease)
    assert [desk.row(id)["due_at"] for id in ids] == [at + 1 for at in before]


def test_a_burial_repeated_or_beside_a_rescue_changes_nothing_more(desk: Any) -> None:
    ids = desk.queued(n=2)
    lease = desk.lease()
    openings = desk.sent(lease, ids)
    reap(desk, lease, begun=[openings[0].attempt_id])
    assert reap(desk, lease, begun=[openings[0].attempt_id]) == leases.Rescued([], [], [])
    assert desk.rescue() == leases.Rescued([], [], [])
    assert desk.status(openings[0].message.id) == "unknown"


def test_a_record_that_is_read_after_a_rescue_clears_what_had_not_begun(desk: Any) -> None:
    """The ledger was away when the worker's neighbour wanted to reap it, and the lease lapsed first."""
    ids = desk.queued(n=3)
    lease = desk.lease()
    openings = desk.sent(lease, ids)
    desk.lapse(lease)
    assert sorted(desk.rescue().unknown) == sorted(ids)
    done = reap(desk, lease, begun=[openings[1].attempt_id])
    assert sorted(done.given_back) == sorted([openings[0].message.id, openings[2].message.id])
    assert [desk.outcomes(o.message.id) for o in openings] == [["not_sent"], ["unknown"], ["not_sent"]]
    assert [desk.status(o.message.id) for o in openings] == ["retry", "unknown", "retry"]
    assert desk.broken() == {}


def test_a_record_that_is_read_after_a_rescue_clears_attempts_of_messages_that_wait_again(desk: Any) -> None:
    """They wait as their campaign asks, for a second POST after one that never was."""
    ids = desk.queued(n=2, on_unknown=OnUnknown.RESEND)
    lease = desk.lease()
    openings = desk.sent(lease, ids)
    desk.lapse(lease)
    desk.rescue(resend_wait_ms=60_000)
    due = [desk.row(id)["due_at"] for id in ids]
    assert reap(desk, lease, begun=[openings[1].attempt_id]) == leases.Rescued([], [], [])
    assert [desk.outcomes(o.message.id) for o in openings] == [["not_sent"], ["unknown"]]
    assert [(desk.status(id), desk.row(id)["due_at"]) for id in ids] == [("retry", at) for at in due]
    assert desk.broken() == {}


def test_a_record_clears_an_attempt_after_which_there_was_another(desk: Any) -> None:
    """A message that was refused the second time is surely not sent once its first attempt was not."""
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    lease = desk.lease()
    desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    (again,) = desk.sent(desk.lease("host:2"), [id])
    desk.settle(again, Refused("17009", "no"))
    assert (desk.status(id), desk.outcomes(id)) == ("unknown", ["unknown", "refused"])
    assert reap(desk, lease, begun=[]).given_back == []
    assert (desk.status(id), desk.outcomes(id)) == ("failed", ["not_sent", "refused"])
    assert desk.broken() == {}


def test_a_result_that_came_after_the_rescue_is_not_cleared_by_the_record(desk: Any) -> None:
    """A result leaves the record once the ledger has it, so the ledger must not say that the worker was lost."""
    evidence = Evidence(bytes_sent=True, reply_began=True, http_status=504)
    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    desk.settle(opening, Unknown("the vendor's server failed"), evidence=evidence, status=Status.UNKNOWN)
    assert reap(desk, lease, begun=[]).given_back == []
    assert (desk.status(id), desk.outcomes(id)) == ("unknown", ["unknown"])
    (attempt,) = desk.read(messages.attempts_of, id)
    assert (attempt["http_status"], attempt["reply_began"]) == (504, True)
    assert "its worker was lost" not in attempt["error"]


def test_a_code_that_a_rescue_has_wiped_fails_when_the_record_clears_it(desk: Any) -> None:
    """It was surely not sent: that is more than unknown, and its people may be sent a new code without a doubt."""
    (id,) = desk.queued(Kind.OTP)
    lease = desk.lease()
    desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    assert desk.status(id) == "unknown"
    assert reap(desk, lease, begun=[]).given_back == []
    assert (desk.status(id), desk.outcomes(id)) == ("failed", ["not_sent"])
    assert desk.row(id)["error"].startswith("its content was wiped when its worker was lost")
    assert desk.broken() == {}


def test_what_a_person_has_settled_since_is_not_touched_by_the_record(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    desk.write(messages.resolve, id, as_="failed", actor="ada", why="bill")
    assert reap(desk, lease, begun=[]).given_back == []
    assert desk.status(id) == "failed"


def test_a_code_whose_post_had_not_begun_is_still_there_to_be_sent(desk: Any) -> None:
    (id,) = desk.queued(Kind.OTP)
    lease = desk.lease()
    desk.sent(lease, [id])
    reap(desk, lease)
    assert desk.status(id) == "retry"
    assert desk.payload(id) is not None


def test_whether_there_may_be_anything_to_rescue_is_asked_without_a_writers_place(desk: Any) -> None:
    ids = desk.queued(n=2)
    living, dead = desk.lease("host:1"), desk.lease("host:2")
    desk.claim(living, ids[:1])
    assert not desk.read(leases.any_lapsed)
    desk.claim(dead, ids[1:])
    desk.lapse(dead)
    assert desk.read(leases.any_lapsed)
    desk.rescue()
    # What it held is taken from it; that it has ended is not on record yet.
    assert desk.read(leases.any_lapsed)
    desk.write(leases.close_ended)
    assert not desk.read(leases.any_lapsed)
