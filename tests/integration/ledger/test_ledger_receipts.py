"""Receipts: early, late, twice, out of order or of nobody; they only ever raise a status."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from bulksend.ledger import messages, receipts
from bulksend.ledger.receipts import Receipt
from bulksend.messaging.outcome import Accepted, Evidence, Refused, Unknown
from bulksend.messaging.states import Kind, OnUnknown, Status
from tests.integration.ledger.conftest import Desk, in_between

SENT, DELIVERED, READ = (
    Receipt("mid-1", status, at) for status, at in (("sent", 10), ("delivered", 20), ("read", 30))
)
FAILED = Receipt("mid-1", "failed", 25, "131026", "not on WhatsApp")


def accepted(desk: Any, message_id: str = "mid-1") -> str:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.settle(opening, Accepted(message_id, "rid"), evidence=Evidence(200, 0, message_id=message_id))
    return str(id)


@pytest.mark.parametrize("order", list(itertools.permutations([SENT, DELIVERED, READ])), ids=str)
def test_in_any_order_they_come_to_the_same(desk: Any, order: tuple[Receipt, ...]) -> None:
    id = accepted(desk)
    for receipt in order:
        assert desk.receive(receipt) == 1
    row = desk.row(id)
    assert (row["status"], row["delivered_at"], row["read_at"]) == ("read", 20, 30)
    assert desk.broken() == {}


@pytest.mark.parametrize(
    ("receipt", "status"), [(SENT, "accepted"), (DELIVERED, "delivered"), (READ, "read"), (FAILED, "failed")]
)
def test_each_says_how_far_the_message_has_come(desk: Any, receipt: Receipt, status: str) -> None:
    id = accepted(desk)
    desk.receive(receipt)
    assert desk.status(id) == status
    assert desk.broken() == {}


def test_a_failure_is_told_with_its_code_and_words(desk: Any) -> None:
    id = accepted(desk)
    desk.receive(FAILED)
    assert desk.row(id)["error"] == "receipt: 131026 not on WhatsApp"


@pytest.mark.parametrize("better", [DELIVERED, READ])
@pytest.mark.parametrize("failed_first", [True, False])
def test_a_failure_never_outweighs_that_it_arrived(desk: Any, better: Receipt, failed_first: bool) -> None:
    id = accepted(desk)
    for receipt in (FAILED, better) if failed_first else (better, FAILED):
        desk.receive(receipt)
    assert desk.status(id) == better.status
    assert desk.row(id)["error"] is None


def test_a_hundred_replays_are_one_receipt(desk: Any) -> None:
    id = accepted(desk)
    assert desk.receive(*[DELIVERED] * 50) == 1
    assert [desk.receive(DELIVERED) for _ in range(50)] == [0] * 50
    assert len(desk.read(desk.receipts_of, id)) == 1
    assert desk.status(id) == "delivered"


def test_one_for_an_unknown_message_is_kept_and_moves_nothing(desk: Any) -> None:
    id = accepted(desk)
    assert desk.receive(Receipt("mid-of-somebody-else", "failed", 5)) == 1
    assert desk.status(id) == "accepted"
    assert desk.write(receipts.Orphans().match).matched == 0


def test_one_that_comes_before_the_answer_to_its_own_send_is_applied_after_it(desk: Any) -> None:
    (id,) = desk.queued()
    (opening,) = desk.sent(desk.lease(), [id])
    desk.receive(DELIVERED)
    assert desk.status(id) == "sending"
    desk.settle(opening, Accepted("mid-1", "rid"), evidence=Evidence(200, 0, message_id="mid-1"))
    assert desk.write(receipts.Orphans().match).matched == 1
    assert (desk.status(id), desk.row(id)["delivered_at"]) == ("delivered", 20)
    assert desk.write(receipts.Orphans().match).matched == 0


def unclear(desk: Any, request_id: str = "", **decided: Any) -> str:
    """The answer was no clear success, but it named a MessageId."""
    of = {"on_unknown": OnUnknown.RESEND} if decided else {}
    (id,) = desk.queued(**of)
    (opening,) = desk.sent(desk.lease(), [id])
    seen = Evidence(500, 0, message_id="mid-1", request_id=request_id, bytes_sent=True)
    desk.settle(opening, Unknown("HTTP 500"), evidence=seen, **decided)
    return str(id)


@pytest.mark.parametrize("first", [SENT, FAILED, DELIVERED], ids=lambda receipt: receipt.status)
@pytest.mark.parametrize("second", [SENT, FAILED, DELIVERED], ids=lambda receipt: receipt.status)
def test_two_that_are_brought_at_the_same_time_come_to_the_same(
    server: Desk, first: Receipt, second: Receipt
) -> None:
    """The second did not see the first, which was not committed yet, and took ``failed`` back to ``accepted``."""
    id = unclear(server)
    in_between(server, lambda tx: receipts.take(tx, [first]), lambda: server.receive(second))
    told = {first.status, second.status}
    best = next((status for status in ("delivered", "failed") if status in told), "accepted")
    assert server.status(id) == best


@pytest.mark.parametrize(
    ("receipt", "status"), [(SENT, "accepted"), (DELIVERED, "delivered"), (READ, "read"), (FAILED, "failed")]
)
def test_one_settles_a_message_that_was_unknown(desk: Any, receipt: Receipt, status: str) -> None:
    id = unclear(desk)
    desk.receive(receipt)
    row = desk.row(id)
    assert row["status"] == status
    assert row["accepted_at"] is not None
    assert desk.broken() == {}


@pytest.mark.parametrize("receipt", [SENT, DELIVERED, READ])
def test_one_spares_the_second_attempt_of_a_message_that_waits_for_it(desk: Any, receipt: Receipt) -> None:
    id = unclear(desk, status=Status.RETRY, due_at=0)
    desk.receive(receipt)
    row = desk.row(id)
    assert row["status"] == ("accepted" if receipt is SENT else receipt.status)
    assert row["ended_at"] is not None
    assert desk.claim(desk.lease(), [id]) == []
    assert desk.broken() == {}


def test_one_takes_the_message_out_of_the_hands_that_would_send_it_twice(desk: Any) -> None:
    id = unclear(desk, status=Status.RETRY, due_at=0)
    lease = desk.lease()
    again = desk.openings(desk.claim(lease, [id]))
    desk.receive(DELIVERED)
    assert desk.open(lease, again).attempts == frozenset()
    assert desk.status(id) == "delivered"


def test_a_failure_leaves_the_second_attempt_to_come(desk: Any) -> None:
    id = unclear(desk, status=Status.RETRY, due_at=0)
    desk.receive(FAILED)
    assert desk.status(id) == "retry"


def test_one_counts_at_once_also_while_a_second_attempt_is_under_way(desk: Any) -> None:
    id = unclear(desk, status=Status.RETRY, due_at=0)
    (second,) = desk.sent(desk.lease(), [id])
    desk.receive(DELIVERED)
    assert desk.status(id) == "delivered"
    desk.settle(second, Unknown("ReadTimeout"))
    assert (desk.status(id), desk.outcomes(id)) == ("delivered", ["unknown", "unknown"])
    assert desk.broken() == {}


def test_that_an_earlier_attempt_failed_says_nothing_of_the_newest(desk: Any) -> None:
    id = unclear(desk, status=Status.RETRY, due_at=0)
    desk.receive(FAILED)
    (second,) = desk.sent(desk.lease(), [id])
    desk.settle(second, Accepted("mid-2", "rid"), evidence=Evidence(200, 0, message_id="mid-2"))
    desk.receive(Receipt("mid-2", "sent", 40))
    assert (desk.status(id), desk.row(id)["error"]) == ("accepted", None)


@pytest.mark.parametrize(("receipt", "status"), [(DELIVERED, "delivered"), (FAILED, "retry")])
def test_one_finds_a_message_that_only_a_late_answer_names(desk: Any, receipt: Receipt, status: str) -> None:
    """The rescue had let it wait for its second attempt; such a receipt stayed without a message."""
    (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.lapse(lease)
    desk.rescue()
    desk.settle(opening, Unknown("HTTP 500"), evidence=Evidence(500, 0, message_id="mid-1", bytes_sent=True))
    desk.receive(receipt)
    assert desk.status(id) == status
    assert [row["message_pk"] for row in desk.read(desk.receipts_of, id)] == [id]
    assert desk.broken() == {}


def test_that_an_earlier_attempt_failed_makes_no_doubt_of_the_newest_an_acceptance(desk: Any) -> None:
    """A receipt finds an earlier attempt by its RequestId."""
    id = unclear(desk, "rid-1", status=Status.RETRY, due_at=0)
    (second,) = desk.sent(desk.lease(), [id])
    desk.settle(second, Unknown("HTTP 500"), evidence=Evidence(500, 0, message_id="mid-2"))
    desk.receive(replace(FAILED, aliases=("rid-1",)))
    assert desk.status(id) == "unknown"
    desk.receive(Receipt("mid-2", "failed", 50, "131026", "not on WhatsApp"))
    assert desk.status(id) == "failed"
    assert desk.broken() == {}


@pytest.mark.parametrize("receipt", [SENT, DELIVERED, READ, FAILED], ids=lambda receipt: receipt.status)
@pytest.mark.parametrize("late", [False, True], ids=["odd answer", "late answer"])
def test_one_finds_an_earlier_attempt_by_its_message_id_alone(
    desk: Any, receipt: Receipt, late: bool
) -> None:
    """Of two POSTs of one message a receipt says what became of the first, whose answer was odd or came last."""
    if late:
        (id,) = desk.queued(on_unknown=OnUnknown.RESEND)
        lease = desk.lease()
        (first,) = desk.sent(lease, [id])
        desk.lapse(lease)
        desk.rescue(resend_wait_ms=0)
    else:
        id = unclear(desk, status=Status.RETRY, due_at=0)
    (second,) = desk.sent(desk.lease("host:2"), [id])
    desk.settle(second, Accepted("mid-2", "rid-2"), evidence=Evidence(200, 0, message_id="mid-2"))
    if late:
        desk.settle(first, Accepted("mid-1", "rid-1"), evidence=Evidence(200, 0, message_id="mid-1"))
    desk.receive(receipt)
    assert desk.write(receipts.Orphans().match).matched == 0, "it is none"
    assert desk.status(id) == (receipt.status if receipt in (DELIVERED, READ) else "accepted")
    desk.receive(Receipt("mid-2", "failed", 60, "131026", "not on WhatsApp"))
    # That the vendor took the first one does not make its odd answer a clear one.
    told = {"sent": "accepted" if late else "unknown"}
    assert desk.status(id) == told.get(receipt.status, receipt.status)
    assert desk.broken() == {}


def test_the_word_sent_does_not_raise_what_was_refused(desk: Any) -> None:
    id = accepted(desk)
    desk.receive(FAILED)
    desk.receive(SENT)
    assert desk.status(id) == "failed"


@pytest.mark.parametrize("receipt", [SENT, DELIVERED, READ, FAILED])
def test_a_code_is_wiped_by_whatever_settles_it(desk: Any, receipt: Receipt) -> None:
    (id,) = desk.queued(Kind.OTP)
    desk.accepted([id])
    desk.sql("UPDATE messages SET payload = :left, status = 'unknown', message_id = 'mid-1'", left=b"\x00{}")
    desk.receive(receipt)
    assert desk.payload(id) is None


def test_what_a_stranger_posts_is_cut_and_cleaned_and_never_an_error(desk: Any) -> None:
    id = accepted(desk)
    nasty = Receipt("mid-1", "failed", 1, "c\x00" * 400, "w\ud83d" * 900)
    assert desk.receive(nasty, Receipt("\x00" * 900, "read", 2)) == 2
    (kept,) = desk.read(desk.receipts_of, id)
    assert (len(kept["code"]), len(kept["why"])) == (20, 500)


def test_many_at_once_reach_each_their_own(desk: Any) -> None:
    ids = desk.queued(n=50)
    message_ids = desk.accepted(ids)
    assert desk.receive(*[Receipt(m, "delivered", 5) for m in message_ids]) == 50
    assert {desk.status(id) for id in ids} == {"delivered"}


def test_many_at_once_take_no_more_statements_than_one(desk: Any) -> None:
    """A campaign's receipts come as fast as it is sent, two of each message."""
    asked: list[str] = []

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    message_ids = desk.accepted(desk.queued(n=30))
    numbers = []
    for part in (message_ids[:1], message_ids[1:]):
        asked.clear()
        event.listen(desk.database.engine, "before_cursor_execute", note)
        desk.receive(*[Receipt(m, "read", 5) for m in part])
        event.remove(desk.database.engine, "before_cursor_execute", note)
        numbers.append(len(asked))
    assert numbers[0] == numbers[1] > 3


