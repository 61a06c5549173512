"""The table of moves: which states a message may go through, and in which it may rest."""

from __future__ import annotations

import pytest

from bulksend.messaging.states import ENDED, HELD, MOVES, SENT, UNSENT, WAITING, Status, may_move

S = Status
NEVER_POSTED = (S.EXPIRED, S.SUPPRESSED, S.CANCELLED, S.SUPERSEDED)


def reachable(start: Status) -> set[Status]:
    found = {start}
    ahead = [start]
    while ahead:
        new = set(MOVES[ahead.pop()]) - found
        found |= new
        ahead += new
    return found


def test_every_state_has_its_row_and_none_moves_to_itself() -> None:
    assert set(MOVES) == set(Status) - HELD
    assert not [status for status in MOVES if may_move(status, status)]


def test_every_state_is_reached_from_intake_and_each_that_waits_reaches_every_ending() -> None:
    assert reachable(S.QUEUED) == set(MOVES)
    for status in WAITING:
        assert reachable(status) >= ENDED, status


def test_a_message_in_flight_waits_by_its_own_row() -> None:
    assert set(Status) - set(MOVES) == HELD


def test_an_accepted_message_is_moved_only_by_receipts_and_never_sent_again() -> None:
    for status in SENT:
        assert not MOVES[status] & (WAITING | HELD)
        for doubt in (S.FAILED, S.UNKNOWN):
            assert (doubt in MOVES[status]) is (status is S.ACCEPTED)
    assert MOVES[S.READ] == frozenset()
    assert may_move(S.DELIVERED, S.READ)
    assert not may_move(S.READ, S.DELIVERED)


@pytest.mark.parametrize("status", NEVER_POSTED)
def test_a_message_that_ended_without_a_post_is_moved_only_by_evidence_of_an_attempt(status: Status) -> None:
    assert MOVES[status] == SENT | {S.UNKNOWN, S.FAILED}


@pytest.mark.parametrize("status", sorted({*WAITING, S.UNKNOWN, *UNSENT}))
def test_every_status_in_which_a_message_may_have_gone_out_can_become_accepted(
    status: Status,
) -> None:
    assert MOVES[status] >= SENT


@pytest.mark.parametrize("status", sorted(WAITING))
def test_doubt_is_never_lost_where_a_second_attempt_is_not_made(status: Status) -> None:
    assert may_move(status, S.UNKNOWN)


def test_a_failed_or_unknown_message_waits_in_the_queue_before_it_is_sent_again() -> None:
    for status in (S.FAILED, S.UNKNOWN):
        assert not MOVES[status] & HELD
