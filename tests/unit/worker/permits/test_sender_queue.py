"""The requests of one sender and lane wait in one queue, in which its campaigns take turns."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bulksend.limits import Ask, SenderLimits
from bulksend.messaging import Kind
from worker.permits.sender_queue import PermitRequest, SenderQueue


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Campaigns:
    """Fills a queue with requests named by campaign and number."""

    def __init__(self, loop: asyncio.AbstractEventLoop, queue: SenderQueue, rate: float = 100.0) -> None:
        self._loop, self.queue, self._rate = loop, queue, rate

    def add(self, campaign: str, count: int, *, campaign_rate: float | None = None) -> list[PermitRequest]:
        waiting = [
            PermitRequest(
                Ask(
                    kind=Kind.MARKETING,
                    sender="447700900000",
                    campaign_id=campaign,
                    recipient=f"{campaign}{place}",
                    sender_limits=SenderLimits(self._rate, None),
                    campaign_rate=campaign_rate,
                ),
                self._loop.create_future(),
            )
            for place in range(count)
        ]
        for one in waiting:
            self.queue.add(one)
        return waiting


@pytest.fixture
def campaigns(loop: asyncio.AbstractEventLoop) -> Campaigns:
    return Campaigns(loop, SenderQueue(0.1))


def names(taken: list[PermitRequest]) -> list[str]:
    return [one.ask.recipient for one in taken]


def test_a_queue_asks_for_its_senders_rate_once_for_any_number_of_campaigns(campaigns: Campaigns) -> None:
    for campaign in "abcde":
        campaigns.add(campaign, 50)
    # 100 messages/s for 0.1 s, and two more.
    assert len(campaigns.queue.take(250, 0.0)) == 12


def test_campaigns_take_turns_message_by_message(campaigns: Campaigns) -> None:
    campaigns.add("a", 3)
    campaigns.add("b", 1)
    campaigns.add("c", 3)
    assert names(campaigns.queue.take(250, 0.0)) == ["a0", "b0", "c0", "a1", "c1", "a2", "c2"]


def test_a_campaign_that_got_a_permit_comes_after_the_others(campaigns: Campaigns) -> None:
    for campaign in "abc":
        campaigns.add(campaign, 5)
    taken = campaigns.queue.take(3, 0.0)
    campaigns.queue.count_permit("a")
    for one in reversed(taken[1:]):
        campaigns.queue.put_back(one)
    assert names(campaigns.queue.take(3, 0.0)) == ["b0", "c0", "a1"]


def test_a_request_that_is_put_back_is_the_next_of_its_campaign(campaigns: Campaigns) -> None:
    campaigns.add("a", 4)
    for one in reversed(campaigns.queue.take(3, 0.0)):
        campaigns.queue.put_back(one)
    assert names(campaigns.queue.take(250, 0.0)) == ["a0", "a1", "a2", "a3"]


def test_a_request_that_is_moved_to_the_front_is_the_next_of_its_campaign(campaigns: Campaigns) -> None:
    requests = campaigns.add("a", 4)
    campaigns.queue.move_to_front("a", requests[2].future)
    campaigns.queue.take(1, 0.0)
    campaigns.queue.move_to_front("a", requests[2].future)  # it has gone
    campaigns.queue.move_to_front("b", requests[3].future)  # not of that campaign
    assert names(campaigns.queue.take(250, 0.0)) == ["a0", "a1", "a3"]


def test_a_slow_campaign_asks_for_its_own_rate_only_and_leaves_the_rest_to_the_others(
    campaigns: Campaigns,
) -> None:
    campaigns.add("slow", 50, campaign_rate=1.0)
    campaigns.add("fast", 50)
    taken = names(campaigns.queue.take(250, 0.0))
    assert len(taken) == 12
    assert sum(name.startswith("slow") for name in taken) == 2


def test_a_deferred_campaign_does_not_defer_its_queue(campaigns: Campaigns) -> None:
    campaigns.add("a", 2)
    campaigns.add("b", 2)
    campaigns.queue.defer_campaign("a", 5.0)
    assert names(campaigns.queue.take(250, 4.9)) == ["b0", "b1"]
    assert campaigns.queue.next_at() == 5.0
    assert names(campaigns.queue.take(250, 5.0)) == ["a0", "a1"]


def test_a_deferred_queue_gives_nothing_before_its_time_and_says_when(campaigns: Campaigns) -> None:
    campaigns.add("a", 1)
    campaigns.queue.defer(2.0)
    assert campaigns.queue.take(250, 1.9) == []
    assert campaigns.queue.next_at() == 2.0
    assert names(campaigns.queue.take(250, 2.0)) == ["a0"]


def test_a_cancelled_request_is_not_taken(campaigns: Campaigns) -> None:
    waiting = campaigns.add("a", 4)
    waiting[0].future.cancel()
    waiting[2].future.cancel()
    assert names(campaigns.queue.take(250, 0.0)) == ["a1", "a3"]
    assert not campaigns.queue


def test_a_queue_of_cancelled_requests_is_empty(campaigns: Campaigns) -> None:
    for one in campaigns.add("a", 3):
        one.future.cancel()
    assert campaigns.queue.take(250, 0.0) == []
    assert not campaigns.queue


def test_waiting_requests_ask_by_a_new_rate_of_their_campaign_at_once(campaigns: Campaigns) -> None:
    campaigns.add("a", 50, campaign_rate=1.0)
    campaigns.add("b", 5, campaign_rate=1.0)
    # At one a second the limiter says to wait.
    campaigns.queue.defer_campaign("a", 60.0)
    campaigns.queue.defer_campaign("b", 60.0)
    assert campaigns.queue.take(100, 0.0) == []
    campaigns.queue.set_rate("a", 50.0)
    taken = campaigns.queue.take(100, 0.0)
    assert {one.ask.campaign_rate for one in taken} == {50.0}
    assert len(taken) == 7
    campaigns.queue.set_rate("c", 1.0)


def grants(queue: SenderQueue, count: int, *, at_once: int = 1) -> dict[str, int]:
    """How many of ``count`` permits each campaign gets, if the limiter gives ``at_once`` a call of more requests."""
    got: dict[str, int] = {}
    while sum(got.values()) < count:
        taken = queue.take(12, 0.0)
        for one in taken[:at_once]:
            id = one.ask.campaign_id
            got[id] = got.get(id, 0) + 1
            queue.count_permit(id)
        for one in reversed(taken[at_once:]):
            queue.put_back(one)
    return got


@pytest.mark.parametrize("at_once", [1, 5, 12])
def test_campaigns_get_permits_in_the_proportion_of_their_weights(
    loop: asyncio.AbstractEventLoop, at_once: int
) -> None:
    weights = {"a": 3, "b": 1, "c": 1}
    campaigns = Campaigns(loop, SenderQueue(0.1, weights.__getitem__))
    for campaign in weights:
        campaigns.add(campaign, 400)
    got = grants(campaigns.queue, 300, at_once=at_once)
    assert got["a"] == pytest.approx(180, abs=3)
    assert got["b"] == pytest.approx(60, abs=3)


def test_a_campaign_that_comes_later_does_not_make_up_for_the_time_before(
    loop: asyncio.AbstractEventLoop,
) -> None:
    campaigns = Campaigns(loop, SenderQueue(0.1))
    campaigns.add("old", 400)
    grants(campaigns.queue, 100)
    campaigns.add("new", 400)
    got = grants(campaigns.queue, 100)
    assert got["new"] == pytest.approx(50, abs=1)


def test_a_new_weight_takes_hold_of_what_waits(loop: asyncio.AbstractEventLoop) -> None:
    weights = {"a": 1, "b": 1}
    campaigns = Campaigns(loop, SenderQueue(0.1, weights.__getitem__))
    for campaign in weights:
        campaigns.add(campaign, 400)
    assert grants(campaigns.queue, 100)["a"] == pytest.approx(50, abs=1)
    weights["a"] = 4
    assert grants(campaigns.queue, 100)["a"] == pytest.approx(80, abs=1)


def test_a_campaign_that_its_own_rate_held_back_does_not_make_up_for_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    campaigns = Campaigns(loop, SenderQueue(0.1))
    campaigns.add("slow", 400)
    campaigns.add("fast", 400)
    campaigns.queue.defer_campaign("slow", 5.0)
    assert grants(campaigns.queue, 100) == {"fast": 100}
    campaigns.queue.set_rate("slow", None)
    assert grants(campaigns.queue, 40)["slow"] == pytest.approx(20, abs=2)
