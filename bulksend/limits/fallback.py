"""Permits while Redis is away: each worker goes on with its share of the limits, never without limits.

Away: after a blackout (slots that were had from Redis run out), each worker takes its part of every rate, one
message per pair interval, and nothing for senders with a quota (gate ``cold``). Pauses last known hold.
Only while *every* living worker is away: one that was cut off alone would add its share to the others' whole.
Redis cannot tell them, so they tell each other where all of them must be to send at all: in the ledger (``Peers``).
Someone in the background asks Redis again every quarter of a second, and while it answers tells it every second
that this worker lives. Back: Redis gives nothing for a few seconds, until every worker's own slots have run out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import redis
import structlog

from bulksend.clock import RemoteClock
from bulksend.errors import Unavailable
from bulksend.limits.local_permits import LocalPermits
from bulksend.limits.rules import BLACKOUT_MS
from bulksend.limits.types import Ask, Grant, Paused, Permits, Spacing, Wait
from bulksend.messaging.outcome import Scope

log = structlog.get_logger(__name__)

BEAT_SECONDS = 1.0
#: Away for no longer than this, nobody can have given permits of his own yet: every worker notices within 1.5 s,
#: and then gives nothing for a blackout. Whoever comes back later says so; see rules.RETURN_BLACKOUT_MS.
BLIP_MS = BLACKOUT_MS - 1500.0
#: How often is looked for a Redis that is away.
LOOK_SECONDS = 0.25


class LimiterUnreachable(Unavailable, ConnectionError):
    """Redis has not answered once since this worker started: how many share the limits is not known."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the last answers told."""

    workers: int
    paused: tuple[Paused, ...]


class Primary(Permits, Protocol):
    """Redis, seen from here: raises redis.RedisError when it does not answer."""

    def ask(
        self, asks: Sequence[Ask], *, lead_ms: float, spread: Spacing | None = None, returned: bool = False
    ) -> Grant:
        """See RedisPermits."""
        ...


class Peers(Protocol):
    """Where the workers of an installation tell each other who cannot reach Redis."""

    def report_limiter_away(self, away: bool) -> tuple[int, int]:
        """Put this worker's word on record; how many of the living are away, and how many live.

        Raises ConnectionError where it could not be put there.
        """
        ...


class OnlyOne:
    """The peers of a worker that has none."""

    def report_limiter_away(self, away: bool) -> tuple[int, int]:
        """See Peers."""
        return int(away), 1