def test_none_at_all_is_no_error(desk: Any) -> None:
    assert desk.receive() == 0


# -- every order of receipt, answer, rescue and person ends in the truth ----------------------------------------

RAISED = [(SENT, "accepted"), (DELIVERED, "delivered"), (READ, "read"), (FAILED, "failed")]


def by_hand(desk: Any, id: str, as_: str) -> None:
    desk.write(messages.resolve, id, as_=as_, actor="ada", why="because")


@pytest.mark.parametrize(("receipt", "status"), RAISED)
@pytest.mark.parametrize("rescued_first", [True, False])
def test_one_that_overtakes_an_answer_which_a_rescue_overtook_as_well(
    desk: Any, receipt: Receipt, status: str, rescued_first: bool
) -> None:
    (id,) = desk.queued()
    lease = desk.lease()
    (opening,) = desk.sent(lease, [id])
    desk.lapse(lease)
    for step in (desk.rescue, lambda: desk.receive(receipt))[:: 1 if rescued_first else -1]:
        step()
    desk.write(receipts.Orphans().match)
    assert desk.status(id) == "unknown"  # nobody knows yet whose that MessageId is
    desk.settle(opening, Accepted("mid-1", "rid"), evidence=Evidence(200, 0, message_id="mid-1"))
    desk.write(receipts.Orphans().match)
    assert desk.status(id) == status
    assert desk.broken() == {}


