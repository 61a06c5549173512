"""Where messages in hand wait for permits: OTP first, one call to Redis for many of them.

A message that only waits for its turn (a rate) stays in hand. One that waits for something longer (its pair's
rate, a quota, a pause, an outage) is told so, and goes back to the ledger, which knows when it is due again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from bulksend.limits import Ask, Gate, Grant, Permit, Permits, Wait
from bulksend.messaging.states import LANES, Kind
from worker.clock import SlotClock

log = structlog.get_logger(__name__)

#: A wait no longer than this is sat out in hand.
PATIENCE_MS = 1500.0
#: At most so often is Redis asked for the same lane while it is saturated: permits come several at a time.
BREATH_S = 0.030
#: When no more POSTs may be under way, look again so soon.
ROOM_S = 0.010
_TURN = frozenset({Gate.SENDER_RATE, Gate.ACCOUNT_RATE, Gate.CAMPAIGN_RATE, Gate.COLD})
_PAUSED = frozenset({Gate.SENDER_PAUSED, Gate.CAMPAIGN_PAUSED, Gate.ACCOUNT_PAUSED})
#: How far ahead slots are given, in seconds, as the limiter has it; only bounds how many are asked for at once.
_AHEAD_S = {Kind.OTP: 1.0, Kind.UTILITY: 0.25, Kind.MARKETING: 0.1}


@dataclass(frozen=True, slots=True)
class Slot:
    """A permit in this process's own time: POST at ``at`` (event loop seconds)."""

    at: float


@dataclass(frozen=True, slots=True)
class Held:
    """No permit before ``until_ms`` (Redis's clock; None: until somebody resumes it)."""

    gate: Gate
    until_ms: int | None


@dataclass(slots=True)
class _Waiting:
    ask: Ask
    answer: asyncio.Future[Slot | Held]


_Queue = tuple[Kind, bool, str, str]  # lane, not an exchange, sender, campaign


