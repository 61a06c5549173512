"""Where messages in hand wait for permits: OTP first, one call to Redis for many of them.

A message that only waits for its turn (a rate) stays in hand. One that waits for something longer (its pair's
rate, a quota, a pause, an outage) is told so, and goes back to the ledger, which knows when it is due again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from bulksend.clock import ClockOffset, wait_until
from bulksend.limits import Ask, Gate, Grant, Permit, Permits, Spacing, Wait
from bulksend.messaging.states import LANES, Kind
from worker.permits.batch_size import BatchSize
from worker.permits.sender_queue import Held, Line, Receiver, Slot, Waiting

log = structlog.get_logger(__name__)

#: A wait no longer than this is sat out in hand.
PATIENCE_MS = 1500.0
#: At most so often is Redis asked for the same line while it is saturated: permits come several at a time. Seldom
#: enough to be cheap, often enough for what is kept for codes until it is close (limits/rules.py, CODES_CLOSE_STEPS).
BREATH_S = 0.020
#: ... and not at the very instant at which the limiter says that asking helps: the lead, from which it reckons, shrinks
#: by some tenths of a millisecond meanwhile, and the answer would be "wait" again.
SLACK_S = 0.002
#: A code asks for a slot in half the time that a slow write-ahead took: most are quicker, a slot is good for some
#: milliseconds, and one that is missed is exchanged at once.
CODE_LEAD = 0.5
#: When no more POSTs may be under way, look again so soon.
ROOM_S = 0.010
#: Slots of anything but OTP are asked for in blocks that begin so far apart, each as large as the loop can start in
#: time where a sender's rate does not space them. The loop is sometimes late to ask: so many more are then asked for
#: one after the other, and their slots are as far apart as ever.
BLOCK_S = 0.010
BLOCKS_LATE = 3
#: The slots of a block come in so many parts, spread over its time: no more together than the loop begins in time.
PARTS = 2
#: Who missed a slot needs no time to open an attempt, only to hear of the new one: a code gets it as soon as may be.
#: The others ask as far ahead as everybody: where they missed one the machine is busy, and of slots 5 or 15 ms ahead a
#: fifth were missed again.
CODE_EXCHANGE_LEAD_S = 0.005
#: ... and those of a blast are asked for together, so often at most: a call costs as much as many slots.
EXCHANGE_BREATH_S = 0.012
#: A clock this close is good enough: slots leave seven milliseconds for it and for the way.
CLOSE_MS = 0.5
#: So many calls at most to set the clock: a far Redis never comes closer.
CALLS_TO_SET = 10
_TURN = frozenset({Gate.SENDER_RATE, Gate.ACCOUNT_RATE, Gate.CAMPAIGN_RATE, Gate.COLD})
_PAUSED = frozenset({Gate.SENDER_PAUSED, Gate.CAMPAIGN_PAUSED, Gate.ACCOUNT_PAUSED})
#: What concerns one recipient, and nobody else in the line.
_PERSONAL = frozenset({Gate.PAIR_RATE, Gate.QUOTA})
#: How far ahead slots are given, in seconds, as the limiter has it; only bounds how many are asked for at once.
_AHEAD_S = {Kind.OTP: 1.0, Kind.UTILITY: 0.25, Kind.MARKETING: 0.1}

#: How many messages held by a pause are told together, and how often.
LET_GO_AT_ONCE, LET_GO_BREATH_S = 50, 0.004

_Key = tuple[Kind, bool, str]  # lane, not an exchange, sender


@dataclass(frozen=True, slots=True)
class _Question:
    """Whom to ask for, with slots how far ahead; when to look again if for nobody (None: when somebody comes)."""

    of: list[Waiting]
    lead_s: float
    next_at: float | None
    spread: Spacing | None = None


def _sooner(one: float | None, other: float | None) -> float | None:
    """The earlier of two instants, None being never."""
    return one if other is None else other if one is None else min(one, other)


def _tell(waiting: list[Waiting], held: Held) -> None:
    for one in waiting:
        if not one.answer.done():
            one.answer.set_result(held)


class PermitQueue:
    """Asks the limiter on behalf of every message in hand. Belongs to one event loop."""

    def __init__(
        self,
        permits: Permits,
        executor: Executor,
        *,
        lead_ms: Callable[[Kind], float],
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
        self._lines: dict[_Key, Line] = {}
        self._wake = asyncio.Event()
        self._epoch = ""
        self.clock = ClockOffset()
        self._is_set = False
        self._burst = BatchSize(most)
        self._block_at = 0.0
        """When the next block is to be asked for."""
        self._exchange_at = 0.0
        """When those who missed a slot may be asked for again, but for codes."""
        self._opened_ms = 0.0
        """When the breaker opened last, as far as is known here, by the limiter's clock."""

    async def acquire(self, ask: Ask) -> Slot | Held:
        """The slot of this message, or what holds it longer than is worth waiting for in hand."""
        answer: asyncio.Future[Slot | Held] = asyncio.get_running_loop().create_future()
        self.join(ask, answer)
        return await answer

    def join(self, ask: Ask, answer: Receiver) -> None:
        """Get in line: ``answer`` is told the slot, or what holds this message longer than is worth waiting for."""
        self._line(ask).add(Waiting(ask, answer))
        self._wake.set()

    @staticmethod
    def spare_s(lane: Kind) -> float:
        """How much further ahead than the lead slots of a lane are asked for, where nothing is late."""
        return 0.0 if lane is Kind.OTP else BLOCKS_LATE * BLOCK_S

    def outage(self, opened_ms: float | None) -> None:
        """The breaker opened then: permits given before are not to be used. None: it is closed."""
        if opened_ms is not None:
            self._opened_ms = opened_ms

    def may_use(self, slot: Slot) -> bool:
        """Whether no outage was noticed since it was given."""
        return slot.granted_ms >= self._opened_ms

    def overslept(self) -> None:
        """A slot was missed though all else was ready: the event loop had too much to do at once."""
        self._burst.missed()

    def _line(self, ask: Ask) -> Line:
        key = (ask.kind, not ask.exchange, ask.sender)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(_AHEAD_S[ask.kind])
        return line

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        await self._greet()
        while True:
            self._wake.clear()
            question = self._choose(loop.time())
            chosen = question.of
            if not chosen:
                await wait_until(self._wake, question.next_at)
                continue
            try:
                if not self._is_set:
                    await self._set_clock()
                asks = [waiting.ask for waiting in chosen]
                grant, asked, answered = await self._call(asks, question.lead_s * 1000, question.spread)
            except Exception as error:  # noqa: BLE001 - the limiter being away must not end the desk
                log.warning("limiter_failed", error=type(error).__name__)
                self._put_back(chosen)
                for waiting in chosen:
                    self._line(waiting.ask).hold(loop.time() + 1.0)
                continue
            self._answer(chosen, grant, asked, answered)
            # Let those who got a permit run first: they take the room that is counted next.
            await asyncio.sleep(0)

    async def _greet(self) -> None:
        """Ask for nobody before there is anybody: a limiter that is cold gives nothing for two seconds after its first
        call, and those had better pass while there is nothing to send.
        """
        try:
            await self._set_clock()
        except Exception as error:  # noqa: BLE001 - asked again when there is somebody to ask for
            log.warning("limiter_failed", error=type(error).__name__)

    async def _set_clock(self) -> None:
        """Ask for nobody until a quick call has shown how Redis's clock differs from ours.

        A process that has just begun is slow to ask and to hear: slots by a clock that is ten milliseconds off, beside
        workers whose clock is right, make a second too full.
        """
        for _ in range(CALLS_TO_SET):
            self._answer([], *await self._call([], 0.0))
            if self.clock.error_ms <= CLOSE_MS:
                break
        self._is_set = True

    async def _call(
        self, asks: list[Ask], lead_ms: float, spread: Spacing | None = None
    ) -> tuple[Grant, float, float]:
        """What the limiter answers, and the loop's time just before and just after, as its own thread saw it."""
        time = asyncio.get_running_loop().time

        def call() -> tuple[Grant, float, float]:
            asked = time()
            grant = self._permits.ask(asks, lead_ms=lead_ms, spread=spread)
            return grant, asked, time()

        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _choose(self, now: float) -> _Question:
        """Whom to ask for now: codes and exchanges at once, everything else a block after the other."""
        lead = self._lead_ms(Kind.MARKETING) / 1000
        missed, missed_at = self._missed(now)
        if missed:
            is_code = missed[0].ask.kind is Kind.OTP
            ahead = CODE_EXCHANGE_LEAD_S if is_code else lead + self.spare_s(Kind.MARKETING)
            return _Question(missed, ahead, None, self._spread())
        first = [key for key in self._lines if key[1] and key[0] is Kind.OTP]
        codes, codes_at = self._take(first, self._most, now)
        if codes:
            return _Question(codes, CODE_LEAD * self._lead_ms(Kind.OTP) / 1000, None)
        next_at = _sooner(missed_at, codes_at)
        others = [key for key in self._lines if key[1] and key[0] is not Kind.OTP]
        if now < self._block_at:
            return _Question([], lead, _sooner(next_at, self._block_at if others else None))
        bulk, bulk_at = self._take(others, min(self._most, self._burst.size), now)
        if bulk:
            self._burst.began(len(bulk))
            # Asked late, its slots are no later for it: the blocks stay apart.
            oldest = now - BLOCKS_LATE * BLOCK_S
            begins = max(self._block_at, oldest)
            lead += begins - oldest
            self._block_at = begins + BLOCK_S
        return _Question(bulk, lead, _sooner(next_at, bulk_at), self._spread())

    def _missed(self, now: float) -> tuple[list[Waiting], float | None]:
        """Who missed a slot and is to be asked for now; else when to look again."""
        keys = [key for key in self._lines if not key[1]]
        if not keys:
            return [], None
        if now < self._exchange_at:
            codes, codes_at = self._take([key for key in keys if key[0] is Kind.OTP], self._most, now)
            return codes, _sooner(codes_at, self._exchange_at)
        missed, missed_at = self._take(keys, self._most, now)
        if missed:
            self._exchange_at = now + EXCHANGE_BREATH_S
        return missed, missed_at

    def _spread(self) -> Spacing:
        """No more slots together than the loop begins in time."""
        return Spacing(-(-self._burst.size // PARTS), BLOCK_S * 1000 / PARTS)

    def _take(self, keys: list[_Key], most: int, now: float) -> tuple[list[Waiting], float | None]:
        """Of these lines, the best lane first; and when there may be more of them, if there is nobody now."""
        chosen: list[Waiting] = []
        next_at: float | None = None
        left = {lane: self._room(lane) for lane in {key[0] for key in keys}}
        for key in sorted(keys, key=lambda k: (LANES.index(k[0]), k[1])):
            line = self._lines[key]
            # Who exchanges a slot has its room already. Were it asked for room again, as many as may be under way
            # could all miss their slots at once and wait for each other for ever.
            room = left[key[0]] if key[1] else most
            taken = line.take(min(most - len(chosen), room), now) if room > 0 else []
            if key[1]:
                left[key[0]] -= len(taken)
            chosen += taken
            if taken:
                # Behind the other senders of its lane: where there is not room for all, they take turns.
                self._lines[key] = self._lines.pop(key)
            elif not line:
                del self._lines[key]
            else:
                next_at = _sooner(next_at, max(line.next_at(), now + ROOM_S) if room <= 0 else line.next_at())
        return chosen, next_at

    def _answer(self, chosen: list[Waiting], grant: Grant, asked: float, answered: float) -> None:
        if grant.epoch != self._epoch:
            # Another memory, so perhaps another machine with another clock.
            self._epoch, self._is_set, self._opened_ms = grant.epoch, False, 0.0
            self.clock.distrust()
        self.clock.observe(asked * 1000, answered * 1000, grant.now_ms)
        self.outage(grant.opened_ms)
        if grant.needs_restore:
            self._on_cold()
        back: list[Waiting] = []
        for waiting, answer in zip(chosen, grant.answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Permit):
                at = self.clock.local_ms(answer.slot_ms) / 1000
                waiting.answer.set_result(Slot(at, answer, grant.now_ms))
                self._line(waiting.ask).served(waiting.ask.campaign_id)
                continue
            waiting.ask = waiting.ask.heard()
            if not self._sits_out(answer, grant.now_ms):
                until = None if answer.until_ms is None else int(answer.until_ms)
                held = Held(answer.gate, until)
                waiting.answer.set_result(held)
                if answer.gate in _PAUSED:
                    self._hold_all(waiting.ask, held)
            elif answer.gate in _PERSONAL:
                in_s = self._seconds_until(answer, grant.now_ms)
                asyncio.get_running_loop().call_at(answered + in_s, self._return, waiting)
            else:
                back.append(waiting)
                self._hold(waiting.ask, answer, grant.now_ms, answered)
        self._put_back(back)

    def _hold_all(self, ask: Ask, held: Held) -> None:
        """What holds one of a paused campaign holds every one that waits: none of them is asked for once more.

        A few in each turn of the loop: letting go of thousands at once would keep others from their slots.
        """
        loop = asyncio.get_running_loop()
        only = ask.campaign_id if held.gate is Gate.CAMPAIGN_PAUSED else None
        left = self._line(ask).leave(only)
        for turn, few in enumerate(range(0, len(left), LET_GO_AT_ONCE)):
            loop.call_later(turn * LET_GO_BREATH_S, _tell, left[few : few + LET_GO_AT_ONCE], held)

    def _sits_out(self, wait: Wait, now_ms: float) -> bool:
        if wait.gate in _TURN:
            return True
        return (
            wait.gate not in _PAUSED and wait.until_ms is not None and wait.until_ms - now_ms <= PATIENCE_MS
        )

    def _hold(self, ask: Ask, wait: Wait, now_ms: float, now: float) -> None:
        in_s = min(self._seconds_until(wait, now_ms), 1.0)
        until = now + (in_s if ask.kind is Kind.OTP else max(BREATH_S, in_s + SLACK_S))
        if wait.gate is Gate.CAMPAIGN_RATE:
            self._line(ask).hold_campaign(ask.campaign_id, until)
        else:
            self._line(ask).hold(until)

    def _seconds_until(self, wait: Wait, now_ms: float) -> float:
        return 0.0 if wait.until_ms is None else max(0.0, (wait.until_ms - now_ms) / 1000)

    def _return(self, waiting: Waiting) -> None:
        if not waiting.answer.done():
            self._put_back([waiting])
            self._wake.set()

    def _put_back(self, waiting: list[Waiting]) -> None:
        for one in reversed(waiting):
            self._line(one.ask).put_back(one)
