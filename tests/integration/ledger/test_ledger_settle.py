"""Settling: what an attempt came to, written once, whenever it comes to light and whoever holds the message."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import campaigns, messages, receipts
from bulksend.ledger.receipts import Receipt
from bulksend.ledger.settle import outcome_name, settle
from bulksend.ledger.write_ahead import Opening
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
from bulksend.messaging.states import CampaignStatus, Kind, OnUnknown, Status

ACCEPTED, REFUSED, UNKNOWN = (
    Accepted("mid-1", "rid-1"),
    Refused("17009", "no such template"),
    Unknown("ReadTimeout"),
)
NOT_SENT = NotSent("ConnectError")
Answer = tuple[str, Outcome, Status]


def test_each_outcome_closes_its_attempt_and_moves_its_message_on(desk: Any, answer: Answer) -> None:
    name, outcome, status = answer
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, outcome)
    (attempt,) = desk.attempts(id)
    row = desk.row(id)
    assert (attempt["outcome"], row["status"]) == (name, status.value)
    assert attempt["finished_at"] >= attempt["started_at"]
    assert (row["ended_at"] is not None) is (status is not Status.RETRY)
    assert desk.broken() == {}


def test_all_that_was_seen_of_a_post_is_kept_with_its_attempt(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    seen = Evidence(
        http_status=400,
        ret_code=17111,
        whatsapp_code=131026,
        vendor_message="not on WhatsApp: 4477*****264",
        request_id="rid-9",
        message_id="",
        bytes_sent=True,
        reply_began=True,
        error="",
    )
    desk.settle(opening, Refused("131026", "not on WhatsApp"), evidence=seen)
    (attempt,) = desk.attempts(id)
    assert {
        name: attempt[name] for name in ("http_status", "ret_code", "whatsapp_code", "vendor_message")
    } == {
        "http_status": 400,
        "ret_code": 17111,
        "whatsapp_code": 131026,
        "vendor_message": "not on WhatsApp: 4477*****264",
    }
    assert (attempt["request_id"], attempt["message_id"], attempt["latency_ms"]) == ("rid-9", None, 12.5)
    assert (attempt["bytes_sent"], attempt["reply_began"], attempt["error"]) == (
        True,
        True,
        "not on WhatsApp",
    )
    row = desk.row(id)
    assert (row["request_id"], row["ret_code"], row["error"]) == ("rid-9", 17111, "not on WhatsApp")


def test_the_error_of_an_attempt_names_the_class_of_its_failure_once(desk: Any) -> None:
    first, second = desk.sent(desk.lease(), desk.queued(n=2))
    why = "the connection failed while waiting for the reply (ConnectionResetError); the message may have been sent"
    desk.settle(first, Unknown(why), evidence=Evidence(error="ConnectionResetError"))
    desk.settle(second, Unknown("the POST failed"), evidence=Evidence(error="OSError"))
    assert desk.attempts(first.message.id)[0]["error"] == why
    assert desk.attempts(second.message.id)[0]["error"] == "the POST failed (OSError)"


def test_an_accepted_message_has_its_message_id_and_no_error(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, ACCEPTED, evidence=Evidence(200, 0, request_id="rid-1", message_id="mid-1"))
    row = desk.row(id)
    assert (row["message_id"], row["request_id"], row["error"]) == ("mid-1", "rid-1", None)
    assert row["accepted_at"] == row["ended_at"]


def test_a_retry_counts_what_the_decision_says_and_waits_until_its_time(desk: Any) -> None:
    (id,) = desk.queued()
    lease, due_at = desk.lease(), desk.now() + 60_000
    (opening,) = desk.sent(lease, [id])
    desk.settle(opening, Throttled("429", "too fast", Scope.SENDER), due_at=due_at, waits=3)
    row = desk.row(id)
    assert (row["status"], row["due_at"], row["tries"], row["waits"]) == ("retry", due_at, 0, 3)
    assert desk.claim(lease, [id]) == []


def test_words_of_the_vendor_that_no_database_can_hold_do_not_lose_the_batch(desk: Any) -> None:
    ids = desk.queued(n=2)
    first, second = desk.sent(desk.lease(), ids)
    nasty = Evidence(200, 1, vendor_message="a\x00b\ud83d" + "x" * 900)
    desk.write(
        settle,
        [
            desk.settlement(first, Refused("1", "\x00" + "y" * 900), evidence=nasty),
            desk.settlement(second, ACCEPTED),
        ],
    )
    (attempt,) = desk.attempts(first.message.id)
    assert attempt["vendor_message"].startswith("a\ufffdb\ufffdxxx")
    assert len(attempt["vendor_message"]) == 500
    assert desk.status(second.message.id) == "accepted"


@pytest.mark.parametrize("name", ["accepted", "refused", "not_sent", "throttled", "unknown"])
def test_settling_again_after_a_lost_commit_changes_nothing(desk: Any, name: str, answers: Any) -> None:
    outcome, _ = answers[name]
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    settlement = desk.settle(opening, outcome)
    before = dict(desk.row(id)) | {"ended_at": None}
    desk.write(settle, [settlement])
    assert dict(desk.row(id)) | {"ended_at": None} == before
    assert len(desk.attempts(id)) == 1


def test_settling_again_does_not_touch_the_attempt_that_followed(desk: Any) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (first,) = desk.sent(lease, [id])
    settlement = desk.settle(first, NOT_SENT)
    desk.sent(lease, [id])
    desk.write(settle, [settlement])
    assert desk.status(id) == "sending"
    assert desk.outcomes(id) == ["not_sent", None]


def test_nothing_to_settle_is_no_error(desk: Any) -> None:
    desk.write(settle, [])


@pytest.mark.parametrize("outcome", [NOT_SENT, Throttled("429", "too fast", Scope.SENDER)])
def test_an_earlier_unknown_outlives_the_last_attempt_for_which_there_was_time(
    desk: Any, outcome: Outcome
) -> None:
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    (first,) = desk.sent(desk.lease(), [id])
    desk.settle(first, UNKNOWN, status=Status.RETRY, due_at=0)
    (second,) = desk.sent(desk.lease(), [id])
    desk.settle(second, outcome, status=Status.EXPIRED, due_at=None)
    assert desk.status(id) == "unknown"
    assert desk.row(id)["ended_at"] is not None
    assert desk.broken() == {}


# -- one-time codes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (ACCEPTED, Status.ACCEPTED),
        (REFUSED, Status.FAILED),
        (NOT_SENT, Status.FAILED),
        (NOT_SENT, Status.EXPIRED),
        (UNKNOWN, Status.UNKNOWN),
    ],
)
def test_a_code_is_wiped_at_every_ending(desk: Any, outcome: Outcome, status: Status) -> None:
    (id,) = desk.queued(Kind.OTP)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, outcome, status=status, due_at=None)
    assert desk.status(id) == status.value
    assert desk.payload(id) is None
    assert desk.broken() == {}


def test_a_code_that_waits_for_another_attempt_is_kept(desk: Any) -> None:
    (id,) = desk.queued(Kind.OTP)
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, NOT_SENT)
    assert desk.payload(id) is not None


def test_what_other_kinds_hold_is_kept_at_their_ending(desk: Any) -> None:
    (id,) = desk.queued(Kind.UTILITY)
    desk.accepted([id])
    assert desk.payload(id) is not None


# -- late truth ----------------------------------------------------------------------------------------------


def rescued(desk: Any, kind: Kind = Kind.MARKETING, **of: Any) -> tuple[str, Opening]:
    """Its worker was away for longer than its lease while the POST was under way."""
    (id,) = desk.queued(kind, **of)
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue(resend_wait_ms=60_000)
    return id, opening


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(ACCEPTED, "accepted"), (REFUSED, "failed"), (NOT_SENT, "retry"), (UNKNOWN, "unknown")],
)
def test_the_answer_of_a_worker_that_was_given_up_is_still_the_truth(
    desk: Any, outcome: Outcome, status: str
) -> None:
    id, opening = rescued(desk)
    assert (desk.status(id), desk.outcomes(id)) == ("unknown", ["unknown"])
    desk.settle(opening, outcome)
    assert desk.status(id) == status
    assert desk.outcomes(id) == [outcome_name(outcome)]
    assert desk.broken() == {}


def test_what_waits_again_by_late_truth_opens_its_finished_campaign_again(desk: Any) -> None:
    id, opening = rescued(desk)
    campaign = desk.row(id)["campaign_id"]
    assert desk.write(campaigns.finish_ended) == [campaign]
    desk.settle(opening, NOT_SENT)
    assert desk.read(campaigns.get, campaign).status is CampaignStatus.RUNNING
    assert len(desk.claim(desk.lease(), [id])) == 1
    assert desk.broken() == {}


def test_a_code_wiped_by_a_rescue_waits_again_when_its_worker_knows_that_it_was_not_sent(desk: Any) -> None:
    id, opening = rescued(desk, Kind.OTP)
    assert desk.payload(id) is None
    desk.settle(opening, NOT_SENT, payload=opening.message.payload)
    assert (desk.status(id), desk.payload(id)) == ("retry", opening.message.payload)
    (again,) = desk.claim(desk.lease(), [id])
    assert again.payload == opening.message.payload
    assert desk.broken() == {}


@pytest.mark.parametrize("outcome", [ACCEPTED, REFUSED, UNKNOWN])
def test_a_code_that_ended_is_not_brought_back(desk: Any, outcome: Outcome) -> None:
    id, opening = rescued(desk, Kind.OTP)
    desk.settle(opening, outcome, payload=opening.message.payload)
    assert desk.payload(id) is None
    assert desk.broken() == {}


def test_a_code_that_a_person_has_settled_is_not_brought_back(desk: Any) -> None:
    id, opening = rescued(desk, Kind.OTP)
    desk.write(messages.resolve, id, as_="failed", actor="ann", why="asked the user")
    desk.settle(opening, NOT_SENT, payload=opening.message.payload)
    assert (desk.status(id), desk.payload(id)) == ("failed", None)
    assert desk.broken() == {}


def test_a_code_wiped_by_a_rescue_whose_content_is_gone_fails_when_it_turns_out_not_sent(desk: Any) -> None:
    id, opening = rescued(desk, Kind.OTP)
    desk.settle(opening, NOT_SENT)
    row = desk.row(id)
    assert row["status"] == "failed"
    assert row["error"] == "its content was wiped when its worker was lost: ConnectError"
    assert row["ended_at"] is not None
    assert desk.broken() == {}


def test_an_acceptance_counts_while_the_message_waits_for_a_second_attempt(desk: Any) -> None:
    id, opening = rescued(desk, on_unknown=OnUnknown.RESEND)
    assert desk.status(id) == "retry"
    desk.settle(opening, ACCEPTED, evidence=Evidence(200, 0, message_id="mid-1"))
    row = desk.row(id)
    assert (row["status"], row["message_id"]) == ("accepted", "mid-1")
    assert row["ended_at"] is not None
    assert desk.broken() == {}


def test_a_late_refusal_leaves_the_second_attempt_to_come(desk: Any) -> None:
    id, opening = rescued(desk, on_unknown=OnUnknown.RESEND)
    desk.settle(opening, REFUSED)
    assert desk.status(id) == "retry"
    assert desk.outcomes(id) == ["refused"]


def resend_in_hand(desk: Any) -> tuple[str, str, Opening]:
    id, opening = rescued(desk, on_unknown=OnUnknown.RESEND)
    desk.sql("UPDATE messages SET due_at = 0")
    return id, desk.lease("host:2"), opening


def test_an_acceptance_takes_the_message_out_of_the_hands_that_would_send_it_twice(desk: Any) -> None:
    id, other, opening = resend_in_hand(desk)
    again = desk.openings(desk.claim(other, [id]))
    desk.settle(opening, ACCEPTED, evidence=Evidence(200, 0, message_id="mid-1"))
    assert desk.status(id) == "accepted"
    assert desk.open(other, again).attempts == frozenset()
    assert len(desk.attempts(id)) == 1


@pytest.mark.parametrize("outcome", [REFUSED, NOT_SENT, UNKNOWN, ACCEPTED])
def test_an_acceptance_of_the_first_attempt_counts_whatever_the_second_comes_to(
    desk: Any, outcome: Outcome
) -> None:
    id, other, first = resend_in_hand(desk)
    (second,) = desk.sent(other, [id])
    desk.settle(first, ACCEPTED, evidence=Evidence(200, 0, message_id="mid-1"))
    assert desk.status(id) == "accepted"
    desk.settle(second, outcome)
    assert desk.status(id) == "accepted"
    assert desk.row(id)["message_id"] == "mid-1"
    assert desk.broken() == {}


def test_an_acceptance_of_the_first_attempt_counts_after_the_second_failed(desk: Any) -> None:
    id, other, first = resend_in_hand(desk)
    (second,) = desk.sent(other, [id])
    desk.settle(second, REFUSED)
    assert desk.status(id) == "unknown"
    desk.settle(first, ACCEPTED, evidence=Evidence(200, 0, message_id="mid-1"))
    assert (desk.status(id), desk.row(id)["message_id"]) == ("accepted", "mid-1")
    assert desk.broken() == {}


def test_an_acceptance_of_the_first_attempt_counts_after_the_worker_of_the_second_died(desk: Any) -> None:
    id, other, first = resend_in_hand(desk)
    desk.sent(other, [id])
    desk.settle(first, ACCEPTED, evidence=Evidence(200, 0, message_id="mid-1"))
    desk.lapse(other)
    desk.rescue()
    assert desk.status(id) == "accepted"
    assert desk.outcomes(id) == ["accepted", "unknown"]
    assert desk.broken() == {}


def test_an_acceptance_outweighs_a_person_who_took_it_for_failed(desk: Any) -> None:
    id, opening = rescued(desk)
    desk.write(messages.resolve, id, as_="failed", actor="ada", why="customer says so")
    desk.settle(opening, ACCEPTED, evidence=Evidence(200, 0, message_id="mid-1"))
    assert (desk.status(id), desk.row(id)["message_id"]) == ("accepted", "mid-1")
    assert desk.broken() == {}


def test_what_a_person_took_for_accepted_gets_its_message_id_for_receipts_to_find(desk: Any) -> None:
    id, opening = rescued(desk)
    desk.write(messages.resolve, id, as_="accepted", actor="ada", why="it is on the bill")
    desk.receive(Receipt("mid-1", "delivered", 20))
    desk.settle(opening, ACCEPTED)
    assert desk.row(id)["message_id"] == "mid-1"
    desk.write(receipts.Orphans().match)
    assert desk.status(id) == "delivered"
    assert desk.broken() == {}


def test_what_an_unclear_answer_named_is_kept_for_a_receipt_to_find(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Unknown("HTTP 500"), evidence=Evidence(500, 0, message_id="mid-7", bytes_sent=True))
    assert (desk.status(id), desk.row(id)["message_id"]) == ("unknown", "mid-7")
