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

from bulksend.ledger import campaign_control, campaign_retry, campaigns, due, messages
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.release import fail_claimed
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
}
UNACCEPTED = sorted(OUTCOMES.keys() - {"accepted"})
#: What ends the message after its last attempt.
ENDS = ("the answer", "expiry", "expiry in hand", "cancel", "cancel in hand", "rendering", "rescue")


@dataclass(frozen=True)
class Life:
    """The outcomes of its attempts, the last one's last; what comes to light late of those that are unknown, as
    (number of the attempt, outcome) in this order; what ended it; receipts of failure for attempts."""

    outcomes: tuple[str, ...]
    end: str
    late: tuple[tuple[int, str], ...]
    undelivered: tuple[int, ...]


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
    reported = [len(outcomes) - 1] if outcomes[-1] == "accepted" and draw(st.booleans()) else []
    return Life(tuple(outcomes), end, tuple(late), tuple(reported))


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
    end(desk, id, life.end, lease)
    for n in life.undelivered:
        desk.receive(Receipt(f"mid-{n}-{id}", "failed", 7, "131026", "not on WhatsApp"))
    for n, name in life.late:
        desk.settle(openings[n], outcome(name, n, id), evidence=evidence(name, n, id), **_ending(name))
    return str(id)


def outcome(name: str, n: int, id: str) -> Outcome:
    return Accepted(f"mid-{n}-{id}", "rid") if name == "accepted" else OUTCOMES[name]


def evidence(name: str, n: int, id: str) -> Evidence:
    return Evidence(200, 0, message_id=f"mid-{n}-{id}" if name == "accepted" else "", bytes_sent=True)


def _ending(name: str) -> dict[str, Any]:
    """As decided where there is no time for another try."""
    if name in ("not_sent", "throttled"):
        return {"status": Status.EXPIRED, "due_at": None}
    return {}


def end(desk: Any, id: str, how: str, lease: str) -> None:
    if how == "the answer" or (how == "rescue" and desk.status(id) not in WAITING):
        return
    claimed = desk.claim(lease, [id]) if how in ("expiry in hand", "cancel in hand", "rendering") else []
    if how.startswith("expiry"):
        desk.sql("UPDATE messages SET expires_at = :now WHERE CAST(id AS text) = :id", now=desk.now(), id=id)
    if how == "expiry":
        desk.write(due.expire)
    elif how in ("cancel", "rescue"):
        campaign_control.cancel(
            desk.database, str(desk.row(id)["campaign_id"]), actor="ada", why="wrong list"
        )
    elif how == "cancel in hand":
        desk.write(
            campaign_control.mark_cancelled, str(desk.row(id)["campaign_id"]), actor="ada", why="wrong list"
        )
        desk.open(lease, desk.openings(claimed))
    elif how == "expiry in hand":
        desk.open(lease, desk.openings(claimed))
    else:
        desk.write(fail_claimed, [(id, "cannot be rendered")], lease=lease)


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
    outcomes = [dict(life.late).get(n, outcome) for n, outcome in enumerate(life.outcomes)]
    assert desk.outcomes(id) == outcomes
    expected = final_status(effective_outcomes(desk, id, life.undelivered), Status.FAILED)
    status = Status(desk.status(id))
    assert status in UNSENT if expected in UNSENT else status is expected
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
    id = live(desk, Life((first, second), "the answer", (), ()))
    unknown = "unknown" in (first, second)
    assert (desk.status(id) == "unknown") is unknown
    if unknown and second != "unknown":
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
    assert desk.broken() == {}