@pytest.mark.parametrize(("receipt", "status"), RAISED)
def test_one_outweighs_a_person_who_took_it_for_failed(desk: Any, receipt: Receipt, status: str) -> None:
    id = unclear(desk)
    by_hand(desk, id, "failed")
    desk.receive(receipt)
    assert desk.status(id) == status
    assert desk.broken() == {}


@pytest.mark.parametrize(("receipt", "status"), RAISED)
def test_one_confirms_or_outweighs_a_person_who_took_it_for_accepted(
    desk: Any, receipt: Receipt, status: str
) -> None:
    id = unclear(desk)
    by_hand(desk, id, "accepted")
    desk.receive(receipt)
    assert desk.status(id) == status
    assert desk.broken() == {}


@pytest.mark.parametrize("receipt", [SENT, DELIVERED, READ])
@pytest.mark.parametrize("held", [True, False], ids=["in a worker's hands", "waiting"])
def test_one_spares_the_send_that_a_person_asked_for(desk: Any, receipt: Receipt, held: bool) -> None:
    id = unclear(desk)
    by_hand(desk, id, "resend")
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [id])) if held else []
    desk.receive(receipt)
    assert desk.open(lease, openings).attempts == frozenset()
    assert desk.claim(lease, [id]) == []
    assert desk.status(id) == ("accepted" if receipt is SENT else receipt.status)
    assert desk.broken() == {}


def test_a_failure_leaves_the_send_that_a_person_asked_for_to_come(desk: Any) -> None:
    id = unclear(desk)
    by_hand(desk, id, "resend")
    desk.receive(FAILED)
    assert desk.status(id) == "queued"
    desk.accepted([id])
    assert desk.status(id) == "accepted"
    assert desk.broken() == {}


def test_the_word_sent_raises_what_only_its_second_attempt_failed(desk: Any) -> None:
    id = unclear(desk, status=Status.RETRY, due_at=0)
    (second,) = desk.sent(desk.lease(), [id])
    desk.settle(second, Refused("17009", "no such template"))
    assert desk.status(id) == "unknown"
    desk.receive(SENT)
    assert desk.status(id) == "accepted"
    assert desk.broken() == {}
