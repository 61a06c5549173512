"""From an open attempt to its answer: have a connection, wait for the slice, check once more, POST.

A POST needs no task and no time of its own: the request is written in the slice, over a connection that is up by then.
What has no connection waits for one, and what missed its slice asks for another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import cast

from bulksend.clock import steady_seconds
from bulksend.messaging import Answer, Evidence, NotSent, Remedy, Retry
from worker.delivery.dependencies import Dependencies
from worker.delivery.in_flight import InFlightMessage, Stage
from worker.delivery.settling import Settling
from worker.delivery.timer_queue import TimerQueue
from worker.permits.sender_queue import Blocked, Slot

#: The attempt is open and the POST has not begun.
_BEFORE_THE_POST = frozenset({Stage.OPEN, Stage.MISSED})
_WORKER_STOPPED = NotSent("its worker stopped before the POST", Remedy(retry=Retry.FREE))


class Posting:
    """POSTs messages whose attempts are open, on one event loop."""

    def __init__(self, deps: Dependencies, settling: Settling) -> None:
        self._deps = deps
        self._vendor = deps.vendor
        self._in_flight = deps.in_flight
        self._settling = settling
        self._loop = asyncio.get_running_loop()
        self._slices: TimerQueue[InFlightMessage] = TimerQueue(self._start)
        self._unconnected: deque[InFlightMessage] = deque()
        """Messages that had no connection in their slice."""
        self._connecting: set[asyncio.Task[None]] = set()

    def schedule(self, message: InFlightMessage) -> None:
        """POST a message whose attempt is open in its slice."""
        assert message.slot is not None
        message.stage = Stage.OPEN
        self._slices.add(message.slot.at, message)
        self._connect_ahead()

    def stop(self) -> None:
        """Start no POST any more. A message whose POST has not begun is settled as not sent, and is queued again.

        Without that the end of the lease would make it unknown: its attempt is open.
        """
        self._slices.clear()
        for connecting in self._connecting:
            connecting.cancel()
        for message in self._in_flight:
            if message.stage in _BEFORE_THE_POST:
                self._settling.settle(message, Answer(_WORKER_STOPPED, Evidence()), 0.0)

    # -- connections --------------------------------------------------------------------------------------------------

    def _connect_ahead(self) -> None:
        """Open connections for what waits for its slice or for a connection."""
        waiting = len(self._slices) + len(self._unconnected)
        wanted = waiting - self._vendor.idle_connections() - len(self._connecting)
        for _ in range(min(wanted, self._vendor.connections_left())):
            connecting = self._loop.create_task(self._connect())
            self._connecting.add(connecting)
            connecting.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        """A failure is the answer to one message that waits: the first that had no connection, or the next to start."""
        failed = await self._vendor.connect()
        self._connecting.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if failed is not None:
            message = self._unconnected.popleft() if self._unconnected else self._slices.pop()
            if message is not None and message.stage is Stage.OPEN:
                self._answer(message, failed)
        self._serve_unconnected()

    def _serve_unconnected(self) -> None:
        """A connection may have become idle."""
        if not self._unconnected:
            return
        if self._vendor.idle_connections():
            message = self._unconnected.popleft()
            if message.stage is Stage.OPEN:
                self._ask_again(message)
        else:
            self._connect_ahead()

    # -- the POST -----------------------------------------------------------------------------------------------------

    def _start(self, message: InFlightMessage) -> None:
        """The slice has come, or is over."""
        if message.stage is not Stage.OPEN:
            return
        try:
            if self._is_late(message):
                self._deps.permits.count_missed()
                self._ask_again(message)
            elif not self._is_usable(message) or not self._in_flight.has_capacity(message.claimed.kind):
                self._ask_again(message)
            else:
                self._post(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            if message.posted_at is not None:
                self._in_flight.post_ended(message.claimed.kind)
            self._settling.handle_bug(message, error)

    def _post(self, message: InFlightMessage) -> None:
        assert message.order is not None
        obstacle = self._last_check(message)
        if obstacle is not None:
            self._settling.settle(message, Answer(obstacle, Evidence()), 0.0)
            return
        posted = self._vendor.post(
            message.order, partial(self._begin, message), partial(self._on_answer, message)
        )
        if isinstance(posted, Answer):
            self._answer(message, posted)
        elif posted is not None:
            message.task = posted
        elif (
            self._vendor.idle_connections()
        ):  # it became late at the last moment, or its connection is not ready
            self._ask_again(message)
        else:
            self._unconnected.append(message)
            self._connect_ahead()

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

    def _begin(self, message: InFlightMessage) -> bool:
        """Look at the clock again right before the first byte: the process may have been off the processor."""
        if self._is_late(message) or not self._is_usable(message):
            return False
        # From here on a kill makes it unknown.
        message.stage = Stage.POSTING
        message.posted_at = self._loop.time()
        self._deps.totals.posted += 1
        self._in_flight.post_started(message.claimed.kind)
        self._deps.recorder.begin_post(message.opening.attempt_id)
        return True

    def _on_answer(self, message: InFlightMessage, answer: Answer) -> None:
        self._in_flight.post_ended(message.claimed.kind)
        self._answer(message, answer)
        self._serve_unconnected()

    def _answer(self, message: InFlightMessage, answer: Answer) -> None:
        """Settle what the vendor, or the network, answered."""
        answered_at = self._loop.time()
        self._in_flight.answer_rate.note(answered_at)
        try:
            self._settling.settle(message, answer, (answered_at - (message.posted_at or answered_at)) * 1000)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    def _is_late(self, message: InFlightMessage) -> bool:
        assert message.slot is not None
        return message.slot.is_missed(self._loop.time())

    def _is_usable(self, message: InFlightMessage) -> bool:
        assert message.slot is not None
        return self._deps.permits.is_usable(message.slot)

    # -- another slice ------------------------------------------------------------------------------------------------

    def _ask_again(self, message: InFlightMessage) -> None:
        """Ask for another slice: the permit queue answers to ``on_other_slice``."""
        self._deps.totals.missed_slices += 1
        self._in_flight.lose_permit(message)
        self._settling.end_probe(message)
        message.stage = Stage.MISSED
        self._deps.permits.submit(self._deps.ask(message.claimed, again=True), message, message.deadline)

    def on_other_slice(self, message: InFlightMessage, answer: Slot | Blocked) -> None:
        """The answer to a request for another slice."""
        try:
            if isinstance(answer, Blocked):
                held = NotSent(f"held by {answer.gate.value} before the POST", Remedy(retry=Retry.FREE))
                self._settling.settle(message, Answer(held, Evidence()), 0.0)
                return
            self._in_flight.count_permit(message)
            message.slot = answer
            self.schedule(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)
