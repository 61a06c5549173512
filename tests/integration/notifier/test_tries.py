"""A delivery keeps the results of its newest tries, in the order in which they ended, as long as it is kept itself."""

from __future__ import annotations

from typing import Any

import pytest

from bulksend.ledger import webhook_deliveries
from bulksend.ledger.webhook_deliveries import DEAD, DELIVERED, PENDING, TRIES_KEPT, Claimed, Tried
from bulksend.operations import webhooks
from tests.integration.notifier.conftest import PostOffice
from tests.receiver import receiving

LEASE_MS = 60_000


class Trials:
    """One endpoint with one delivery, tried without a network."""

    def __init__(self, post_office: PostOffice) -> None:
        self.database = post_office.database
        self.endpoint: str = post_office.add("http://127.0.0.1:9/in?token=secret")["id"]
        self.id: str = webhooks.test(self.database, self.endpoint, actor="ada")["id"]

    def claim(self) -> Claimed:
        with self.database.write() as tx:
            (claimed,) = webhook_deliveries.claim(tx, self.endpoint, limit=1, lease_ms=LEASE_MS)
        return claimed

    def settle(self, claimed: Claimed, status: str, http_status: int | None, error: str | None) -> None:
        with self.database.write() as tx:
            webhooks.record_results(tx, [Tried(claimed, status, 0, http_status, error, 12.5)])

    def fail(self, http_status: int | None = 500, error: str | None = None, status: str = PENDING) -> None:
        self.settle(self.claim(), status, http_status, error)

    def shown(self) -> dict[str, Any]:
        with self.database.read() as tx:
            return webhooks.delivery(tx, self.id)

    def answers(self) -> list[tuple[int | None, str | None]]:
        return [(each["http_status"], each["error"]) for each in self.shown()["tries"]]


@pytest.fixture
def trials(post_office: PostOffice) -> Trials:
    return Trials(post_office)


def test_each_try_is_told_with_its_end_its_answer_and_how_long_it_took(trials: Trials) -> None:
    assert trials.shown()["tries"] == []
    trials.fail(500)
    trials.fail(None, "no answer within 15 s")
    trials.settle(trials.claim(), DELIVERED, 204, None)
    shown = trials.shown()
    assert trials.answers() == [(500, None), (None, "no answer within 15 s"), (204, None)]
    assert [set(each) for each in shown["tries"]] == [{"tried_at", "http_status", "error", "latency_ms"}] * 3
    assert {each["latency_ms"] for each in shown["tries"]} == {12.5}
    ends = [each["tried_at"] for each in shown["tries"]]
    assert ends == sorted(ends)
    assert ends[-1] == shown["tried_at"]
    with trials.database.read() as tx:
        (listed,) = webhooks.deliveries(tx, trials.endpoint).items
    assert listed == shown


def test_a_delivery_that_succeeds_at_once_keeps_nothing_beside_its_result(trials: Trials) -> None:
    trials.settle(trials.claim(), DELIVERED, 200, None)
    assert trials.answers() == [(200, None)]
    with trials.database.read() as tx:
        row = webhook_deliveries.get(tx, trials.id)
    assert row is not None
    assert row["earlier_tries"] is None


def test_a_replay_goes_on_with_the_tries_of_before(trials: Trials) -> None:
    trials.fail(500, status=DEAD)
    assert webhooks.replay(trials.database, trials.id, actor="ada") == 1
    assert trials.answers() == [(500, None)]
    trials.settle(trials.claim(), DELIVERED, 200, None)
    assert (trials.answers(), trials.shown()["attempts"]) == ([(500, None), (200, None)], 1)


def test_only_the_newest_tries_are_kept(trials: Trials) -> None:
    for n in range(TRIES_KEPT + 3):
        trials.fail(500 + n)
    assert [status for status, _ in trials.answers()] == [503 + n for n in range(TRIES_KEPT)]


def test_a_late_result_adds_no_try(trials: Trials) -> None:
    trials.fail(500)
    late = trials.claim()
    with trials.database.write() as tx:
        tx.exec_driver_sql("UPDATE webhook_deliveries SET next_at = 0")
    again = trials.claim()
    trials.settle(again, DELIVERED, 200, None)
    trials.settle(late, PENDING, 502, None)
    assert trials.answers() == [(500, None), (200, None)]


def test_what_was_claimed_and_given_back_is_no_try(trials: Trials) -> None:
    trials.fail(500)
    with trials.database.write() as tx:
        tx.exec_driver_sql("UPDATE webhook_deliveries SET next_at = 0")
        claimed = webhook_deliveries.claim(tx, trials.endpoint, limit=1, lease_ms=LEASE_MS)
        webhook_deliveries.release(tx, claimed)
    trials.settle(trials.claim(), DELIVERED, 200, None)
    assert trials.answers() == [(500, None), (200, None)]


def test_a_notifier_keeps_the_tries_of_a_delivery_that_fails_at_first(post_office: PostOffice) -> None:
    answers = iter([500, 429, 204])
    with receiving(lambda *_: next(answers)) as receiver:
        made = post_office.add(receiver.url + "?token=secret")
        with post_office.notifying():
            post_office.happen()
            for tried in (1, 2):
                post_office.until_tried(made["id"], tried)
                with post_office.database.write() as tx:
                    tx.exec_driver_sql("UPDATE webhook_deliveries SET next_at = 0")
            (done,) = post_office.until(made["id"], "delivered", 1)
    assert [each["http_status"] for each in done["tries"]] == [500, 429, 204]
    assert "secret" not in str(done["tries"])
