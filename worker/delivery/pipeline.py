"""The stages of a message in flight: render, permit, write-ahead, slice, POST, decision, settlement.

Read ``DeliveryPipeline`` from ``start`` on: each stage ends by passing the message to the next one; the last two are
``Posting`` and ``Settling``. Permits, write-aheads and results travel in batches; each message of a batch goes on by a
plain call. Only a POST may be a task of its own: a task for each stage costs as much as the stage.
"""

from __future__ import annotations

import asyncio
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
from bulksend.messaging import MessageType
from worker.delivery.dependencies import Dependencies
from worker.delivery.in_flight import InFlightMessage, Stage
from worker.delivery.posting import Posting
from worker.delivery.quiet_gate import NeverOpen, QuietGate
from worker.delivery.settling import RETRY_S, Settling
from worker.permits.sender_queue import Blocked, Slot
from worker.session.campaign_cache import CannotRender

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

log = structlog.get_logger(__name__)


class DeliveryPipeline:
    """Takes messages through their stages, on one event loop."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._in_flight = deps.in_flight
        self._loop = asyncio.get_running_loop()
        self._settling = Settling(deps)
        self._posting = Posting(deps, self._settling)

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

    def go_first(self, id: str) -> bool:
        """Let a message be the next of its campaign that gets a permit; False where it is not in flight."""
        message = self._in_flight.get(id)
        if message is not None and message.stage is Stage.WAITING:
            self._deps.permits.move_to_front(self._deps.ask(message.claimed), message)
        return message is not None

    def lose_lease(self) -> None:
        """Remove all messages without an attempt: other workers may claim them now."""
        self._settling.remove_waiting()

    async def stop(self, seconds: float) -> None:
        """Remove messages without a permit, wait at most this long for the others, then cancel them.

        A cancelled POST becomes unknown when the lease ends; a message whose POST has not begun, as without a limiter,
        is queued again. Results that the ledger did not take stay in ``in_flight.unsettled``.
        """
        self._settling.remove_waiting()
        await wait_until(self._in_flight.empty, self._loop.time() + seconds)
        self._posting.stop()
        await self._settling.stop()

    def _render(self, claimed: Claimed) -> str:
        """The vendor's Content. The recorder notes it meanwhile, since it may kill the process. Raises CannotRender."""
        self._deps.recorder.begin_render(claimed.id)
        try:
            reach("rendering", claimed.id)
            return self._deps.campaign_cache.render(claimed)
        finally:
            self._deps.recorder.end_render()

    async def _fail(self, message: InFlightMessage, why: str) -> None:
        id = message.claimed.id
        self._in_flight.unopened.discard(id)
        await self._deps.fail([(id, why)], message.lease)
        self._settling.remove(message)

    def _on_permit(self, message: InFlightMessage, answer: Slot | Blocked) -> None:
        """The message has its slice, or a gate blocks it and it goes back to the ledger."""
        claimed = message.claimed
        if message.stage is Stage.MISSED:
            self._posting.on_other_slice(message, answer)
            return
        if isinstance(answer, Blocked):
            self._hold(message, answer.gate, answer.until_ms)
            return
        try:
            message.slot = answer
            if message.quiet_at is not None and self._became_quiet(message, message.quiet_at):
                return
            message.stage = Stage.OPENING
            self._in_flight.count_permit(message)
            reach("permitted", claimed.id)
            self._in_flight.unopened.discard(claimed.id)
            self._open(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)

    def _became_quiet(self, message: InFlightMessage, quiet_at: float) -> bool:
        """Whether quiet hours have begun while it waited for its slice, which is left unused."""
        if steady_seconds() < quiet_at or self._deps.quiet is None:
            return False
        return self._is_quiet(message, self._deps.quiet)

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
            log.warning("not_opened", message=opening.message.id, error=type(opened).__name__)
            if self._deps.lease.id == message.lease:
                self._loop.call_later(RETRY_S, self._open, message)
                return
            opened = False
        if not opened:
            self._settling.remove(message)
            return
        try:
            self._posting.schedule(message)
        except Exception as error:  # noqa: BLE001 - see Settling.handle_bug
            self._settling.handle_bug(message, error)
