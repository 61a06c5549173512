"""Messages in flight: what is kept from workers."""

from __future__ import annotations

import pytest

from bulksend.ledger import in_flight
from bulksend.ledger.ids import new_id
from tests.integration.ledger.conftest import Desk


def test_a_claimed_message_is_kept_from_its_worker_and_one_that_is_sent_is_not(desk: Desk) -> None:
    claimed, sending, queued = desk.queued(n=3)
    lease = desk.lease()
    openings = desk.openings(desk.claim(lease, [claimed]))
    desk.sent(lease, [sending])
    assert desk.write(in_flight.keep_from_workers, [claimed, queued])
    assert desk.open(lease, openings).attempts == frozenset()
    assert desk.claim(lease, [claimed, queued]) == []
    desk.write(in_flight.take_claims, [claimed, queued])
    assert not desk.write(in_flight.keep_from_workers, [queued, sending])
    assert desk.status(sending) == "sending"


@pytest.mark.parametrize("many", [0, 40_000])
def test_any_number_of_messages_is_kept_from_workers(desk: Desk, many: int) -> None:
    assert desk.write(in_flight.keep_from_workers, [new_id() for _ in range(many)])
