"""The ledger as a worker uses it: the fake of the unit tests and the real store keep the same rules."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.release import Release
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opening
from bulksend.messaging import Accepted, Evidence, NotSent, Status
from tests.unit.worker.fakes import MemoryStore, a_message
from worker.session.campaign_cache import CampaignCache
from worker.session.store import Store


class Contract:
    """Each rule gets a store and the ids of two messages that are queued."""

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError

    @pytest.fixture
    def ids(self) -> list[str]:
        raise NotImplementedError

    def test_a_message_is_claimed_by_one_lease(self, store: Store, ids: list[str]) -> None:
        mine, other = store.take_lease(60_000)[0], store.take_lease(60_000)[0]
        assert {message.id for message in store.claim(ids, mine)} == set(ids)
        assert store.claim(ids, other) == []
        # A claim may be repeated when its answer was lost.
        assert {message.id for message in store.claim(ids, mine)} == set(ids)
        assert store.claimed_under(mine) == set(ids)

    def test_the_end_of_a_lease_gives_back_what_it_claimed_and_lets_it_claim_no_more(
        self, store: Store, ids: list[str]
    ) -> None:
        lease, other = store.take_lease(60_000)[0], store.take_lease(60_000)[0]
        assert store.renew(lease, 60_000) is not None
        store.claim(ids[:1], lease)
        assert store.end_lease(lease, 0).given_back == ids[:1]
        assert store.renew(lease, 60_000) is None
        assert store.claim(ids, lease) == []
        assert {message.id for message in store.claim(ids, other)} == set(ids)

    def test_only_the_lease_that_claimed_a_message_opens_its_attempt(
        self, store: Store, ids: list[str]
    ) -> None:
        mine, other = store.take_lease(60_000)[0], store.take_lease(60_000)[0]
        openings = [Opening(message, new_id()) for message in store.claim(ids, mine)]
        assert store.open(openings, other) == frozenset()
        attempts = frozenset(opening.attempt_id for opening in openings)
        assert store.open(openings, mine) == attempts
        # A write-ahead may be repeated when its answer was lost; a second attempt is not opened.
        assert store.open(openings, mine) == attempts
        assert store.open([Opening(openings[0].message, new_id())], mine) == frozenset()
        assert store.claimed_under(mine) == set()

    def test_a_message_that_is_given_back_can_be_claimed_again(self, store: Store, ids: list[str]) -> None:
        mine, other = store.take_lease(60_000)[0], store.take_lease(60_000)[0]
        store.claim(ids, mine)
        store.give_back([Release(ids[0], 0, None, None)], other)
        assert store.claim(ids, other) == []
        store.give_back([Release(ids[0], 0, None, None)], mine)
        assert store.claimed_under(mine) == {ids[1]}

    def test_a_message_whose_attempt_is_open_is_neither_claimed_nor_given_back(
        self, store: Store, ids: list[str]
    ) -> None:
        mine, other = store.take_lease(60_000)[0], store.take_lease(60_000)[0]
        openings = [Opening(message, new_id()) for message in store.claim(ids, mine)]
        attempts = store.open(openings, mine)
        assert store.claim(ids, mine) == store.claim(ids, other) == []
        store.give_back([Release(id, 0, None, None) for id in ids], mine)
        assert store.claim(ids, other) == []
        assert store.open(openings, mine) == attempts

    def test_a_settlement_that_is_repeated_does_not_touch_a_later_claim(
        self, store: Store, ids: list[str]
    ) -> None:
        mine, other = store.take_lease(60_000)[0], store.take_lease(60_000)[0]
        openings = [Opening(message, new_id()) for message in store.claim(ids, mine)]
        store.open(openings, mine)
        retried = [accepted(each)._replace(outcome=NotSent("away"), status=Status.RETRY) for each in openings]
        store.settle(retried)
        again = [Opening(message, new_id()) for message in store.claim(ids, other)]
        store.settle(retried)
        assert store.claimed_under(other) == set(ids)
        assert store.open(openings, mine) == frozenset()
        assert store.open(again, other) == {opening.attempt_id for opening in again}
        store.settle(retried)
        store.settle([accepted(opening) for opening in again])
        assert store.claim(ids, other) == []

    def test_a_settled_message_is_neither_claimed_nor_opened_again(
        self, store: Store, ids: list[str]
    ) -> None:
        lease, _ = store.take_lease(60_000)
        openings = [Opening(message, new_id()) for message in store.claim(ids, lease)]
        store.open(openings, lease)
        store.settle([accepted(openings[0])])
        assert store.claim(ids, lease) == []
        assert store.open(openings, lease) == {openings[1].attempt_id}


def accepted(opening: Opening) -> Settlement:
    outcome = Accepted(f"m-{opening.attempt_id}", "r-1")
    return Settlement(
        opening.message.id, opening.attempt_id, outcome, Evidence(), 1.0, Status.ACCEPTED, None, 0, 0, ""
    )


class TestMemoryStore(Contract):
    @pytest.fixture
    def ids(self) -> list[str]:
        return [new_id(), new_id()]

    @pytest.fixture
    def store(self, ids: list[str]) -> Store:
        return MemoryStore(map(a_message, ids))


class TestStore(Contract):
    @pytest.fixture
    def ids(self, desk: Any) -> list[str]:
        found: list[str] = desk.queued(n=2)
        return found

    @pytest.fixture
    def store(self, desk: Any) -> Store:
        cache = CampaignCache(Cipher([bytes(32)]), default_rate=80.0)
        return Store(desk.database, cache, name="test:1", account="default")
