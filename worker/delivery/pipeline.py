"""The stages of a message in flight: render, permit, write-ahead, slice, POST, decision, settlement.

Read ``DeliveryPipeline`` from ``start`` on: each stage ends by passing the message to the next one; the last is
``Settling``. Permits, write-aheads and results travel in batches; each message of a batch goes on by a plain call. No
stage is a task: that costs as much as the stage.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import structlog

from bulksend.clock import steady_seconds, wait_until
from bulksend.failpoints import reach
from bulksend.gateway import SendOrder
from bulksend.ledger.claim import Claimed
from bulksend.ledger.ids import new_id
from bulksend.ledger.release import Release
from bulksend.ledger.write_ahead import Opening
from bulksend.limits import Gate
from bulksend.logs import Reminders
from bulksend.messaging import Answer, Evidence, MessageType, NotSent, Remedy, Retry
from worker.delivery.connections import Connections
from worker.delivery.dependencies import Dependencies
from worker.delivery.in_flight import InFlightMessage, Stage
from worker.delivery.quiet_gate import NeverOpen, QuietGate
from worker.delivery.settling import RETRY_S, Settling
from worker.delivery.timer_queue import TimerQueue
from worker.permits.sender_queue import Blocked, Slice
from worker.session.campaign_cache import CannotRender

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

log = structlog.get_logger(__name__)

#: The attempt is open and the POST has not begun.
_BEFORE_THE_POST = frozenset({Stage.OPEN, Stage.MISSED})
#: A limit holds for this long.
_SECOND_S = 1.0
_LEASE_LOST = "the worker's lease was lost before the POST"
_WORKER_STOPPED = NotSent("its worker stopped before the POST", Remedy(retry=Retry.FREE))
_CONNECTIONS_END = Answer(
    NotSent("the vendor ends each connection before the POST", Remedy(retry=Retry.BACKOFF, breaker=True)),
    Evidence(),
)


class DeliveryPipeline:
    """Takes messages through their stages, on one event loop."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._in_flight = deps.in_flight
        self._loop = asyncio.get_running_loop()
        self._reminders = Reminders()
        self._settling = Settling(deps)
        self._slices: TimerQueue[InFlightMessage] = TimerQueue(self._on_slice)
        self._connections = Connections(
            deps.vendor,
            waiting=self._slices.__len__,
            on_connected=self._ask_again,
            on_failed=self._on_connect_failed,
        )
        self._begun_late: list[tuple[str, float]] = []
        """POSTs whose slices were over when they began: the sender, and the end of the second after it."""

    # -- render and permit ----------------------------------------------------------------------------------------

    def start(self, claimed: Claimed, lease: str, asked: float, batch: SpanContext | None = None) -> None:
        """A message was claimed under ``lease``; the claim was asked for at ``asked`` (``steady_seconds``).

        ``batch`` is the trace of the claim.
        """
        deadline = None if claimed.left_ms is None else asked + claimed.left_ms / 1000
        message = InFlightMessage(Opening(claimed, new_id()), lease, deadline, self._on_permit, batch=batch)
        self._in_flight.add(message)
        try:
            if self._deps.quiet is not None and self._is_quiet(message, self._deps.quiet):
                return
            content = self._render(claimed)
            type = MessageType(claimed.type)
            message.order = SendOrder(claimed.sender, claimed.recipient, type, content, claimed.kind)
            self._deps.permits.submit(self._deps.ask(claimed), message, deadline)
        except CannotRender as error:
            self._settling.spawn(message, self._fail(message, f"cannot be rendered: {error}"))
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    def _is_quiet(self, message: InFlightMessage, gate: QuietGate) -> bool:
        """Whether quiet hours hold it: it goes back to the ledger until they end. Else notes when the next begin."""
        claimed, now_ms = message.claimed, self._deps.lease.now_ms()
        try:
            open_hours = gate.open_hours(claimed, now_ms)
        except NeverOpen as error:
            self._settling.spawn(message, self._fail(message, str(error)))
            return True
        if open_hours is None:
            return False
        if open_hours.begin > now_ms:
            self._hold(message, Gate.QUIET_HOURS, open_hours.begin)
            return True
        if open_hours.until is not None:
            message.quiet_at = steady_seconds() + (open_hours.until - now_ms) / 1000
        return False

    def _hold(self, message: InFlightMessage, gate: Gate, until_ms: int | None) -> None:
        """A gate holds it: it goes back to the ledger until then."""
        release = Release(message.claimed.id, until_ms or 0, gate.value, until_ms)
        self._deps.metrics.count_wait(gate)
        self._settling.give_back(message, release)

    def _render(self, claimed: Claimed) -> str:
        """The vendor's Content. The recorder notes it meanwhile, since it may kill the process. Raises CannotRender."""
        self._deps.recorder.begin_render(claimed.id)
        try:
            reach("rendering", claimed.id)
            return self._deps.campaign_cache.render(claimed)
        finally:
            self._deps.recorder.end_render()

    async def _fail(self, message: InFlightMessage, why: str) -> None:
        await self._deps.fail([(message.claimed.id, why)], message.lease)
        self._settling.remove(message)

    def _on_permit(self, message: InFlightMessage, answer: Slice | Blocked) -> None:
        """The message has its slice, or a gate blocks it and it goes back to the ledger."""
        claimed = message.claimed
        if message.stage is Stage.MISSED:
            self._on_other_slice(message, answer)
            return
        if isinstance(answer, Blocked):
            self._hold(message, answer.gate, answer.until_ms)
            return
        try:
            message.slice = answer
            if message.quiet_at is not None and self._became_quiet(message, message.quiet_at):
                return
            message.stage = Stage.OPENING
            self._in_flight.count_permit(message)
            reach("permitted", claimed.id)
            self._open(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    def _became_quiet(self, message: InFlightMessage, quiet_at: float) -> bool:
        """Whether quiet hours have begun while it waited for its slice, which is left unused."""
        if steady_seconds() < quiet_at or self._deps.quiet is None:
            return False
        return self._is_quiet(message, self._deps.quiet)

    # -- write-ahead and slice ------------------------------------------------------------------------------------

    def _open(self, message: InFlightMessage) -> None:
        if message.stage is Stage.OPENING:
            self._deps.openers[message.claimed.kind].submit(message.opening, self._on_opened)

    def _on_opened(self, opening: Opening, opened: bool | Exception) -> None:
        """The attempt is committed as open and may be POSTed; or the ledger refused it, or did not answer."""
        message = self._in_flight.get(opening.message.id)
        if message is None or message.opening is not opening:
            return
        if isinstance(opened, Exception):
            # Without a write-ahead no POST: try again while the lease holds.
            if self._reminders.is_due("not_opened", type(opened).__name__):
                log.warning("not_opened", message=opening.message.id, error=type(opened).__name__)
            if self._deps.lease.id == message.lease:
                self._loop.call_later(RETRY_S, self._open, message)
                return
            opened = False
        else:
            self._reminders.clear("not_opened")
        if not opened:
            self._settling.remove(message)
            return
        try:
            self._schedule(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    def _schedule(self, message: InFlightMessage) -> None:
        """POST it in its slice, over a connection that is up by then."""
        assert message.slice is not None
        message.stage = Stage.OPEN
        self._slices.add(message.slice.at, message)
        self._connections.open_ahead()

    def _on_connect_failed(self, message: InFlightMessage | None, answer: Answer) -> None:
        """The answer to a message that waits: it had no connection in its slice, or is the next to start."""
        message = message or self._slices.pop()
        if message is not None and message.stage is Stage.OPEN:
            self._answer(message, answer)

    def _on_slice(self, message: InFlightMessage) -> None:
        """The slice has come, or is over."""
        if message.stage is not Stage.OPEN:
            return
        try:
            if self._is_late(message):
                self._deps.permits.count_missed()
                self._ask_again(message)
            elif (
                not self._is_usable(message)
                or not self._in_flight.has_capacity(message.claimed.kind)
                or self._makes_up(message)
            ):
                self._ask_again(message)
            else:
                self._post(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            if message.posted_at is not None:
                self._in_flight.post_ended(message.claimed.kind)
            self._settling.handle_bug(message, error)

    # -- POST and answer ------------------------------------------------------------------------------------------

    def _post(self, message: InFlightMessage) -> None:
        assert message.order is not None
        posted = self._deps.vendor.post(
            message.order, partial(self._begin, message), partial(self._on_answer, message)
        )
        if isinstance(posted, Answer):
            self._answer(message, posted)
        elif posted is not None:
            message.task = posted
            self._look_back(message)
        else:
            self._on_not_begun(message)

    def _look_back(self, message: InFlightMessage) -> None:
        """See whether the process was off the processor between the last look and the first byte."""
        if self._is_late(message):
            self._begun_late.append((message.claimed.sender, self._loop.time() + _SECOND_S))

    def _makes_up(self, message: InFlightMessage) -> bool:
        """Whether its slice stays unused: the first of its sender in the second after a POST that began too late."""
        if not self._begun_late:
            return False
        now = self._loop.time()
        self._begun_late = [late for late in self._begun_late if late[1] > now]
        late = next((late for late in self._begun_late if late[0] == message.claimed.sender), None)
        if late is not None:
            self._begun_late.remove(late)
        return late is not None

    def _on_not_begun(self, message: InFlightMessage) -> None:
        obstacle = self._last_check(message)
        if obstacle is not None:
            self._settling.settle(message, Answer(obstacle, Evidence()), 0.0)
        elif self._deps.vendor.idle_connections():
            # It became late at the last moment, or its connection is not ready.
            self._ask_again(message)
        elif self._in_flight.posting == 0 and self._connections.end_at_once():
            self._answer(message, _CONNECTIONS_END)
        else:
            self._connections.wait_for_one(message)

    def _last_check(self, message: InFlightMessage) -> NotSent | None:
        """Why the POST may not start at the instant before it, if so."""
        if self._deps.lease.id != message.lease:
            return NotSent(_LEASE_LOST, Remedy(retry=Retry.FREE))
        if message.deadline is not None and steady_seconds() >= message.deadline:
            return NotSent("its time to live passed before the POST", Remedy(retry=Retry.BACKOFF))
        if message.quiet_at is not None and steady_seconds() >= message.quiet_at:
            # The next claim finds when they end.
            return NotSent("quiet hours began before the POST", Remedy(retry=Retry.FREE))
        return None

    def _begin(self, message: InFlightMessage) -> bool:
        """Look at everything right before the first byte: the process may have been off the processor."""
        if self._last_check(message) is not None or self._is_late(message) or not self._is_usable(message):
            return False
        # From here on a kill makes it unknown.
        message.stage = Stage.POSTING
        message.posted_at = self._loop.time()
        self._connections.was_used()
        self._deps.totals.posted += 1
        self._in_flight.post_started(message.claimed.kind)
        self._deps.recorder.begin_post(message.opening.attempt_id)
        return True

    def _on_answer(self, message: InFlightMessage, answer: Answer) -> None:
        self._in_flight.post_ended(message.claimed.kind)
        self._answer(message, answer)
        self._connections.became_idle()

    def _answer(self, message: InFlightMessage, answer: Answer) -> None:
        """Settle what the vendor, or the network, answered."""
        answered_at = self._loop.time()
        self._in_flight.answer_rate.note(answered_at)
        try:
            self._settling.settle(message, answer, (answered_at - (message.posted_at or answered_at)) * 1000)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    def _is_late(self, message: InFlightMessage) -> bool:
        assert message.slice is not None
        return message.slice.is_missed(self._loop.time())

    def _is_usable(self, message: InFlightMessage) -> bool:
        assert message.slice is not None
        return self._deps.permits.is_usable(message.slice)

    # -- another slice --------------------------------------------------------------------------------------------

    def _ask_again(self, message: InFlightMessage) -> None:
        """Ask for another slice: the permit queue answers to ``_on_permit``."""
        if message.stage is not Stage.OPEN:
            return
        self._deps.totals.missed_slices += 1
        self._in_flight.lose_permit(message)
        self._settling.end_probe(message)
        message.stage = Stage.MISSED
        self._deps.permits.submit(self._deps.ask(message.claimed, again=True), message, message.deadline)

    def _on_other_slice(self, message: InFlightMessage, answer: Slice | Blocked) -> None:
        """The answer to a request for another slice."""
        try:
            if isinstance(answer, Blocked):
                held = NotSent(f"held by {answer.gate.value} before the POST", Remedy(retry=Retry.FREE))
                self._settling.settle(message, Answer(held, Evidence()), 0.0)
                return
            self._in_flight.count_permit(message)
            message.slice = answer
            self._schedule(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    # -- what is asked from outside -------------------------------------------------------------------------------

    def go_first(self, id: str) -> bool:
        """Let a message be the next of its campaign that gets a permit; False where it is not in flight."""
        message = self._in_flight.get(id)
        if message is not None and message.stage is Stage.WAITING:
            self._deps.permits.move_to_front(self._deps.ask(message.claimed), message)
        return message is not None

    def lose_lease(self) -> None:
        """Remove all messages without an attempt: other workers may claim them now.

        Those whose POST has not begun are settled as not sent: their attempts are open, so a rescue takes them for
        unknown, and without a limiter they would wait for a slice that they may not use.
        """
        self._settling.remove_waiting()
        self._settle_before_the_post(NotSent(_LEASE_LOST, Remedy(retry=Retry.FREE)))

    async def stop(self, seconds: float) -> None:
        """Remove messages without a permit, wait at most this long for the others, then cancel them.

        A cancelled POST becomes unknown when the lease ends; a message whose POST has not begun, as without a limiter,
        is queued again. Results that the ledger did not take stay in ``in_flight.unsettled``.
        """
        self._settling.remove_waiting()
        await wait_until(self._in_flight.empty, self._loop.time() + seconds)
        self._stop_before_the_post()
        await self._settling.stop()

    def _stop_before_the_post(self) -> None:
        """Start no POST any more. A message whose POST has not begun is settled as not sent, and is queued again.

        Without that the end of the lease would make it unknown: its attempt is open.
        """
        self._slices.clear()
        self._connections.stop()
        self._settle_before_the_post(_WORKER_STOPPED)

    def _settle_before_the_post(self, why: NotSent) -> None:
        for message in self._in_flight:
            if message.stage in _BEFORE_THE_POST:
                self._settling.settle(message, Answer(why, Evidence()), 0.0)
