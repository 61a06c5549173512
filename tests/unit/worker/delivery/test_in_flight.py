"""What is in hand: counted from the claim to the end of our part, whatever happens between."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Of
from hypothesis.stateful import RuleBasedStateMachine, consumes, initialize, invariant, rule

from bulksend.ledger.sending import Claimed, Opening, Settlement
from bulksend.messaging import Kind
from bulksend.messaging.outcome import Evidence, Unknown
from bulksend.messaging.states import Status
from worker.delivery.in_flight import Delivery, InFlightTable, Stage

NOW = 1000.0


def a_delivery(id: str, kind: Kind = Kind.MARKETING) -> Delivery:
    message = Claimed(id, "c", kind, "447700900000", "447700900123", "text", b"", 0, None, 0, 0, 0, 0, None)
    return Delivery(Opening(message, f"a-{id}"), "lease", None, lambda delivery, answer: None)


def hands(in_flight: int = 10, in_hand: int = 8, claim_size: int = 4) -> InFlightTable:
    return InFlightTable(in_flight=in_flight, in_hand=in_hand, claim_size=claim_size)


class InHand(RuleBasedStateMachine):
    """Any order of taking, permitting and letting go."""

    waiting: Of[Delivery] = Of("waiting")
    permitted: Of[Delivery] = Of("permitted")

    @initialize()
    def begin(self) -> None:
        self.hands = hands()
        self.number = 0
        self.here: dict[str, Delivery] = {}

    @rule(target=waiting, kind=st.sampled_from(list(Kind)))
    def take(self, kind: Kind) -> Delivery:
        self.number += 1
        delivery = a_delivery(str(self.number), kind)
        self.hands.take(delivery)
        self.here[delivery.message.id] = delivery
        return delivery

    @rule(target=permitted, delivery=consumes(waiting))
    def permit(self, delivery: Delivery) -> Delivery:
        if delivery.stage is not Stage.OVER:
            self.hands.permitted(delivery)
        return delivery

    @rule(delivery=st.one_of(waiting, permitted))
    def let_go(self, delivery: Delivery) -> None:
        self.hands.let_go(delivery)
        self.here.pop(delivery.message.id, None)

    @invariant()
    def it_knows_what_is_in_hand(self) -> None:
        assert self.hands.ids() == set(self.here)
        assert self.hands.empty.is_set() == (not self.here)

    @invariant()
    def every_permit_takes_a_place_until_it_is_let_go(self) -> None:
        permits = [d.message.kind for d in self.here.values() if d.has_permit]
        bulk = sum(kind is not Kind.OTP for kind in permits)
        assert self.hands.free(Kind.OTP, NOW, 0.0) == max(10 - len(permits), 1 - (len(permits) - bulk))
        assert self.hands.free(Kind.MARKETING, NOW, 0.0) == min(10 - len(permits), 9 - bulk)

    @invariant()
    def no_more_of_a_lane_are_claimed_than_there_is_room_for(self) -> None:
        for lane in Kind:
            held = sum(d.message.kind is lane for d in self.here.values())
            assert 0 <= self.hands.may_claim(lane) <= max(0, 8 - held)


TestInHand = InHand.TestCase


def test_full_hands_take_the_next_handful_and_not_one_for_each_that_leaves() -> None:
    at = hands(in_hand=8, claim_size=4)
    blast = [a_delivery(str(n)) for n in range(8)]
    for delivery in blast:
        at.take(delivery)
    assert at.may_claim(Kind.MARKETING) == 0
    at.let_go(blast[0])
    assert at.may_claim(Kind.MARKETING) == 0
    at.let_go(blast[1])
    assert at.may_claim(Kind.MARKETING) == 2


def test_a_code_is_claimed_wherever_there_is_room_for_one() -> None:
    at = hands(in_hand=8, claim_size=4)
    codes = [a_delivery(str(n), Kind.OTP) for n in range(7)]
    for delivery in codes:
        at.take(delivery)
    assert at.may_claim(Kind.OTP) == 1


def test_who_is_let_go_twice_counts_once() -> None:
    at = hands()
    one, other = a_delivery("1"), a_delivery("2")
    for delivery in (one, other):
        at.take(delivery)
        at.permitted(delivery)
    at.let_go(one)
    at.let_go(one)
    assert at.free(Kind.OTP, NOW, 0.0) == 9


def test_answers_of_late_make_room_ahead_and_answers_behind_hold_none() -> None:
    at = hands(in_flight=100)
    for n in range(100):
        delivery = a_delivery(str(n))
        at.take(delivery)
        at.permitted(delivery)
    assert at.free(Kind.MARKETING, NOW, 0.05) <= 0
    # 400 answers a second: twenty places will be free in fifty milliseconds.
    for n in range(1000):
        at.answers.note(NOW - 2.5 + n / 400)
    assert at.free(Kind.MARKETING, NOW, 0.05) == pytest.approx(10, abs=2)
    assert at.free(Kind.OTP, NOW, 0.05) == pytest.approx(20, abs=2)


def test_a_code_has_a_place_that_no_blast_takes() -> None:
    at = hands(in_flight=10)
    for n in range(40):
        delivery = a_delivery(str(n))
        at.take(delivery)
        at.permitted(delivery)
    assert at.free(Kind.MARKETING, NOW, 0.0) < 0
    assert at.free(Kind.OTP, NOW, 0.0) == 1
    for _ in range(9):
        assert at.has_place(Kind.MARKETING)
        at.begins(Kind.MARKETING)
    assert not at.has_place(Kind.MARKETING)
    assert at.has_place(Kind.OTP)


def test_a_place_is_held_from_first_byte_to_answer_and_whoever_waits_for_one_gets_it() -> None:
    async def main() -> None:
        at = hands(in_flight=1)
        at.begins(Kind.OTP)
        assert not at.has_place(Kind.OTP)
        waiting = asyncio.create_task(at.wait_for_place(Kind.OTP))
        await asyncio.sleep(0)
        assert not waiting.done()
        at.ends(Kind.OTP)
        await asyncio.wait_for(waiting, 30)
        assert at.has_place(Kind.OTP)

    asyncio.run(main())


def test_answers_that_the_ledger_has_not_taken_take_places_past_half_as_many() -> None:
    """Beside 100 POSTs 94 answers waited for a ledger that stood still: all were in doubt after a kill."""

    async def main() -> None:
        at = hands(in_flight=10)
        began = 0
        while at.has_place(Kind.OTP):
            at.begins(Kind.OTP)
            at.ends(Kind.OTP)
            at.unsettled[str(began)] = Settlement(
                "m", str(began), Unknown("?"), Evidence(), None, Status.UNKNOWN, None, 1, 0, ""
            )
            began += 1
        assert began == 15
        waiting = asyncio.create_task(at.wait_for_place(Kind.OTP))
        await asyncio.sleep(0)
        assert not waiting.done()
        at.settled("0")
        await asyncio.wait_for(waiting, 30)

    asyncio.run(main())
