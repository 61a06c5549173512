"""Where messages in flight wait for permits: OTP first, one call to the limiter for many messages.

A message that waits for a rate stays in the queue. A message that another gate blocks for longer (its pair rate, a
quota, a pause, an outage) gets ``Blocked`` and goes back to the ledger, which knows when it is due again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from bulksend.broker import Outage
from bulksend.clock import ClockOffset, steady_seconds, wait_until
from bulksend.limits import SLICE_MS, Ask, Gate, Grant, Permit, Permits, Wait
from bulksend.messaging.states import LANES, Kind
from worker.permits.batch_size import BatchSize
from worker.permits.sender_queue import (
    Blocked,
    PermitFuture,
    PermitRequest,
    SenderQueue,
    Slice,
    equal_weights,
)

#: A request waits at most this long in the queue for anything but a rate; else its message goes back to the ledger.
MAX_WAIT_MS = 1500.0
#: A sender at its limit is asked for again after this long: seldom enough to be cheap, since permits come several at a
#: time, and often enough for what is kept for OTP until shortly before its slice (limits/rules.py).
RETRY_INTERVAL_S = 2 * SLICE_MS / 1000
#: Added to the instant that a Wait names: the lead, which the limiter counts from, shrinks by some tenths of a
#: millisecond meanwhile, and at the exact instant the answer would be "wait" again.
RETRY_SLACK_S = 0.002
#: OTP asks for a slice in half of the time that a slow write-ahead took: most write-aheads are faster, and what misses
#: its slice asks again at once.
OTP_LEAD_FACTOR = 0.5
#: While the worker has no capacity for another POST, it is asked for again after this long.
CAPACITY_POLL_S = 0.010
#: Permits for all lanes but OTP are asked for in a batch each slice. A late loop asks for up to MAX_BATCHES_LATE missed
#: batches one after another, for one slice after another.
BATCH_INTERVAL_S = SLICE_MS / 1000
MAX_BATCHES_LATE = 3
#: The clock is measured until its error is below this; slices allow 12.5 ms for the error and for latency together.
MAX_CLOCK_ERROR_MS = 0.5
#: ... but with at most this many calls: a distant Redis never gets below it.
MAX_CLOCK_CALLS = 10
#: Without requests the limiter is called this often: one that lost its data is cold for two seconds, which then pass
#: before the next request.
IDLE_INTERVAL_S = 1.0
#: How often a limiter that cannot be reached is called again.
AWAY_INTERVAL_S = 0.25
_RATE_GATES = frozenset({Gate.SENDER_RATE, Gate.ACCOUNT_RATE, Gate.CAMPAIGN_RATE, Gate.COLD})
_PAUSE_GATES = frozenset({Gate.SENDER_PAUSED, Gate.CAMPAIGN_PAUSED, Gate.ACCOUNT_PAUSED})
#: These block one recipient, and not the rest of the sender's queue.
_RECIPIENT_GATES = frozenset({Gate.PAIR_RATE, Gate.QUOTA})
#: How far ahead the limiter gives slices, in seconds; it only bounds how many permits a queue asks for at once.
_AHEAD_S = {Kind.OTP: 1.0, Kind.UTILITY: 0.25, Kind.MARKETING: 0.1}
#: How many messages are told of a pause in one turn of the loop, and the time between two turns: thousands at once
#: would make other messages miss their slices.
BLOCKED_PER_TURN, BLOCKED_INTERVAL_S = 50, 0.004

_Key = tuple[Kind, str]
"""Lane and sender."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """The requests to ask for now, the lead of their slices; when to look again if there are none (None: on wake)."""

    requests: list[PermitRequest]
    lead_s: float
    next_at: float | None
    per_slice: int | None = None


def _earlier(one: float | None, other: float | None) -> float | None:
    """The earlier of two instants; None means never."""
    return one if other is None else other if one is None else min(one, other)


def _answer_all(requests: list[PermitRequest], blocked: Blocked) -> None:
    for request in requests:
        if not request.future.done():
            request.future.set_result(blocked)


class PermitQueue:
    """Asks the limiter for permits on behalf of all messages in flight. Belongs to one event loop."""

    def __init__(
        self,
        permits: Permits,
        executor: Executor,
        *,
        lead_ms: Callable[[Kind], float],
        capacity: Callable[[Kind], int] = lambda lane: 1_000_000,
        weight: Callable[[str], int] = equal_weights,
        most: int = 250,
        idle_interval_s: float = IDLE_INTERVAL_S,
    ) -> None:
        self._permits = permits
        self._executor = executor
        self._lead_ms = lead_ms
        self._capacity = capacity
        self._weight = weight
        self._most = most
        self._queues: dict[_Key, SenderQueue] = {}
        self._wake = asyncio.Event()
        self._epoch = ""
        self.clock = ClockOffset()
        self._clock_is_set = False
        self._idle_interval_s = idle_interval_s
        self._outage = Outage("limiter")
        self.needs_restore = False
        """Whether the limiter has lost its data: the last answer says so."""
        self._batch_size = BatchSize(most)
        self._batch_at = 0.0
        """When the next batch is asked for."""
        self._opened_ms = 0.0
        """When the circuit breaker opened last, as far as is known here, by the limiter's clock."""

    def submit(self, ask: Ask, future: PermitFuture, deadline: float | None = None) -> None:
        """Give ``future`` the slice of this message, or the gate that blocks it for longer than it may wait here.

        ``deadline``: see PermitRequest.

        What missed its slice goes before all others of its campaign: its attempt is open.
        """
        queue, request = self._queue_of(ask), PermitRequest(ask, future, deadline)
        if ask.counted:
            queue.put_back(request)
        else:
            queue.add(request)
        self._wake.set()

    def move_to_front(self, ask: Ask, future: PermitFuture) -> None:
        """Let a request be the next of its campaign, if it waits."""
        queue = self._queues.get((ask.kind, ask.sender))
        if queue is not None:
            queue.move_to_front(ask.campaign_id, future)

    @staticmethod
    def extra_lead_s(lane: Kind) -> float:
        """How much longer than ``lead_ms`` the lead of a lane's slices is while no batch is late."""
        return 0.0 if lane is Kind.OTP else MAX_BATCHES_LATE * BATCH_INTERVAL_S

    def set_rates(self, rates: Mapping[str, float | None]) -> None:
        """Have the waiting messages of these campaigns ask by their new rates."""
        for queue in self._queues.values():
            for campaign_id, rate in rates.items():
                queue.set_rate(campaign_id, rate)
        if rates:
            self._wake.set()

    def note_outage(self, opened_ms: float | None) -> None:
        """The circuit breaker opened at this instant: earlier permits are not used. None: it is closed."""
        if opened_ms is not None:
            self._opened_ms = opened_ms

    def is_usable(self, of: Slice) -> bool:
        """Whether the circuit breaker has not opened since the permit was given."""
        return of.granted_ms >= self._opened_ms

    def count_missed(self) -> None:
        """A slice was missed although everything else was ready: the event loop had too much to do at once."""
        self._batch_size.count_missed()

    def _queue_of(self, ask: Ask) -> SenderQueue:
        key = (ask.kind, ask.sender)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = SenderQueue(_AHEAD_S[ask.kind], self._weight)
        return queue

    async def run(self) -> None:
        """Serve requests until cancelled."""
        loop = asyncio.get_running_loop()
        idle_at = loop.time()
        while True:
            self._wake.clear()
            requests: list[PermitRequest] = []
            try:
                if not self._clock_is_set:
                    await self._measure_clock()
                    idle_at = loop.time() + self._idle_interval_s
                batch = self._next_batch(loop.time())
                requests = batch.requests
                if not requests and loop.time() < idle_at:
                    await wait_until(self._wake, _earlier(batch.next_at, idle_at))
                    continue
                asks = [request.ask for request in requests]
                grant, asked, answered = await self._call(asks, batch.lead_s * 1000, batch.per_slice)
            except Exception as error:  # noqa: BLE001 - without a limiter nothing is POSTed, until it is back
                self._outage.failed(error)
                self._put_back(requests)
                self._block_expired()
                await asyncio.sleep(AWAY_INTERVAL_S)
                continue
            self._outage.succeeded()
            idle_at = loop.time() + self._idle_interval_s
            self._handle_grant(requests, grant, asked, answered)
            # Messages that got a permit run first: they take the capacity that is counted next.
            await asyncio.sleep(0)

    async def _measure_clock(self) -> None:
        """Call the limiter without requests until a fast call has shown the offset of Redis's clock.

        The first calls of a new process are slow. Slices by a clock that is ten milliseconds off would, together with
        those of other workers, put more into one second than the limit.
        """
        for _ in range(MAX_CLOCK_CALLS):
            self._handle_grant([], *await self._call([], 0.0))
            if self.clock.error_ms <= MAX_CLOCK_ERROR_MS:
                break
        self._clock_is_set = True

    async def _call(
        self, asks: list[Ask], lead_ms: float, per_slice: int | None = None
    ) -> tuple[Grant, float, float]:
        """The limiter's answer, and the loop's time just before and just after the call, as the thread saw it."""
        time = asyncio.get_running_loop().time

        def call() -> tuple[Grant, float, float]:
            asked = time()
            grant = self._permits.ask(asks, lead_ms=lead_ms, per_slice=per_slice)
            return grant, asked, time()

        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _next_batch(self, now: float) -> _Batch:
        """What to ask for now: OTP at once, the other lanes in a batch each slice."""
        lead = self._lead_ms(Kind.MARKETING) / 1000
        otp_keys = [key for key in self._queues if key[0] is Kind.OTP]
        otp, otp_at = self._take(otp_keys, self._most, now)
        if otp:
            return _Batch(otp, OTP_LEAD_FACTOR * self._lead_ms(Kind.OTP) / 1000, None)
        bulk_keys = [key for key in self._queues if key[0] is not Kind.OTP]
        if now < self._batch_at:
            return _Batch([], lead, _earlier(otp_at, self._batch_at if bulk_keys else None))
        bulk, bulk_at = self._take(bulk_keys, min(self._most, self._batch_size.size), now)
        if bulk:
            self._batch_size.next_batch(len(bulk))
            # The slice of a batch that is asked for late is no later: each batch has the next one.
            oldest = now - MAX_BATCHES_LATE * BATCH_INTERVAL_S
            batch_at = max(self._batch_at, oldest)
            lead += batch_at - oldest
            self._batch_at = batch_at + BATCH_INTERVAL_S
        return _Batch(bulk, lead, _earlier(otp_at, bulk_at), self._batch_size.size)

    def _take(self, keys: list[_Key], most: int, now: float) -> tuple[list[PermitRequest], float | None]:
        """Requests of these queues, the best lane first; if there are none now, when there may be some."""
        taken: list[PermitRequest] = []
        next_at: float | None = None
        left = {lane: self._capacity(lane) for lane in {key[0] for key in keys}}
        for key in sorted(keys, key=lambda k: LANES.index(k[0])):
            queue, capacity = self._queues[key], left[key[0]]
            requests = queue.take(min(most - len(taken), capacity), now) if capacity > 0 else []
            left[key[0]] -= len(requests)
            taken += requests
            if requests:
                # Move the queue behind the lane's other senders: they take turns where capacity is short.
                self._queues[key] = self._queues.pop(key)
            elif not queue:
                del self._queues[key]
            else:
                queue_at = queue.next_at()
                next_at = _earlier(
                    next_at, queue_at if capacity > 0 else max(queue_at, now + CAPACITY_POLL_S)
                )
        return taken, next_at

    def _handle_grant(
        self, requests: list[PermitRequest], grant: Grant, asked: float, answered: float
    ) -> None:
        """Answer each request, or put it back into its queue."""
        if grant.epoch != self._epoch:
            # The limiter has a new memory: perhaps another machine with another clock.
            self._epoch, self._clock_is_set, self._opened_ms = grant.epoch, False, 0.0
            self.clock.distrust()
        self.clock.observe(asked * 1000, answered * 1000, grant.now_ms)
        self.note_outage(grant.opened_ms)
        self.needs_restore = grant.needs_restore
        back: list[PermitRequest] = []
        for request, answer in zip(requests, grant.answers, strict=True):
            if request.future.done():
                continue
            if isinstance(answer, Permit):
                at = self.clock.local_ms(answer.begin_ms) / 1000
                request.future.set_result(Slice(at, answer, grant.now_ms))
                self._queue_of(request.ask).count_permit(request.ask.campaign_id)
                continue
            if not self._may_wait(answer, grant.now_ms):
                until = None if answer.until_ms is None else int(answer.until_ms)
                blocked = Blocked(answer.gate, until)
                request.future.set_result(blocked)
                if answer.gate in _PAUSE_GATES:
                    self._block_queue(request.ask, blocked)
            elif answer.gate in _RECIPIENT_GATES:
                wait_s = self._seconds_until(answer, grant.now_ms)
                asyncio.get_running_loop().call_at(answered + wait_s, self._retry, request)
            else:
                back.append(request)
                self._defer(request.ask, answer, grant.now_ms, answered)
        self._put_back(back)

    def _block_expired(self) -> None:
        """Without a limiter, answer the requests whose deadline has passed: the ledger ends their messages as expired.

        When the limiter is back they would take thousands of permits that other messages can use.
        """
        now = steady_seconds()
        for queue in self._queues.values():
            self._answer_in_turns(queue.remove_expired(now), Blocked(Gate.COLD, None))

    def _block_queue(self, ask: Ask, blocked: Blocked) -> None:
        """Answer all waiting requests that the same pause blocks, without asking the limiter for each."""
        only = ask.campaign_id if blocked.gate is Gate.CAMPAIGN_PAUSED else None
        self._answer_in_turns(self._queue_of(ask).remove(only), blocked)

    def _answer_in_turns(self, requests: list[PermitRequest], blocked: Blocked) -> None:
        loop = asyncio.get_running_loop()
        for turn, first in enumerate(range(0, len(requests), BLOCKED_PER_TURN)):
            loop.call_later(
                turn * BLOCKED_INTERVAL_S, _answer_all, requests[first : first + BLOCKED_PER_TURN], blocked
            )

    def _may_wait(self, wait: Wait, now_ms: float) -> bool:
        """Whether the wait is short enough to stay in the queue."""
        if wait.gate in _RATE_GATES:
            return True
        if wait.gate in _PAUSE_GATES or wait.until_ms is None:
            return False
        return wait.until_ms - now_ms <= MAX_WAIT_MS

    def _defer(self, ask: Ask, wait: Wait, now_ms: float, now: float) -> None:
        """Ask for this queue, or this campaign of it, no earlier than the wait says."""
        wait_s = min(self._seconds_until(wait, now_ms), 1.0)
        at = now + (wait_s if ask.kind is Kind.OTP else max(RETRY_INTERVAL_S, wait_s + RETRY_SLACK_S))
        if wait.gate is Gate.CAMPAIGN_RATE:
            self._queue_of(ask).defer_campaign(ask.campaign_id, at)
        else:
            self._queue_of(ask).defer(at)

    def _seconds_until(self, wait: Wait, now_ms: float) -> float:
        return 0.0 if wait.until_ms is None else max(0.0, (wait.until_ms - now_ms) / 1000)

    def _retry(self, request: PermitRequest) -> None:
        if not request.future.done():
            self._put_back([request])
            self._wake.set()

    def _put_back(self, requests: list[PermitRequest]) -> None:
        for request in reversed(requests):
            self._queue_of(request.ask).put_back(request)
