"""The desk asks the limiter for many messages at once, and for no more than it could get."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from bulksend.limits import Ask, Gate, Grant, Paused, Permit, Permits, SenderLimits, Spacing, Wait
from bulksend.messaging import Kind, Scope
from worker.permits.permit_queue import (
    BLOCK_S,
    BLOCKS_LATE,
    CALLS_TO_SET,
    CODE_EXCHANGE_LEAD_S,
    CODE_LEAD,
    PARTS,
    PermitQueue,
)
from worker.permits.sender_queue import Held, Slot

SENDER = "447700900000"
Answering = Callable[[int, Ask], Permit | Wait]
"""The answer to an ask, by the number of the call."""


class ScriptedPermits:
    """Answers by a rule; remembers every call, and how often it was asked for nobody. Its clock stands at 1,000 ms.

    ``slow`` calls at first take 20 ms each, as those of a process that has just begun.
    """

    def __init__(self, rule: Answering, *, slow: int = 0) -> None:
        self._rule = rule
        self._slow = slow
        self.calls: list[list[Ask]] = []
        self.leads_ms: list[float] = []
        self.spreads: list[Spacing | None] = []
        self.for_nobody = 0
        self.greeted = threading.Event()

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, spread: Spacing | None = None) -> Grant:
        self._slow -= 1
        if self._slow >= 0:
            time.sleep(0.020)
        if not asks:
            self.for_nobody += 1
            self.greeted.set()
            return Grant((), 1000.0, 1)
        self.calls.append(list(asks))
        self.leads_ms.append(lead_ms)
        self.spreads.append(spread)
        return Grant(tuple(self._rule(len(self.calls), ask) for ask in asks), 1000.0, 1)

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        return ()

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> float | None:
        return None

    def pause(self, scope: Scope, id: str, why_code: str = "") -> None:
        return

    def resume(self, scope: Scope, id: str) -> None:
        return

    def paused(self) -> tuple[Paused, ...]:
        return ()

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        return

    def close(self) -> None:
        return


def an_ask(
    recipient: str,
    campaign: str = "a",
    kind: Kind = Kind.MARKETING,
    *,
    sender: str = SENDER,
    rate: float = 100.0,
    missed: float | None = None,
) -> Ask:
    return Ask(kind, sender, campaign, recipient, SenderLimits(rate, None), None, missed)


def at_the_desk(
    permits: Permits,
    act: Callable[[PermitQueue], Awaitable[None]],
    room: Callable[[Kind], int] = lambda lane: 1_000_000,
) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(1) as pool:
            desk = PermitQueue(permits, pool, lead_ms=lambda lane: 5.0, on_cold=lambda: None, room=room)
            serving = asyncio.create_task(desk.run())
            try:
                async with asyncio.timeout(20):
                    await act(desk)
            finally:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    asyncio.run(main())


async def all_of(desk: PermitQueue, asks: Iterable[Ask]) -> list[Slot | Held]:
    return list(await asyncio.gather(*(desk.acquire(ask) for ask in asks)))


def test_a_limiter_is_called_before_there_is_anybody_to_ask_for() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))

    async def act(desk: PermitQueue) -> None:
        await asyncio.to_thread(permits.greeted.wait, 10)

    at_the_desk(permits, act)
    assert permits.for_nobody >= 1
    assert permits.calls == []


def test_five_campaigns_of_one_sender_ask_for_one_senders_share_in_equal_parts() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))
    asks = [an_ask(f"{campaign}{n}", campaign) for campaign in "abcde" for n in range(20)]

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, asks)

    at_the_desk(permits, act)
    assert [len(call) for call in permits.calls] == [12] * 8 + [4]
    for call in permits.calls:
        of = Counter(ask.campaign_id for ask in call)
        assert max(of.values()) - min(of.values() if len(of) == 5 else [0]) <= 1


def test_a_sender_that_is_saturated_is_asked_for_once_a_breath_whatever_its_campaigns() -> None:
    permits = ScriptedPermits(
        lambda call, ask: Permit(1000.0, 8.0) if call % 2 else Wait(Gate.SENDER_RATE, 1000.0)
    )

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, [an_ask(f"{campaign}{n}", campaign) for campaign in "abc" for n in range(8)])

    at_the_desk(permits, act)
    # 12 granted, 12 told to wait, the same 12 granted: nobody asks by a clock of its own.
    assert [len(call) for call in permits.calls] == [12, 12, 12]


def test_who_waits_for_a_recipients_own_rate_is_asked_for_again_once_and_holds_nobody() -> None:
    def rule(call: int, ask: Ask) -> Permit | Wait:
        first = call == 1 and ask.recipient == "pair"
        return Wait(Gate.PAIR_RATE, 1200.0) if first else Permit(1000.0, 8.0)

    permits = ScriptedPermits(rule)

    async def act(desk: PermitQueue) -> None:
        held = asyncio.create_task(desk.acquire(an_ask("pair")))
        await all_of(desk, [an_ask(f"other{n}") for n in range(30)])
        assert not held.done()
        assert isinstance(await held, Slot)

    at_the_desk(permits, act)
    assert sum(ask.recipient == "pair" for call in permits.calls for ask in call) == 2


def test_what_holds_longer_than_is_worth_waiting_for_is_told() -> None:
    rules = {
        "outage": Wait(Gate.OUTAGE, 9000.0),
        "pair": Wait(Gate.PAIR_RATE, 9000.0),
        "pause": Wait(Gate.CAMPAIGN_PAUSED, None),
    }
    permits = ScriptedPermits(lambda call, ask: rules[ask.recipient])

    async def act(desk: PermitQueue) -> None:
        assert await all_of(desk, map(an_ask, rules)) == [
            Held(Gate.OUTAGE, 9000),
            Held(Gate.PAIR_RATE, 9000),
            Held(Gate.CAMPAIGN_PAUSED, None),
        ]

    at_the_desk(permits, act)


def test_what_holds_one_of_a_paused_campaign_holds_all_that_wait_at_once_and_nobody_else() -> None:
    """A campaign of thousands on a slow sender let go of a handful a breath: 25 s (issue 14, D23)."""
    paused, permit = Wait(Gate.CAMPAIGN_PAUSED, None), Permit(1000.0, 100.0)
    permits = ScriptedPermits(lambda call, ask: paused if ask.campaign_id == "a" else permit)
    held = [an_ask(f"a{n}", rate=1.0) for n in range(3000)]
    others = [an_ask(f"b{n}", "b", rate=1.0) for n in range(3)]

    async def act(desk: PermitQueue) -> None:
        began = time.monotonic()
        answers = await all_of(desk, [*held, *others])
        assert answers[:3000] == [Held(Gate.CAMPAIGN_PAUSED, None)] * 3000
        assert all(isinstance(answer, Slot) for answer in answers[3000:])
        assert time.monotonic() - began < 5.0

    at_the_desk(permits, act)
    assert sum(ask.campaign_id == "a" for call in permits.calls for ask in call) < 10


def test_a_paused_sender_holds_all_its_campaigns_at_once() -> None:
    permits = ScriptedPermits(lambda call, ask: Wait(Gate.SENDER_PAUSED, None))
    asks = [an_ask(f"{campaign}{n}", campaign, rate=1.0) for campaign in "abc" for n in range(100)]

    async def act(desk: PermitQueue) -> None:
        assert await all_of(desk, asks) == [Held(Gate.SENDER_PAUSED, None)] * 300

    at_the_desk(permits, act)
    assert len(permits.calls) == 1


def test_a_limiter_that_fails_loses_nobody() -> None:
    def rule(call: int, ask: Ask) -> Permit | Wait:
        if call == 1:
            raise ConnectionError
        return Permit(1000.0, 8.0)

    async def act(desk: PermitQueue) -> None:
        assert len(await all_of(desk, [an_ask(str(n)) for n in range(5)])) == 5

    at_the_desk(ScriptedPermits(rule), act)


def test_where_there_is_room_for_one_at_a_time_senders_take_turns() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))
    asks = [
        an_ask(f"{sender}{n}", sender=sender) for sender in ("447700900001", "447700900002") for n in range(3)
    ]

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, asks)

    at_the_desk(permits, act, room=lambda lane: 1)
    order = [ask.sender[-1] for call in permits.calls for ask in call]
    assert order == ["1", "2"] * 3


def test_a_code_is_asked_for_before_marketing() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, [an_ask("blast"), an_ask("code", kind=Kind.OTP)])

    at_the_desk(permits, act)
    assert [ask.recipient for call in permits.calls for ask in call] == ["code", "blast"]


def test_nobody_is_asked_for_before_a_quick_call_has_shown_what_time_it_is() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0), slow=3)

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, [an_ask("one")])
        assert desk.clock.error_ms < 10

    at_the_desk(permits, act)
    assert permits.for_nobody >= 4


def test_a_limiter_that_is_always_far_is_asked_all_the_same() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0), slow=CALLS_TO_SET + 1)

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, [an_ask("one")])

    at_the_desk(permits, act)
    assert (permits.for_nobody, len(permits.calls)) == (CALLS_TO_SET, 1)


def test_a_fast_senders_slots_are_asked_for_in_blocks_as_large_as_can_begin_in_time_and_as_far_apart() -> (
    None
):
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))
    began: list[float] = []

    async def act(desk: PermitQueue) -> None:
        began.append(time.monotonic())
        await all_of(desk, [an_ask(f"{n}", rate=100_000.0) for n in range(240)])
        began.append(time.monotonic())

    at_the_desk(permits, act)
    sizes = [len(call) for call in permits.calls]
    assert sum(sizes) == 240
    assert sizes[0] == 40
    assert max(sizes) <= 40 + 2 * len(sizes)
    assert all(
        spread is not None and spread.together * PARTS >= size
        for size, spread in zip(sizes, permits.spreads, strict=True)
    )
    assert {spread.apart_ms * PARTS for spread in permits.spreads if spread is not None} == {BLOCK_S * 1000}
    # Each block has its own time: six blocks are five intervals, less what may be asked for early.
    assert began[1] - began[0] >= (len(sizes) - 1 - BLOCKS_LATE) * BLOCK_S


def test_no_slot_is_further_ahead_than_the_lead_and_what_is_spare_for_being_late() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))

    async def act(desk: PermitQueue) -> None:
        blast = asyncio.ensure_future(all_of(desk, [an_ask(f"{n}", rate=100_000.0) for n in range(400)]))
        await all_of(desk, [an_ask("4412345", kind=Kind.OTP, rate=100_000.0)])
        await blast

    at_the_desk(permits, act)
    for call, lead in zip(permits.calls, permits.leads_ms, strict=True):
        if call[0].kind is Kind.OTP:
            assert lead == 5.0 * CODE_LEAD
        else:
            assert 5.0 <= lead <= 5.0 + 1000 * PermitQueue.spare_s(Kind.MARKETING) + 0.001


def test_a_code_does_not_wait_for_a_block_and_its_slot_is_no_further_than_its_write_ahead() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))

    async def act(desk: PermitQueue) -> None:
        blast = asyncio.ensure_future(all_of(desk, [an_ask(f"{n}", rate=100_000.0) for n in range(400)]))
        await asyncio.sleep(0.015)
        await desk.acquire(an_ask("code", kind=Kind.OTP, rate=100_000.0))
        assert not blast.done()
        await blast

    at_the_desk(permits, act)
    (at,) = [n for n, call in enumerate(permits.calls) if call[0].kind is Kind.OTP]
    assert [ask.recipient for ask in permits.calls[at]] == ["code"]
    assert permits.leads_ms[at] == 5.0 * CODE_LEAD


def test_who_missed_a_slot_is_asked_for_first_and_as_far_ahead_as_everybody() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))

    async def act(desk: PermitQueue) -> None:
        await all_of(
            desk,
            [an_ask(f"{n}", rate=100_000.0) for n in range(60)]
            + [an_ask("late", rate=100_000.0, missed=990.0)],
        )

    at_the_desk(permits, act)
    assert [ask.recipient for ask in permits.calls[0]] == ["late"]
    assert permits.leads_ms[0] == pytest.approx(5.0 + PermitQueue.spare_s(Kind.MARKETING) * 1000)


def test_a_code_that_missed_its_slot_gets_the_next_one_soon() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, [an_ask("late", kind=Kind.OTP, missed=990.0), an_ask("other", missed=990.0)])

    at_the_desk(permits, act)
    assert permits.leads_ms[0] == CODE_EXCHANGE_LEAD_S * 1000


def test_many_overslept_slots_make_the_blocks_smaller() -> None:
    permits = ScriptedPermits(lambda call, ask: Permit(1000.0, 8.0))

    async def act(desk: PermitQueue) -> None:
        await all_of(desk, [an_ask(f"{n}", rate=100_000.0) for n in range(40)])
        for _ in range(30):
            desk.overslept()
        await all_of(desk, [an_ask(f"{n}", rate=100_000.0) for n in range(240)])

    at_the_desk(permits, act)
    assert len(permits.calls[2]) == 32


def test_who_missed_a_slot_and_has_to_wait_is_asked_for_again_though_nobody_else_waits() -> None:
    permits = ScriptedPermits(
        lambda call, ask: Permit(1000.0, 8.0) if call == 2 else Wait(Gate.SENDER_RATE, 1010.0)
    )

    async def act(desk: PermitQueue) -> None:
        async with asyncio.timeout(5):
            assert isinstance(await desk.acquire(an_ask("late", missed=990.0)), Slot)

    at_the_desk(permits, act)
    # Which one it was is told once.
    assert [(ask.exchange, ask.missed_ms) for (ask,) in permits.calls] == [(True, 990.0), (True, 0.0)]