class PermitDesk:
    """Asks the limiter on behalf of every message in hand. Belongs to one event loop."""

    def __init__(
        self,
        permits: Permits,
        executor: Executor,
        *,
        lead_ms: Callable[[], float],
        on_cold: Callable[[], None],
        room: Callable[[Kind], int] = lambda lane: 1_000_000,
        most: int = 250,
    ) -> None:
        self._permits = permits
        self._executor = executor
        self._lead_ms = lead_ms
        self._on_cold = on_cold
        self._room = room
        self._most = most
        self._queues: dict[_Queue, deque[_Waiting]] = {}
        self._not_before: dict[_Queue, float] = {}
        self._wake = asyncio.Event()
        self._epoch = ""
        self.clock = SlotClock()
        self.workers = 1

    async def acquire(self, ask: Ask) -> Slot | Held:
        """The slot of this message, or what holds it longer than is worth waiting for in hand."""
        waiting = _Waiting(ask, asyncio.get_running_loop().create_future())
        key = (ask.kind, not ask.exchange, ask.sender, ask.campaign_id)
        self._queues.setdefault(key, deque()).append(waiting)
        self._wake.set()
        return await waiting.answer

    def waiting(self) -> int:
        """How many wait here."""
        return sum(len(queue) for queue in self._queues.values())

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            chosen, next_at = self._choose(loop.time())
            if not chosen:
                await self._sleep_until(next_at)
                continue
            asked = loop.time()
            try:
                grant = await loop.run_in_executor(self._executor, self._ask, [w.ask for _, w in chosen])
            except Exception as error:  # noqa: BLE001 - the limiter being away must not end the desk
                log.warning("limiter_failed", error=type(error).__name__)
                self._put_back(chosen, loop.time() + 1.0)
                continue
            self._answer(chosen, grant, asked, loop.time())
            # Let those who got a permit run first: they take the room that is counted next.
            await asyncio.sleep(0)

    def _ask(self, asks: list[Ask]) -> Grant:
        return self._permits.ask(asks, lead_ms=self._lead_ms())

    def _choose(self, now: float) -> tuple[list[tuple[_Queue, _Waiting]], float | None]:
        """Whom to ask for now, best lane first, and when to look again if for nobody."""
        chosen: list[tuple[_Queue, _Waiting]] = []
        next_at: float | None = None
        left = {lane: self._room(lane) for lane in LANES}
        for key in sorted(self._queues, key=lambda k: (LANES.index(k[0]), k[1])):
            queue = self._queues[key]
            while queue and queue[0].answer.done():  # cancelled: its worker stops
                queue.popleft()
            if not queue:
                del self._queues[key]
                self._not_before.pop(key, None)
                continue
            at = self._not_before.get(key, 0.0)
            if at > now:
                next_at = at if next_at is None else min(next_at, at)
                continue
            # Who exchanges a slot has its room already. Were it asked for room again, as many as may be under way
            # could all miss their slots at once and wait for each other for ever.
            room = left[key[0]] if key[1] else len(queue)
            if room <= 0:
                next_at = min(now + ROOM_S, next_at if next_at is not None else now + ROOM_S)
                continue
            most = min(self._share(key, queue[0].ask), self._most - len(chosen), room)
            if key[1]:
                left[key[0]] -= most
            chosen += [(key, queue.popleft()) for _ in range(min(most, len(queue)))]
        return chosen, next_at

    def _share(self, key: _Queue, ask: Ask) -> int:
        """No more than the limiter could grant at once: asking for the rest would only cost."""
        rate = min(ask.sender_limits.rate, ask.campaign_rate or ask.sender_limits.rate)
        return int(rate * _AHEAD_S[key[0]]) + 2

    async def _sleep_until(self, at: float | None) -> None:
        if at is None:
            await self._wake.wait()
            return
        delay = max(0.0, at - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            return

    def _answer(
        self, chosen: list[tuple[_Queue, _Waiting]], grant: Grant, asked: float, answered: float
    ) -> None:
        if grant.epoch != self._epoch:
            # Another memory, so perhaps another machine with another clock.
            self._epoch, self.clock = grant.epoch, SlotClock()
        self.clock.observe(asked, answered, grant.now_ms)
        self.workers = grant.workers
        if grant.needs_restore:
            self._on_cold()
        back: dict[_Queue, list[_Waiting]] = {}
        for (key, waiting), answer in zip(chosen, grant.answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Permit):
                waiting.answer.set_result(Slot(self.clock.loop_time(answer.slot_ms)))
            elif self._sits_out(answer, grant.now_ms):
                back.setdefault(key, []).append(waiting)
                self._look_again(key, answer, grant.now_ms, answered)
            else:
                until = None if answer.until_ms is None else int(answer.until_ms)
                waiting.answer.set_result(Held(answer.gate, until))
        for key, items in back.items():
            self._queues.setdefault(key, deque()).extendleft(reversed(items))

    def _sits_out(self, wait: Wait, now_ms: float) -> bool:
        if wait.gate in _TURN:
            return True
        return (
            wait.gate not in _PAUSED and wait.until_ms is not None and wait.until_ms - now_ms <= PATIENCE_MS
        )

    def _look_again(self, key: _Queue, wait: Wait, now_ms: float, now: float) -> None:
        in_s = 0.0 if wait.until_ms is None else max(0.0, (wait.until_ms - now_ms) / 1000)
        if wait.gate in _TURN:
            breath = 0.0 if key[0] is Kind.OTP else BREATH_S
            self._not_before[key] = now + max(breath, min(in_s, 1.0))

    def _put_back(self, chosen: list[tuple[_Queue, _Waiting]], not_before: float) -> None:
        for key, waiting in reversed(chosen):
            self._queues.setdefault(key, deque()).appendleft(waiting)
            self._not_before[key] = not_before
