"""The in-flight table counts every message from its claim to its removal."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Of
from hypothesis.stateful import RuleBasedStateMachine, consumes, initialize, invariant, rule

from bulksend.ledger.claim import Claimed
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opening
from bulksend.messaging import Kind
from bulksend.messaging.outcome import Evidence, Unknown
from bulksend.messaging.states import Status
from worker.delivery.in_flight import InFlightMessage, InFlightTable, Stage

NOW = 1000.0


def a_message(id: str, kind: Kind = Kind.MARKETING) -> InFlightMessage:
    message = Claimed(id, "c", kind, "447700900000", "447700900123", "text", b"", 0, None, 0, 0, 0, 0, None)
    return InFlightMessage(Opening(message, f"a-{id}"), "lease", None, lambda message, answer: None)


def a_table(capacity: int = 10, max_per_lane: int = 8, claim_size: int = 4) -> InFlightTable:
    return InFlightTable(capacity=capacity, max_per_lane=max_per_lane, claim_size=claim_size)


class InFlight(RuleBasedStateMachine):
    """Messages are added, permitted and removed in any order."""

    waiting: Of[InFlightMessage] = Of("waiting")
    permitted: Of[InFlightMessage] = Of("permitted")

    @initialize()
    def begin(self) -> None:
        self.table = a_table()
        self.number = 0
        self.here: dict[str, InFlightMessage] = {}

    @rule(target=waiting, kind=st.sampled_from(list(Kind)))
    def add(self, kind: Kind) -> InFlightMessage:
        self.number += 1
        message = a_message(str(self.number), kind)
        self.table.add(message)
        self.here[message.claimed.id] = message
        return message

    @rule(target=permitted, message=consumes(waiting))
    def permit(self, message: InFlightMessage) -> InFlightMessage:
        if message.stage is not Stage.REMOVED:
            self.table.count_permit(message)
        return message

    @rule(message=st.one_of(waiting, permitted))
    def remove(self, message: InFlightMessage) -> None:
        self.table.remove(message)
        self.here.pop(message.claimed.id, None)

    @invariant()
    def it_lists_what_was_added_and_not_removed(self) -> None:
        assert self.table.ids() == set(self.here)
        assert self.table.empty.is_set() == (not self.here)

    @invariant()
    def a_permit_takes_capacity_until_its_message_is_removed(self) -> None:
        permits = [d.claimed.kind for d in self.here.values() if d.has_permit]
        bulk = sum(kind is not Kind.OTP for kind in permits)
        assert self.table.expected_capacity(Kind.OTP, NOW, 0.0) == max(
            10 - len(permits), 1 - (len(permits) - bulk)
        )
        assert self.table.expected_capacity(Kind.MARKETING, NOW, 0.0) == min(10 - len(permits), 9 - bulk)

    @invariant()
    def a_lane_never_holds_more_than_its_bound(self) -> None:
        for lane in Kind:
            held = sum(d.claimed.kind is lane for d in self.here.values())
            assert 0 <= self.table.claimable(lane) <= max(0, 8 - held)


TestInFlight = InFlight.TestCase


def test_a_full_lane_is_claimed_for_again_only_when_a_batch_fits() -> None:
    table = a_table(max_per_lane=8, claim_size=4)
    blast = [a_message(str(n)) for n in range(8)]
    for message in blast:
        table.add(message)
    assert table.claimable(Kind.MARKETING) == 0
    table.remove(blast[0])
    assert table.claimable(Kind.MARKETING) == 0
    table.remove(blast[1])
    assert table.claimable(Kind.MARKETING) == 2


def test_an_otp_is_claimed_as_soon_as_one_fits() -> None:
    table = a_table(max_per_lane=8, claim_size=4)
    codes = [a_message(str(n), Kind.OTP) for n in range(7)]
    for message in codes:
        table.add(message)
    assert table.claimable(Kind.OTP) == 1


def test_a_message_removed_twice_counts_once() -> None:
    table = a_table()
    one, other = a_message("1"), a_message("2")
    for message in (one, other):
        table.add(message)
        table.count_permit(message)
    table.remove(one)
    table.remove(one)
    assert table.expected_capacity(Kind.OTP, NOW, 0.0) == 9


def test_the_rate_of_answers_makes_capacity_ahead() -> None:
    table = a_table(capacity=100)
    for n in range(100):
        message = a_message(str(n))
        table.add(message)
        table.count_permit(message)
    assert table.expected_capacity(Kind.MARKETING, NOW, 0.05) <= 0
    # 400 answers a second: twenty POSTs will have been answered in fifty milliseconds.
    for n in range(1000):
        table.answer_rate.note(NOW - 2.5 + n / 400)
    assert table.expected_capacity(Kind.MARKETING, NOW, 0.05) == pytest.approx(10, abs=2)
    assert table.expected_capacity(Kind.OTP, NOW, 0.05) == pytest.approx(20, abs=2)


def test_a_tenth_of_the_capacity_is_reserved_for_otp() -> None:
    table = a_table(capacity=10)
    for n in range(40):
        message = a_message(str(n))
        table.add(message)
        table.count_permit(message)
    assert table.expected_capacity(Kind.MARKETING, NOW, 0.0) < 0
    assert table.expected_capacity(Kind.OTP, NOW, 0.0) == 1
    for _ in range(9):
        assert table.has_capacity(Kind.MARKETING)
        table.post_started(Kind.MARKETING)
    assert not table.has_capacity(Kind.MARKETING)
    assert table.has_capacity(Kind.OTP)


def test_a_post_takes_capacity_from_its_start_to_its_end() -> None:
    table = a_table(capacity=1)
    table.post_started(Kind.OTP)
    assert not table.has_capacity(Kind.OTP)
    table.post_ended(Kind.OTP)
    assert table.has_capacity(Kind.OTP)


def test_what_missed_its_slice_takes_no_capacity_until_it_has_another() -> None:
    table = a_table(capacity=10)
    codes = [a_message(str(n), Kind.OTP) for n in range(10)]
    for message in codes:
        table.add(message)
        table.count_permit(message)
    assert table.expected_capacity(Kind.OTP, NOW, 0.0) == 0
    for message in codes[:3]:
        table.lose_permit(message)
        table.lose_permit(message)
    assert table.expected_capacity(Kind.OTP, NOW, 0.0) == 3
    table.remove(codes[0])
    assert table.expected_capacity(Kind.OTP, NOW, 0.0) == 3


def test_unsettled_answers_beyond_half_of_the_capacity_take_capacity() -> None:
    """Beside 100 POSTs 94 answers waited for a ledger that stood still: all were unknown after a kill."""
    table = a_table(capacity=10)
    began = 0
    while table.has_capacity(Kind.OTP):
        table.post_started(Kind.OTP)
        table.post_ended(Kind.OTP)
        table.unsettled[str(began)] = Settlement(
            "m", str(began), Unknown("?"), Evidence(), None, Status.UNKNOWN, None, 1, 0, ""
        )
        began += 1
    assert began == 15
    del table.unsettled["0"]
    assert table.has_capacity(Kind.OTP)
