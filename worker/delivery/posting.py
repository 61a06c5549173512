"""From an open attempt to its answer: wait for the slice, check once more, POST.

A POST starts in its slice without a task where a connection is idle. Elsewhere a task connects first and then waits for
the slice. What missed its slice asks for another.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from bulksend.clock import steady_seconds
from bulksend.messaging import Answer, Evidence, NotSent, Remedy, Retry
from worker.delivery.dependencies import Dependencies
from worker.delivery.in_flight import InFlightMessage, Stage
from worker.delivery.settling import Settling
from worker.delivery.timer_queue import TimerQueue
from worker.permits.sender_queue import Blocked, Slot

#: The attempt is open. In ``POSTING`` the POST may have begun: see ``InFlightMessage.posted_at``.
_BEFORE_THE_POST = frozenset({Stage.OPEN, Stage.MISSED, Stage.POSTING})
_WORKER_STOPPED = NotSent("its worker stopped before the POST", Remedy(retry=Retry.FREE))


class Posting:
    """POSTs messages whose attempts are open, on one event loop."""

    def __init__(self, deps: Dependencies, settling: Settling) -> None:
        self._deps = deps
        self._in_flight = deps.in_flight
        self._settling = settling
        self._loop = asyncio.get_running_loop()
        self._timers: TimerQueue[InFlightMessage] = TimerQueue(self._start_in_slice)

    def schedule(self, message: InFlightMessage) -> None:
        """POST a message whose attempt is open in its slice."""
        message.stage = Stage.OPEN
        # With an idle connection for it and each message ahead of it, or as many connections as POSTs, it starts in its
        # slice. Else it starts to connect now, which may take long.
        vendor = self._deps.vendor
        is_connected = (
            vendor.open_connections() >= self._in_flight.capacity
            or vendor.idle_connections() > len(self._timers)
        )
        if message.slot is not None and is_connected:
            self._timers.add(message.slot.at, message)
        else:
            self._start_task(message)

    def stop(self) -> None:
        """Start no POST any more. A message whose POST has not begun is settled as not sent, and is queued again.

        Without that the end of the lease would make it unknown: its attempt is open.
        """
        self._timers.clear()
        for message in self._in_flight:
            if message.stage in _BEFORE_THE_POST and message.posted_at is None:
                if message.task is not None:
                    message.task.cancel()
                self._settling.settle(message, Answer(_WORKER_STOPPED, Evidence()), 0.0)

    def _start_in_slice(self, message: InFlightMessage) -> None:
        """The slice has come, or is over."""
        if message.stage is not Stage.OPEN:
            return
        try:
            if not self._is_usable(message):
                self._ask_again(message)
            elif self._is_late(message):
                self._deps.permits.count_missed()
                self._ask_again(message)
            elif not self._in_flight.has_capacity(message.claimed.kind):
                self._ask_again(message)
            elif not self._post_now(message):
                self._start_task(message, was_connected=True)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            if message.posted_at is not None:
                self._in_flight.post_ended(message.claimed.kind)
            self._settling.handle_bug(message, error)

    def _is_late(self, message: InFlightMessage) -> bool:
        assert message.slot is not None
        return message.slot.is_missed(self._loop.time())

    def _is_usable(self, message: InFlightMessage) -> bool:
        assert message.slot is not None
        return self._deps.permits.is_usable(message.slot)

    def _post_now(self, message: InFlightMessage) -> bool:
        """POST over an idle connection; False if there is none, or the slice is missed."""
        assert message.order is not None
        obstacle = self._last_check(message)
        if obstacle is not None:
            self._settling.settle(message, Answer(obstacle, Evidence()), 0.0)
            return True
        message.task = self._deps.vendor.send_now(
            message.order, partial(self._start_if_in_time, message), partial(self._on_answer, message)
        )
        return message.task is not None

    def _start_if_in_time(self, message: InFlightMessage) -> bool:
        """Look at the clock again right before the first byte: the process may have been off the processor."""
        if self._is_late(message) or not self._is_usable(message):
            return False
        self.note_started(message)
        return True

    def _on_answer(self, message: InFlightMessage, answer: Answer) -> None:
        self._in_flight.post_ended(message.claimed.kind)
        try:
            self._settle(message, answer, message.posted_at)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    def _start_task(self, message: InFlightMessage, *, was_connected: bool = False) -> None:
        if message.stage is Stage.OPEN:
            message.stage = Stage.POSTING
            message.task = self._loop.create_task(self._post(message, was_connected))

    async def _post(self, message: InFlightMessage, was_connected: bool) -> None:
        start = _StartInSlice(self, message, was_connected)
        asked_at = self._loop.time()
        try:
            assert message.order is not None
            try:
                answer = await self._deps.vendor.send(message.order, start)
            finally:
                if message.posted_at is not None:
                    self._in_flight.post_ended(message.claimed.kind)
            if start.obstacle is not None:
                answer = Answer(start.obstacle, Evidence())
            self._settle(message, answer, message.posted_at or asked_at)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    async def reach_slice(self, message: InFlightMessage, was_connected: bool) -> NotSent | None:
        """Wait for slice and capacity, ask again after a missed slice, and check once more; why it may not start."""
        assert message.slot is not None
        lane = message.claimed.kind
        while not (
            await self._wait_for_slice(message.slot, was_connected) and self._in_flight.has_capacity(lane)
        ):
            self._give_up_slice(message)
            answer = await self._deps.permits.acquire(self._deps.ask(message.claimed, again=True))
            if isinstance(answer, Blocked):
                return _not_sent(answer)
            self._in_flight.count_permit(message)
            message.slot, was_connected = answer, False
        return self._last_check(message)

    async def _wait_for_slice(self, slot: Slot, was_connected: bool) -> bool:
        """Wait for a slice; False if it was missed, or an outage was noticed since it was given."""
        delay = slot.at - self._loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        if not self._deps.permits.is_usable(slot):
            return False
        is_missed = slot.is_missed(self._loop.time())
        if is_missed and (was_connected or delay > 0):
            self._deps.permits.count_missed()
        return not is_missed

    def note_started(self, message: InFlightMessage) -> None:
        """A POST starts: from here on a kill makes it unknown."""
        message.stage = Stage.POSTING
        message.posted_at = self._loop.time()
        self._deps.totals.posted += 1
        self._in_flight.post_started(message.claimed.kind)
        self._deps.recorder.begin_post(message.opening.attempt_id)

    def _last_check(self, message: InFlightMessage) -> NotSent | None:
        """Why the POST may not start at the instant before it, if so."""
        if self._deps.lease.id != message.lease:
            return NotSent("the worker's lease was lost before the POST", Remedy(retry=Retry.FREE))
        if message.deadline is not None and steady_seconds() >= message.deadline:
            return NotSent("its time to live passed before the POST", Remedy(retry=Retry.BACKOFF))
        if message.quiet_at is not None and steady_seconds() >= message.quiet_at:
            # The next claim finds when they end.
            return NotSent("quiet hours began before the POST", Remedy(retry=Retry.FREE))
        return None

    def _settle(self, message: InFlightMessage, answer: Answer, started_at: float | None) -> None:
        answered_at = self._loop.time()
        self._in_flight.answer_rate.note(answered_at)
        self._settling.settle(message, answer, (answered_at - (started_at or answered_at)) * 1000)

    def _ask_again(self, message: InFlightMessage) -> None:
        """Ask for another slice: the permit queue answers to ``on_other_slice``."""
        self._give_up_slice(message)
        message.stage = Stage.MISSED
        ask = self._deps.ask(message.claimed, again=True)
        self._deps.permits.submit(ask, message, message.deadline)

    def _give_up_slice(self, message: InFlightMessage) -> None:
        self._deps.totals.missed_slices += 1
        self._in_flight.lose_permit(message)
        self._settling.end_probe(message)

    def on_other_slice(self, message: InFlightMessage, answer: Slot | Blocked) -> None:
        """The answer to a request for another slice."""
        try:
            if isinstance(answer, Blocked):
                self._settling.settle(message, Answer(_not_sent(answer), Evidence()), 0.0)
                return
            self._in_flight.count_permit(message)
            message.slot = answer
            self.schedule(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)


@dataclass(slots=True)
class _StartInSlice:
    """Starts a POST whose connection is up: bulksend.gateway.StartSignal."""

    posting: Posting
    message: InFlightMessage
    was_connected: bool
    obstacle: NotSent | None = None
    """Why ``wait`` did not allow the POST."""

    async def wait(self) -> bool:
        """Wait for the slice and check once more; False if the POST may not start."""
        self.obstacle = await self.posting.reach_slice(self.message, self.was_connected)
        return self.obstacle is None

    def begin(self) -> None:
        """Called right before the first byte."""
        self.posting.note_started(self.message)


def _not_sent(blocked: Blocked) -> NotSent:
    return NotSent(f"held by {blocked.gate.value} before the POST", Remedy(retry=Retry.FREE))
