"""How a message leaves the in-flight table: its answer is decided and settled, it is given back, or a bug ends it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from bulksend.batcher import Batcher
from bulksend.ledger.driver_errors import log_text
from bulksend.ledger.release import Release
from bulksend.ledger.settle import Settlement, outcome_name
from bulksend.logs import Reminders
from bulksend.messaging import (
    Accepted,
    Answer,
    AttemptedMessage,
    Evidence,
    Kind,
    Status,
    Unknown,
    decide,
)
from worker.delivery.dependencies import Dependencies
from worker.delivery.in_flight import InFlightMessage, Stage

log = structlog.get_logger(__name__)

Item = TypeVar("Item")

#: A message is due again this long after a bug: it would fail the same way at once.
_AFTER_A_BUG_MS = 30_000
#: What the ledger did not take is offered again after this long.
RETRY_S = 0.5


class Settling:
    """Ends the delivery of messages, on one event loop.

    A result that the ledger does not take is offered again until ``stop``; after that it is in ``in_flight.unsettled``.
    """

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._in_flight = deps.in_flight
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopped = False
        self._reminders = Reminders()

    def settle(self, message: InFlightMessage, answer: Answer, latency_ms: float) -> None:
        """Decide what follows from an answer, and write it to the ledger."""
        claimed = message.claimed
        attempted = AttemptedMessage(
            kind=claimed.kind,
            tries=claimed.tries,
            waits=claimed.waits,
            expires_at_ms=claimed.expires_at,
            on_unknown=self._deps.campaign_cache.campaign(claimed.campaign_id).on_unknown,
        )
        now_ms = self._deps.lease.now_ms()
        decision = decide(answer.outcome, attempted, self._deps.policy, now_ms, self._deps.dice())
        self._deps.totals.accepted += isinstance(answer.outcome, Accepted)
        self._count(message, answer, decision.status, latency_ms, now_ms)
        attempt_id = message.opening.attempt_id
        settlement = Settlement(
            message=claimed.id,
            attempt_id=attempt_id,
            outcome=answer.outcome,
            evidence=answer.evidence,
            latency_ms=round(latency_ms, 2),
            status=decision.status,
            due_at=decision.due_at_ms,
            tries=decision.tries,
            waits=decision.waits,
            error=decision.error,
            payload=claimed.payload if claimed.kind is Kind.OTP else None,
        )
        self._in_flight.unsettled[attempt_id] = settlement
        message.stage = Stage.ANSWERED
        self.end_probe(message)
        pauses = self._deps.effects.note(claimed, decision)
        if not pauses and decision.suppress is None:
            self._write(settlement)
            return

        async def apply_effects() -> None:
            # Pauses first: a message that goes back to the queue because of one must find it in force.
            await self._deps.effects.apply(claimed, answer, decision, pauses)
            self._write(settlement)

        self.spawn(message, apply_effects())

    def _count(
        self, message: InFlightMessage, answer: Answer, status: Status, latency_ms: float, now_ms: float
    ) -> None:
        claimed, evidence, metrics = message.claimed, answer.evidence, self._deps.metrics
        metrics.count_settled(claimed.kind, status)
        if message.posted_at is None:
            return
        code = evidence.ret_code if evidence.whatsapp_code is None else evidence.whatsapp_code
        outcome = outcome_name(answer.outcome)
        metrics.count_attempt(claimed.sender, outcome, code, latency_ms / 1000)
        if self._deps.tracing is not None:
            attributes = {
                "bulksend.kind": claimed.kind.value,
                "bulksend.outcome": outcome,
                "bulksend.code": code or 0,
            }
            self._deps.tracing.record("post", latency_ms / 1000, attributes, linked=message.batch)
        if not claimed.attempts:
            metrics.note_queue_wait(claimed.kind, (now_ms - latency_ms - claimed.due_at) / 1000)

    def _write(self, settlement: Settlement) -> None:
        self._offer(self._deps.settler, settlement, self._on_settled)

    def _on_settled(self, settlement: Settlement) -> None:
        self._in_flight.unsettled.pop(settlement.attempt_id, None)
        self._deps.recorder.end_post(settlement.attempt_id)
        message = self._in_flight.get(settlement.message)
        if message is not None and message.opening.attempt_id == settlement.attempt_id:
            self.remove(message)

    def _offer(self, batcher: Batcher[Item, None], item: Item, taken: Callable[[Item], None]) -> None:
        """Offer an item until the ledger takes it, or until ``stop``."""
        if not self._is_stopped:
            batcher.submit(item, partial(self._on_offered, batcher, taken))

    def _on_offered(
        self,
        batcher: Batcher[Item, None],
        taken: Callable[[Item], None],
        item: Item,
        result: Exception | None,
    ) -> None:
        if isinstance(result, Exception):
            what, error = type(item).__name__, type(result).__name__
            if self._reminders.is_due(what, error):
                log.warning("not_written", what=what, error=error)
            self._loop.call_later(RETRY_S, self._offer, batcher, item, taken)
        else:
            self._reminders.clear(type(item).__name__)
            taken(item)

    def end_probe(self, message: InFlightMessage) -> None:
        """Tell the limiter that a probe's permit will not be used any more, if the message has one."""
        if message.slice is not None and message.slice.permit.probe:
            message.slice = replace(message.slice, permit=replace(message.slice.permit, probe=False))
            self._deps.effects.end_probe()

    def remove(self, message: InFlightMessage) -> None:
        """Remove a message from the in-flight table."""
        self.end_probe(message)
        self._in_flight.remove(message)
        self._deps.on_removed(message.claimed.kind)

    def remove_waiting(self) -> None:
        """Remove every message without a permit: its lease is lost, or ends and returns all of them at once."""
        for message in self._in_flight:
            if message.stage is Stage.WAITING:
                self.remove(message)

    def give_back(self, message: InFlightMessage, release: Release) -> None:
        """Give a message without an attempt back to the ledger, then remove it."""
        self._deps.totals.given_back += 1
        self._offer(self._deps.releaser, release, lambda _: self.remove(message))

    def handle_bug(self, message: InFlightMessage, error: Exception) -> None:
        """An unexpected exception ends the delivery of its message only, and does not keep the message claimed."""
        log.error("delivery_bug", message=message.claimed.id, error=log_text(error), at=_frames(error))
        if message.stage is not Stage.REMOVED:
            message.stage = Stage.ANSWERED
            self._recover(message)

    def _recover(self, message: InFlightMessage) -> None:
        """An open attempt without a result becomes unknown; a message without an attempt is given back.

        The ledger ignores the one of the two that does not apply: a settlement without an open attempt, a release of a
        message that is not claimed.
        """
        claimed, attempt_id = message.claimed, message.opening.attempt_id
        why = "the worker failed while it was being sent; its log says where"
        unknown = Settlement(
            message=claimed.id,
            attempt_id=attempt_id,
            outcome=Unknown(why),
            evidence=Evidence(error="a bug"),
            latency_ms=None,
            status=Status.UNKNOWN,
            due_at=None,
            tries=claimed.tries,
            waits=claimed.waits,
            error=why,
        )
        self._write(self._in_flight.unsettled.get(attempt_id, unknown))
        due_at = self._deps.lease.now_ms() + _AFTER_A_BUG_MS
        self.give_back(message, Release(claimed.id, due_at, None, None))

    def spawn(self, message: InFlightMessage, work: Coroutine[Any, Any, None]) -> None:
        """Run work for one message that has to wait for something, as a task; an exception in it is a bug."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - see handle_bug
                self.handle_bug(message, error)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel every POST and task that is still running, and empty the in-flight table."""
        self._is_stopped = True
        tasks = [message.task for message in self._in_flight if message.task is not None] + list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        for message in self._in_flight:
            self._in_flight.remove(message)


def _frames(error: Exception) -> list[str]:
    """Where an exception was raised. Not its text, which may hold private data."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return [f"{frame.name}:{frame.lineno}" for frame in frames]
