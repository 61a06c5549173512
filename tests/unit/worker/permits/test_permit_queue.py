"""The permit queue asks the limiter for many messages in one call, and for no more than it can get."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from bulksend.limits import (
    Ask,
    Gate,
    Grant,
    Permit,
    Permits,
    Reported,
    SenderLimits,
    Wait,
)
from bulksend.messaging import Kind, Scope
from worker.permits.permit_queue import (
    BATCH_INTERVAL_S,
    IDLE_INTERVAL_S,
    MAX_BATCHES_LATE,
    MAX_CLOCK_CALLS,
    OTP_LEAD_FACTOR,
    PermitQueue,
)
from worker.permits.sender_queue import Blocked, Slice

SENDER = "447700900000"
Answering = Callable[[int, Ask], Permit | Wait]
"""The answer to an ask, by the number of the call."""


class ScriptedPermits:
    """Answers by a rule; records every call, and counts calls without requests. Its clock stands at 1,000 ms.

    The first ``slow`` calls take 20 ms each, as those of a new process do.
    """

    def __init__(self, rule: Answering, *, slow: int = 0) -> None:
        self._rule = rule
        self._slow = slow
        self.calls: list[list[Ask]] = []
        self.leads_ms: list[float] = []
        self.per_slice: list[int | None] = []
        self.empty_calls = 0
        self.called = threading.Event()

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, per_slice: int | None = None) -> Grant:
        self._slow -= 1
        if self._slow >= 0:
            time.sleep(0.020)
        if not asks:
            self.empty_calls += 1
            self.called.set()
            return Grant((), 1000.0)
        self.calls.append(list(asks))
        self.leads_ms.append(lead_ms)
        self.per_slice.append(per_slice)
        return Grant(tuple(self._rule(len(self.calls), ask) for ask in asks), 1000.0)

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> Reported:
        return Reported()

    def pause(self, scope: Scope, id: str) -> None:
        return

    def resume(self, scope: Scope, id: str) -> None:
        return

    def paused(self) -> tuple[tuple[Scope, str], ...]:
        return ()

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        return


def an_ask(
    recipient: str,
    campaign: str = "a",
    kind: Kind = Kind.MARKETING,
    *,
    sender: str = SENDER,
    rate: float = 100.0,
    counted: bool = False,
) -> Ask:
    return Ask(kind, sender, campaign, recipient, SenderLimits(rate, None), None, counted)


def with_queue(
    permits: Permits,
    act: Callable[[PermitQueue], Awaitable[None]],
    capacity: Callable[[Kind], int] = lambda lane: 1_000_000,
    idle_interval_s: float = IDLE_INTERVAL_S,
) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            queue = PermitQueue(
                permits,
                pool,
                lead_ms=lambda lane: 5.0,
                capacity=capacity,
                idle_interval_s=idle_interval_s,
            )
            serving = asyncio.create_task(queue.run())
            try:
                async with asyncio.timeout(20):
                    await act(queue)
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(main())


async def acquire(queue: PermitQueue, ask: Ask) -> Slice | Blocked:
    """What the queue answers to one request."""
    future: asyncio.Future[Slice | Blocked] = asyncio.get_running_loop().create_future()
    queue.submit(ask, future)
    return await future


async def all_of(queue: PermitQueue, asks: Iterable[Ask]) -> list[Slice | Blocked]:
    return list(await asyncio.gather(*(acquire(queue, ask) for ask in asks)))


def test_a_limiter_without_requests_is_called_again_so_that_a_loss_of_its_data_is_noticed() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))

    async def act(queue: PermitQueue) -> None:
        while permits.empty_calls < 5:
            permits.called.clear()
            assert await asyncio.to_thread(permits.called.wait, 20)

    with_queue(permits, act, idle_interval_s=0.0)
    assert permits.calls == []


def test_the_limiter_is_called_before_the_first_request() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))

    async def act(queue: PermitQueue) -> None:
        await asyncio.to_thread(permits.called.wait, 10)

    with_queue(permits, act)
    assert permits.empty_calls >= 1
    assert permits.calls == []


def test_five_campaigns_of_one_sender_share_its_rate_equally() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))
    asks = [an_ask(f"{campaign}{n}", campaign) for campaign in "abcde" for n in range(20)]

    async def act(queue: PermitQueue) -> None:
        await all_of(queue, asks)

    with_queue(permits, act)
    assert [len(call) for call in permits.calls] == [12] * 8 + [4]
    for call in permits.calls:
        of = Counter(ask.campaign_id for ask in call)
        assert max(of.values()) - min(of.values() if len(of) == 5 else [0]) <= 1


def test_a_saturated_sender_is_asked_for_once_an_interval_for_any_number_of_campaigns() -> None:
    permits = ScriptedPermits(
        lambda call, ask: Permit(1000.0) if call % 2 else Wait(Gate.SENDER_RATE, 1000.0)
    )

    async def act(queue: PermitQueue) -> None:
        await all_of(queue, [an_ask(f"{campaign}{n}", campaign) for campaign in "abc" for n in range(8)])

    with_queue(permits, act)
    # 12 granted, 12 told to wait, the same 12 granted: campaigns do not retry on their own.
    assert [len(call) for call in permits.calls] == [12, 12, 12]


def test_a_wait_for_a_pair_rate_is_retried_once_and_does_not_block_other_messages() -> None:
    def rule(call: int, ask: Ask) -> Permit | Wait:
        first = call == 1 and ask.recipient == "pair"
        return Wait(Gate.PAIR_RATE, 1200.0) if first else Permit(1000.0)

    permits = ScriptedPermits(rule)

    async def act(queue: PermitQueue) -> None:
        held = asyncio.create_task(acquire(queue, an_ask("pair")))
        await all_of(queue, [an_ask(f"other{n}") for n in range(30)])
        assert not held.done()
        assert isinstance(await held, Slice)

    with_queue(permits, act)
    assert sum(ask.recipient == "pair" for call in permits.calls for ask in call) == 2


def test_a_gate_that_stays_closed_for_long_blocks_the_message() -> None:
    rules = {
        "outage": Wait(Gate.OUTAGE, 9000.0),
        "pair": Wait(Gate.PAIR_RATE, 9000.0),
        "pause": Wait(Gate.CAMPAIGN_PAUSED, None),
    }
    permits = ScriptedPermits(lambda call, ask: rules[ask.recipient])

    async def act(queue: PermitQueue) -> None:
        assert await all_of(queue, map(an_ask, rules)) == [
            Blocked(Gate.OUTAGE, 9000),
            Blocked(Gate.PAIR_RATE, 9000),
            Blocked(Gate.CAMPAIGN_PAUSED, None),
        ]

    with_queue(permits, act)


def test_a_paused_campaign_blocks_all_its_messages_at_once_and_no_others() -> None:
    """Not a few with each call: a campaign of thousands on a slow sender would take 25 s."""
    paused, permit = Wait(Gate.CAMPAIGN_PAUSED, None), Permit(1000.0, 100.0)
    permits = ScriptedPermits(lambda call, ask: paused if ask.campaign_id == "a" else permit)
    held = [an_ask(f"a{n}", rate=1.0) for n in range(3000)]
    others = [an_ask(f"b{n}", "b", rate=1.0) for n in range(3)]

    async def act(queue: PermitQueue) -> None:
        answers = await all_of(queue, [*held, *others])
        assert answers[:3000] == [Blocked(Gate.CAMPAIGN_PAUSED, None)] * 3000
        assert all(isinstance(answer, Slice) for answer in answers[3000:])

    with_queue(permits, act)
    assert sum(ask.campaign_id == "a" for call in permits.calls for ask in call) < 10


def test_a_paused_sender_blocks_all_its_campaigns_at_once() -> None:
    permits = ScriptedPermits(lambda call, ask: Wait(Gate.SENDER_PAUSED, None))
    asks = [an_ask(f"{campaign}{n}", campaign, rate=1.0) for campaign in "abc" for n in range(100)]

    async def act(queue: PermitQueue) -> None:
        assert await all_of(queue, asks) == [Blocked(Gate.SENDER_PAUSED, None)] * 300

    with_queue(permits, act)
    assert len(permits.calls) == 1


def test_requests_are_asked_for_again_after_a_failure_of_the_limiter() -> None:
    def rule(call: int, ask: Ask) -> Permit | Wait:
        if call == 1:
            raise ConnectionError
        return Permit(1000.0)

    async def act(queue: PermitQueue) -> None:
        assert len(await all_of(queue, [an_ask(str(n)) for n in range(5)])) == 5

    with_queue(ScriptedPermits(rule), act)


def test_senders_take_turns_when_there_is_capacity_for_one_post() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))
    asks = [
        an_ask(f"{sender}{n}", sender=sender) for sender in ("447700900001", "447700900002") for n in range(3)
    ]

    async def act(queue: PermitQueue) -> None:
        await all_of(queue, asks)

    with_queue(permits, act, capacity=lambda lane: 1)
    order = [ask.sender[-1] for call in permits.calls for ask in call]
    assert order == ["1", "2"] * 3


def test_otp_is_asked_for_before_marketing() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))

    async def act(queue: PermitQueue) -> None:
        await all_of(queue, [an_ask("blast"), an_ask("code", kind=Kind.OTP)])

    with_queue(permits, act)
    assert [ask.recipient for call in permits.calls for ask in call] == ["code", "blast"]


def test_requests_wait_until_a_fast_call_has_shown_the_limiters_clock() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0), slow=3)

    async def act(queue: PermitQueue) -> None:
        await all_of(queue, [an_ask("one")])
        assert queue.clock.error_ms < 10

    with_queue(permits, act)
    assert permits.empty_calls >= 4


def test_a_limiter_that_is_always_slow_is_asked_after_the_last_measuring_call() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0), slow=MAX_CLOCK_CALLS + 1)

    async def act(queue: PermitQueue) -> None:
        await all_of(queue, [an_ask("one")])

    with_queue(permits, act)
    assert (permits.empty_calls, len(permits.calls)) == (MAX_CLOCK_CALLS, 1)


def test_a_fast_sender_gets_batches_of_the_size_that_can_start_in_time_at_their_interval() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))
    began: list[float] = []

    async def act(queue: PermitQueue) -> None:
        began.append(time.monotonic())
        await all_of(queue, [an_ask(f"{n}", rate=100_000.0) for n in range(240)])
        began.append(time.monotonic())

    with_queue(permits, act)
    sizes = [len(call) for call in permits.calls]
    assert sum(sizes) == 240
    assert sizes[0] == 40
    assert max(sizes) <= 40 + 2 * len(sizes)
    assert all(
        per_slice is not None and per_slice >= size
        for size, per_slice in zip(sizes, permits.per_slice, strict=True)
    )
    # Six batches take five intervals, less those that a late loop may ask for at once.
    assert began[1] - began[0] >= (len(sizes) - 1 - MAX_BATCHES_LATE) * BATCH_INTERVAL_S


def test_the_lead_is_at_most_the_write_ahead_and_the_extra_lead() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))

    async def act(queue: PermitQueue) -> None:
        blast = asyncio.ensure_future(all_of(queue, [an_ask(f"{n}", rate=100_000.0) for n in range(400)]))
        await all_of(queue, [an_ask("4412345", kind=Kind.OTP, rate=100_000.0)])
        await blast

    with_queue(permits, act)
    for call, lead in zip(permits.calls, permits.leads_ms, strict=True):
        if call[0].kind is Kind.OTP:
            assert lead == 5.0 * OTP_LEAD_FACTOR
        else:
            assert 5.0 <= lead <= 5.0 + 1000 * PermitQueue.extra_lead_s(Kind.MARKETING) + 0.001


def test_an_otp_does_not_wait_for_a_batch_and_its_lead_is_short() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))

    async def act(queue: PermitQueue) -> None:
        blast = asyncio.ensure_future(all_of(queue, [an_ask(f"{n}", rate=100_000.0) for n in range(400)]))
        await asyncio.sleep(0.015)
        await acquire(queue, an_ask("code", kind=Kind.OTP, rate=100_000.0))
        assert not blast.done()
        await blast

    with_queue(permits, act)
    (at,) = [n for n, call in enumerate(permits.calls) if call[0].kind is Kind.OTP]
    assert [ask.recipient for ask in permits.calls[at]] == ["code"]
    assert permits.leads_ms[at] == 5.0 * OTP_LEAD_FACTOR


def test_what_missed_its_slice_is_asked_for_before_the_others_of_its_campaign() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))

    async def act(queue: PermitQueue) -> None:
        await all_of(
            queue,
            [an_ask(f"{n}", rate=100_000.0) for n in range(60)]
            + [an_ask("late", rate=100_000.0, counted=True)],
        )

    with_queue(permits, act)
    assert permits.calls[0][0].recipient == "late"
    assert len(permits.calls[0]) > 1


def test_many_missed_slices_make_the_batches_smaller() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0))

    async def act(queue: PermitQueue) -> None:
        await all_of(queue, [an_ask(f"{n}", rate=100_000.0) for n in range(40)])
        for _ in range(30):
            queue.count_missed()
        await all_of(queue, [an_ask(f"{n}", rate=100_000.0) for n in range(240)])

    with_queue(permits, act)
    assert len(permits.calls[2]) == 32


def test_what_missed_its_slice_and_has_to_wait_is_asked_for_again() -> None:
    permits = ScriptedPermits(
        lambda call, ask: Permit(1000.0) if call == 2 else Wait(Gate.SENDER_RATE, 1010.0)
    )

    async def act(queue: PermitQueue) -> None:
        async with asyncio.timeout(5):
            assert isinstance(await acquire(queue, an_ask("late", counted=True)), Slice)

    with_queue(permits, act)
    assert [ask.counted for (ask,) in permits.calls] == [True, True]
