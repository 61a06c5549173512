"""Whatever attempts come to, in whatever order that comes to light, and whatever ends the message: the ledger's
statements end it as ``messaging.final_status`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulksend.ledger import (
    campaign_control,
    campaign_retry,
    campaigns,
    due,
    event_numbers,
    leases,
    messages,
    suppressions,
)
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.release import end_claimed
from bulksend.ledger.settle import outcome_name
from bulksend.messaging.final_status import effective_outcome, final_status
from bulksend.messaging.outcome import (
    Accepted,
    Evidence,
    NotSent,
    Outcome,
    Refused,
    Scope,
    Throttled,
    Unknown,
)
from bulksend.messaging.states import UNSENT, WAITING, Kind, OnUnknown, Status

OUTCOMES: dict[str, Outcome] = {
    "accepted": Accepted("mid", "rid"),
    "refused": Refused("17009", "no such template"),
    "not_sent": NotSent("ConnectError"),
    "throttled": Throttled("429", "too fast", Scope.SENDER),
    "unknown": Unknown("ReadTimeout"),
    # An answer that is no clear success, but names the message.
    "unclear": Unknown("HTTP 500"),
}
UNACCEPTED = sorted(OUTCOMES.keys() - {"accepted"})
#: What ends a message that waits for another attempt.
ENDS_OF_WAITING = (
    "expiry",
    "expiry in hand",
    "expiry as it was opened",
    "cancel",
    "cancel in hand",
    "suppression",
    "rendering",
    "poison",
)
#: What ends the message after its last attempt.
ENDS = ("the answer", "rescue", *ENDS_OF_WAITING)


@dataclass(frozen=True)
class Life:
    """The outcomes of its attempts, the last one's last; what ended it; what comes to light late of those that are
    unknown, as (number of the attempt, outcome) in this order; receipts of failure for attempts, and whether that of
    the last one comes before the end."""

    outcomes: tuple[str, ...]
    end: str
    late: tuple[tuple[int, str], ...] = ()
    undelivered: tuple[int, ...] = ()
    before_its_end: bool = False


@st.composite
def lives(draw: st.DrawFn) -> Life:
    outcomes = (
        *draw(st.lists(st.sampled_from(UNACCEPTED), max_size=2)),
        draw(st.sampled_from(sorted(OUTCOMES))),
    )
    unknown = [n for n, outcome in enumerate(outcomes) if outcome == "unknown"]
    late = [
        (n, draw(st.sampled_from(sorted(OUTCOMES))))
        for n in draw(st.permutations(unknown))
        if draw(st.booleans())
    ]
    end = "the answer" if outcomes[-1] == "accepted" else draw(st.sampled_from(ENDS))
    named = [n for n, outcome in enumerate(outcomes) if outcome in ("accepted", "unclear")]
    reported = [n for n in named if draw(st.booleans())]
    return Life(tuple(outcomes), end, tuple(late), tuple(reported), draw(st.booleans()))


def live(desk: Any, life: Life) -> str:
    """The message after this life."""
    (id,) = desk.queued(Kind.MARKETING, on_unknown=OnUnknown.RESEND)
    lease = desk.lease()
    openings = []
    for n, name in enumerate(life.outcomes):
        (opening,) = desk.sent(lease, [id])
        openings.append(opening)
        is_last = n == len(life.outcomes) - 1
        if is_last and life.end == "rescue":
            desk.lapse(lease)
            desk.rescue()
            desk.settle(opening, outcome(name, n, id), evidence=evidence(name, n, id), **_ending(name))
        elif is_last and life.end == "the answer":
            desk.settle(opening, outcome(name, n, id), evidence=evidence(name, n, id), **_ending(name))
        else:
            desk.settle(
                opening, outcome(name, n, id), evidence=evidence(name, n, id), status=Status.RETRY, due_at=0
            )
        if n in life.undelivered and (life.before_its_end or not is_last):
            fail(desk, n, id)
    end(desk, id, life.end, lease)
    last = len(life.outcomes) - 1
    if last in life.undelivered and not life.before_its_end:
        fail(desk, last, id)
    for n, name in life.late:
        desk.settle(openings[n], outcome(name, n, id), evidence=evidence(name, n, id), **_ending(name))
    return str(id)


def fail(desk: Any, n: int, id: str) -> None:
    desk.receive(Receipt(f"mid-{n}-{id}", "failed", 7, "131026", "not on WhatsApp"))


def outcome(name: str, n: int, id: str) -> Outcome:
    return Accepted(f"mid-{n}-{id}", "rid") if name == "accepted" else OUTCOMES[name]


def evidence(name: str, n: int, id: str) -> Evidence:
    return Evidence(
        200, 0, message_id=f"mid-{n}-{id}" if name in ("accepted", "unclear") else "", bytes_sent=True
    )


def _ending(name: str) -> dict[str, Any]:
    """As decided where there is no time for another try."""
    if name in ("not_sent", "throttled"):
        return {"status": Status.EXPIRED, "due_at": None}
    return {}


def end(desk: Any, id: str, how: str, lease: str) -> None:
    if how == "the answer" or (how == "rescue" and desk.status(id) not in WAITING):
        return
    claimed = [] if how in ("expiry", "cancel", "rescue") else desk.claim(lease, [id])
    openings = desk.openings(claimed)
    campaign, recipient = str(desk.row(id)["campaign_id"]), desk.row(id)["recipient"]
    if how == "expiry as it was opened":
        desk.open(lease, openings)  # and the answer of this COMMIT was lost
    if how.startswith("expiry"):
        desk.sql("UPDATE messages SET expires_at = :now WHERE CAST(id AS text) = :id", now=desk.now(), id=id)
    if how == "expiry":
        desk.write(due.expire)
    elif how in ("cancel", "rescue"):
        campaign_control.cancel(desk.database, campaign, actor="ada", why="wrong list")
    elif how == "rendering":
        desk.write(end_claimed, [(id, "cannot be rendered")], Status.FAILED, lease)
    elif how == "poison":
        desk.sql("UPDATE messages SET strikes = 2 WHERE CAST(id AS text) = :id", id=id)
        desk.write(leases.reap, lease, rendering=id, begun=None, resend_wait_ms=0)
    else:
        if how == "cancel in hand":
            desk.write(campaign_control.mark_cancelled, campaign, actor="ada", why="wrong list")
        elif how == "suppression":
            desk.write(
                suppressions.add, {recipient: None}, scope="all", reason="asked", source="test", actor="ada"
            )
        desk.open(lease, openings)
        desk.write(suppressions.remove, recipient, scope="all", actor="ada", why="the next life begins")


def effective_outcomes(
    desk: Any, id: str, undelivered: Sequence[int], *, said_failed: bool = False
) -> list[Any]:
    return [
        effective_outcome(outcome, undelivered=n in undelivered, said_failed=said_failed)
        for n, outcome in enumerate(desk.outcomes(id))
    ]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(life=lives())
def test_a_message_ends_as_all_its_attempts_say_together(desk: Any, life: Life) -> None:
    id = live(desk, life)
    told = [OUTCOMES[dict(life.late).get(n, name)] for n, name in enumerate(life.outcomes)]
    outcomes = [outcome_name(each) for each in told]
    assert desk.outcomes(id) == outcomes
    none_gives_one = Status.QUEUED
    expected = final_status(effective_outcomes(desk, id, life.undelivered), none_gives_one)
    status = Status(desk.status(id))
    assert status in UNSENT if expected is none_gives_one else status is expected
    assert desk.row(id)["ended_at"] is not None
    assert set(desk.broken()) <= {"never late", "nothing doubled"}


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(life=lives())
def test_a_persons_word_is_the_only_other_one_and_retry_goes_by_the_same_rule(desk: Any, life: Life) -> None:
    id = live(desk, replace(life, late=(), undelivered=()))
    if desk.status(id) == "unknown":
        desk.write(messages.resolve, id, as_="failed", actor="ada", why="not billed")
        assert desk.status(id) == "failed"
        assert (
            final_status(effective_outcomes(desk, id, (), said_failed=True), Status.FAILED) is Status.FAILED
        )
        assert "nothing rounded" not in desk.broken()
    campaign = desk.read(campaigns.get, str(desk.row(id)["campaign_id"]))
    if campaign.status.value != "cancelled":
        may = desk.status(id) == "failed" and not life.end.startswith("expiry")
        retried = campaign_retry.retry(desk.database, campaign.id, actor="ada", why="again")
        assert retried.queued == int(may)


@pytest.mark.parametrize("first", UNACCEPTED)
@pytest.mark.parametrize("second", UNACCEPTED)
def test_each_pair_of_outcomes(desk: Any, first: str, second: str) -> None:
    """Attempt 1 unknown, sent again, attempt 2 refused is unknown and not failed: issue 14, A5."""
    id = live(desk, Life((first, second), "the answer"))
    doubts = {"unknown", "unclear"}
    assert (desk.status(id) == "unknown") is bool(doubts & {first, second})
    if first in doubts and second not in doubts:
        assert desk.row(id)["error"].startswith("an attempt of it may have gone out: ")


@pytest.mark.parametrize("first", ["unknown", "accepted"])
def test_a_receipt_of_failure_speaks_only_of_its_own_attempt(desk: Any, first: str) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    lease = desk.lease()
    (one,) = desk.sent(lease, [id])
    desk.settle(one, OUTCOMES["unknown"], status=Status.RETRY, due_at=0)
    (two,) = desk.sent(lease, [id])
    desk.settle(two, Accepted("mid-2", "rid"), evidence=Evidence(200, 0, message_id="mid-2"))
    if first == "accepted":
        desk.settle(one, Accepted("mid-1", "rid"), evidence=Evidence(200, 0, message_id="mid-1"))
    desk.receive(Receipt("mid-2", "failed", 7, "131026", "not on WhatsApp"))
    assert desk.status(id) == first
    event_numbers.number_all(desk.database)
    told = desk.read(
        lambda tx: tx.exec_driver_sql("SELECT type FROM events WHERE items IS NOT NULL ORDER BY seq")
    )
    assert [row.type for row in told] == ["message.accepted", "message.unknown"][: 1 + (first == "unknown")]
    named = {"unknown": "mid-2", "accepted": "mid-1"}
    assert desk.row(id)["message_id"] == named[first]
    assert desk.broken() == {}


def taken_and_undelivered(desk: Any, **of: Any) -> str:
    """The vendor took it though its answer was unclear, reports that it failed, and it waits for the next attempt."""
    (id,) = desk.queued(Kind.MARKETING, on_unknown=OnUnknown.RESEND)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, OUTCOMES["unclear"], evidence=evidence("unclear", 0, id), **of)
    fail(desk, 0, id)
    return str(id)


@pytest.mark.parametrize("how", ENDS_OF_WAITING)
def test_what_the_vendor_took_and_could_not_deliver_failed_whatever_keeps_it_from_being_sent_again(
    desk: Any, how: str
) -> None:
    """It ended as expired, as if nothing of it had gone out; one event tells its ending."""
    id = taken_and_undelivered(desk, status=Status.RETRY, due_at=0)
    assert desk.status(id) == "retry"
    end(desk, id, how, desk.lease())
    assert desk.status(id) == "failed"
    assert desk.row(id)["error"].startswith("receipt: 131026 not on WhatsApp; not sent again: ")
    told = desk.read(lambda tx: tx.exec_driver_sql("SELECT type FROM events WHERE items IS NOT NULL"))
    assert [row.type for row in told] == ["message.failed"]
    assert desk.broken() == {}


def test_what_the_vendor_took_is_not_retried(desk: Any) -> None:
    """It was, where the answer to its POST had been unclear: the person could have got it twice."""
    id = taken_and_undelivered(desk)
    assert desk.status(id) == "failed"
    campaign = str(desk.row(id)["campaign_id"])
    counted = campaign_retry.Counted(0, 0, exact=True)
    assert desk.read(lambda tx: campaign_retry.count_retried(tx, campaigns.get(tx, campaign))) == counted
    assert campaign_retry.retry(desk.database, campaign, actor="ada", why="again").queued == 0


@pytest.mark.parametrize("how", ["its worker died before its POST began", "expiry as it was opened"])
def test_an_answer_that_comes_while_the_next_attempt_is_open_counts_when_that_one_is_not_made(
    desk: Any, how: str
) -> None:
    """The message waited for one more attempt though the vendor had it, or ended as expired."""
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    (first,) = desk.sent(desk.lease("host:1"), [id])
    desk.settle(first, OUTCOMES["unknown"], status=Status.RETRY, due_at=0)
    lease = desk.lease("host:2")
    openings = desk.openings(desk.claim(lease, [id]))
    desk.open(lease, openings)
    desk.settle(first, outcome("accepted", 0, id), evidence=evidence("accepted", 0, id))
    assert desk.status(id) == "accepted"
    if how.startswith("expiry"):
        desk.sql("UPDATE messages SET expires_at = :now", now=desk.now())
        assert desk.open(lease, openings).attempts == frozenset()
        assert desk.outcomes(id) == ["accepted"]
    else:
        desk.write(leases.reap, lease, rendering=None, begun=[], resend_wait_ms=0)
        assert desk.outcomes(id) == ["accepted", "not_sent"]
    assert desk.status(id) == "accepted"
    assert set(desk.broken()) <= {"never late"}
