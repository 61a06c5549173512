"""Permits while Redis is away: each worker goes on with its share of the limits, never without limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import redis
import structlog

from bulksend.limits.in_redis import RedisPermits
from bulksend.limits.memory import MemoryPermits
from bulksend.limits.words import Ask, Gate, Grant, Permit, Wait
from bulksend.messaging.outcome import Scope

log = structlog.get_logger(__name__)

RETRY_MS = 1000.0


class FallbackPermits:
    """Redis while it answers; else memory, with one part of as many as there were workers at the last answer.

    Memory begins cold each time Redis goes, so slots that were had from Redis and those of memory never meet in
    one second. A sender with a quota waits: whom it has written to is not known here. ``clock_ms`` must be near
    Redis's clock, by which the slots of both are given.
    """

    def __init__(self, primary: RedisPermits, memory: MemoryPermits, clock_ms: Callable[[], float]) -> None:
        self._primary = primary
        self._memory = memory
        self._clock_ms = clock_ms
        self._workers = 1
        self._skew_ms = 0.0
        self._away = False
        self._next_try_ms = float("-inf")
        self._pauses: set[tuple[Scope, str]] = set()
        self._lock = threading.Lock()

    def ask(self, asks: Sequence[Ask], *, lead_ms: float) -> Grant:
        """See Permits."""
        if not self._away or self._clock_ms() >= self._next_try_ms:
            try:
                grant = self._primary.ask(asks, lead_ms=lead_ms)
            except redis.RedisError as error:
                self._went_away(error)
            else:
                self._came_back(grant)
                return grant
        return self._from_memory(asks, lead_ms)

    def _went_away(self, error: redis.RedisError) -> None:
        with self._lock:
            self._next_try_ms = self._clock_ms() + RETRY_MS
            if self._away:
                return
            self._away = True
            self._memory.forget()
            self._memory.share = 1.0 / max(1, self._workers)
            self._memory.restore(pauses=self._pauses, recent={})
        log.warning("limiter_away", error=type(error).__name__, share=round(self._memory.share, 3))

    def _came_back(self, grant: Grant) -> None:
        with self._lock:
            self._workers = grant.workers
            self._skew_ms = grant.now_ms - self._clock_ms()
            if self._away:
                self._away = False
                log.warning("limiter_back")

    def _from_memory(self, asks: Sequence[Ask], lead_ms: float) -> Grant:
        """Slots by our own clock, told on Redis's as it was last known."""
        limited = [ask for ask in asks if ask.sender_limits.quota is None]
        grant = self._memory.ask(limited, lead_ms=lead_ms)
        given = iter(grant.answers)
        answers = tuple(
            self._shifted(next(given))
            if ask.sender_limits.quota is None
            else Wait(Gate.COLD, grant.now_ms + RETRY_MS + self._skew_ms)
            for ask in asks
        )
        return Grant(answers, grant.now_ms + self._skew_ms, self._workers)

    def _shifted(self, answer: Permit | Wait) -> Permit | Wait:
        if isinstance(answer, Permit):
            return Permit(answer.slot_ms + self._skew_ms)
        until = None if answer.until_ms is None else answer.until_ms + self._skew_ms
        return Wait(answer.gate, until)

    def report(self, *, slow: Iterable[tuple[Scope, str]] = (), outages: int = 0, successes: int = 0) -> None:
        """See Permits."""
        slow = list(slow)
        self._memory.report(slow=slow, outages=outages, successes=successes)
        if not self._away:
            self._primary.report(slow=slow, outages=outages, successes=successes)

    def pause(self, scope: Scope, id: str) -> None:
        """See Permits. Holds here at once, in Redis when it answers; the ledger has it in any case."""
        with self._lock:
            self._pauses.add((scope, id))
        self._memory.pause(scope, id)
        self._primary.pause(scope, id)

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        with self._lock:
            self._pauses.discard((scope, id))
        self._memory.resume(scope, id)
        self._primary.resume(scope, id)

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, int]]]
    ) -> None:
        """See Permits."""
        pauses = list(pauses)
        with self._lock:
            self._pauses = set(pauses)
        self._primary.restore(pauses=pauses, recent=recent)