class FallbackPermits:
    """Redis while it answers, else this worker's share. Threads may share it.

    ``local`` must go by ``clock``. With ``beats`` a thread of its own looks after Redis from the first ask
    on; without, somebody must call ``beat`` about every second.
    """

    def __init__(
        self,
        primary: Primary,
        local: LocalPermits,
        clock: RemoteClock,
        *,
        peers: Peers | None = None,
        beats: bool = True,
    ) -> None:
        self._primary = primary
        self._peers = peers or OnlyOne()
        self._all_away = False
        """Whether the newest word of all living workers was that they are away: then shares are in force."""
        self._introduced = False
        self._local = local
        self._clock = clock
        self._epoch = ""
        self._known: _Known | None = None
        self._away_since: float | None = None
        self._missed: dict[tuple[Scope, str], tuple[bool, str]] = {}
        """Pauses (True) and resumes that Redis has not heard of yet, with the reason's code."""
        self._lock = threading.RLock()
        self._beats = beats
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._look_sooner = threading.Event()

    @property
    def away(self) -> bool:
        """Whether Redis is away and this worker's own share is in force."""
        return self._away_since is not None

    # -- the door --------------------------------------------------------------------------------------

    def ask(self, asks: Sequence[Ask], *, lead_ms: float, spread: Spacing | None = None) -> Grant:
        """See Permits. Raises LimiterUnreachable where Redis has never been reached."""
        self._start()
        if not self.away:
            try:
                if not self._introduced:
                    self._introduce()
                if not self._introduced:
                    raise LimiterUnreachable("the other workers cannot be told of us yet; no permit is given")
                return self._ask_redis(asks, lead_ms, spread)
            except redis.RedisError as error:
                self._leave(error)
        if self._known is None:
            raise LimiterUnreachable("Redis has not answered yet; without it no permit is given")
        if not self._all_away:
            self._begin_share()
        return self._local.ask(asks, lead_ms=lead_ms, spread=spread)

    def beat(self) -> None:
        """Tell Redis that this worker lives, learn the pauses; come back where Redis was away and answers."""
        try:
            if self.away:
                self._return()
                self._agree()
            elif not self._introduced:
                self._introduce()
            else:
                self._ask_redis((), 0.0)
                self._learn_pauses()
        except redis.RedisError as error:
            self._leave(error)
            self._agree()

    def peek(self, ask: Ask) -> tuple[Wait, ...]:
        """See Permits. While Redis is away: the gates of this worker's share."""
        if not self.away:
            try:
                return self._primary.peek(ask)
            except redis.RedisError as error:
                self._leave(error)
        return self._local.peek(ask)

    def report(
        self,
        *,
        slow: Iterable[tuple[Scope, str]] = (),
        outages: int = 0,
        successes: int = 0,
        probe_over: bool = False,
    ) -> float | None:
        """See Permits. While Redis is away this worker learns for itself."""
        slow = list(slow)
        if not self.away:
            try:
                return self._primary.report(
                    slow=slow, outages=outages, successes=successes, probe_over=probe_over
                )
            except redis.RedisError as error:
                self._leave(error)
        return self._local.report(slow=slow, outages=outages, successes=successes, probe_over=probe_over)

    def pause(self, scope: Scope, id: str, why_code: str = "") -> None:
        """See Permits. Holds here at once, and in Redis as soon as it answers."""
        self._local.pause(scope, id, why_code)
        self._tell(scope, id, True, why_code)

    def resume(self, scope: Scope, id: str) -> None:
        """See Permits."""
        self._local.resume(scope, id)
        self._tell(scope, id, False, "")

    def paused(self) -> tuple[Paused, ...]:
        """See Permits."""
        if not self.away:
            try:
                return self._primary.paused()
            except redis.RedisError as error:
                self._leave(error)
        return self._local.paused()

    def restore(
        self, *, pauses: Iterable[tuple[Scope, str]], recent: Mapping[str, Iterable[tuple[str, float]]]
    ) -> None:
        """See Permits. Raises redis.RedisError when Redis is away: it is asked for again when it is back."""
        self._primary.restore(pauses=pauses, recent=recent)
        self._learn_pauses()

    def close(self) -> None:
        """See Permits."""
        self._closing.set()
        self._look_sooner.set()
        if self._thread is not None:
            self._thread.join(5.0)
        if not self.away:
            self._primary.close()

    # -- here and away ---------------------------------------------------------------------------------

    def _ask_redis(
        self, asks: Sequence[Ask], lead_ms: float, spread: Spacing | None = None, *, returned: bool = False
    ) -> Grant:
        asked_ms = self._clock.steady_ms()
        grant = self._primary.ask(asks, lead_ms=lead_ms, spread=spread, returned=returned)
        with self._lock:
            if grant.epoch != self._epoch:
                self._epoch = grant.epoch
                self._clock.distrust()
            self._clock.observe(grant.now_ms, asked_ms)
            paused = self._known.paused if self._known is not None else ()
            self._known = _Known(grant.workers, paused)
        return grant

    def _learn_pauses(self) -> None:
        paused = self._primary.paused()
        with self._lock:
            if self._known is not None:
                self._known = _Known(self._known.workers, paused)

    def _leave(self, error: redis.RedisError) -> None:
        """Redis does not answer, or not as it should (full, read-only, loading): go by our own share."""
        with self._lock:
            if self.away:
                return
            self._away_since = self._clock.steady_ms()
            self._all_away = False
            known = self._known
            self._begin_share()
        self._look_sooner.set()
        log.warning(
            "limiter_unavailable", error=type(error).__name__, workers=known.workers if known else None
        )

    def _begin_share(self) -> None:
        """Nothing for a blackout, then this worker's part; once more as long as not all are away."""
        with self._lock:
            known = self._known
            if known is None:
                return
            self._local.forget(workers=known.workers, paused=known.paused)
            for (scope, id), (paused, why_code) in self._missed.items():
                (self._local.pause(scope, id, why_code) if paused else self._local.resume(scope, id))

    def _agree(self) -> None:
        """Tell the others that we are away, and learn whether all are."""
        if not self.away:
            return
        try:
            away, alive = self._peers.report_limiter_away(True)
        except ConnectionError:
            away, alive = 0, 1  # without the ledger nothing is sent anyway
        with self._lock:
            known = self._known
            if known is not None and alive > known.workers:
                self._known = _Known(alive, known.paused)
                self._all_away = False  # a smaller part than was in force: begin anew
                self._begin_share()
            self._all_away = away >= alive > 0

    def _introduce(self) -> None:
        """The first word to Redis. Others that go by their shares must have stopped before it gives us anything."""
        try:
            away, _ = self._peers.report_limiter_away(False)
        except ConnectionError:
            return
        self._ask_redis((), 0.0, returned=away > 0)
        self._introduced = True
        self._learn_pauses()

    def _return(self) -> None:
        """Raises redis.RedisError while it is still away."""
        since = self._away_since
        if since is None:
            return
        self._primary.paused()  # it answers: the others learn of it before it gives us anything
        try:
            others, _ = self._peers.report_limiter_away(False)
        except ConnectionError:
            return
        away_ms = self._clock.steady_ms() - since
        self._introduced = True
        # Who never reached Redis has had no share; others may have one.
        had_share = away_ms > BLIP_MS if self._known is not None else others > 0
        grant = self._ask_redis((), 0.0, returned=had_share)
        with self._lock:
            missed, self._missed = self._missed, {}
        try:
            while missed:
                (scope, id), (paused, why_code) = next(iter(missed.items()))
                (self._primary.pause(scope, id, why_code) if paused else self._primary.resume(scope, id))
                del missed[(scope, id)]
        finally:
            with self._lock:
                self._missed = missed | self._missed
        self._learn_pauses()
        with self._lock:
            self._away_since = None
            self._all_away = False
        log.warning("limiter_available", away_ms=round(away_ms), workers=grant.workers)

    def _tell(self, scope: Scope, id: str, paused: bool, why_code: str) -> None:
        if not self.away:
            try:
                (self._primary.pause(scope, id, why_code) if paused else self._primary.resume(scope, id))
                return self._learn_pauses()
            except redis.RedisError as error:
                with self._lock:
                    self._missed[(scope, id)] = (paused, why_code)
                return self._leave(error)
        with self._lock:
            self._missed[(scope, id)] = (paused, why_code)
        return None

    # -- in the background -----------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._beats or self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._keep_beating, name="limiter-beat", daemon=True)
                self._thread.start()

    def _keep_beating(self) -> None:
        while not self._closing.is_set():
            self._wait()
            if not self._closing.is_set():
                self.beat()

    def _wait(self) -> None:
        """A second; less while Redis is away."""
        if not self.away:
            self._look_sooner.clear()
            if not self._look_sooner.wait(BEAT_SECONDS):
                return
        self._closing.wait(LOOK_SECONDS)
