"""Ends a worker whose Celery has silently stopped taking jobs, so that its supervisor starts another.

After a lost connection a consumer may look healthy, log nothing and take nothing (celery #10205, #10502). It shows from
outside: a lane holds jobs, this worker has room for them, and its signs of life do not change.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import redis
import structlog

from bulksend.messaging.states import Kind

log = structlog.get_logger(__name__)

#: At most this long between two checks, and at least this many checks must agree.
CHECK_SECONDS = 5.0
CHECKS = 6


class Watchdog:
    """Checks on a thread of its own. ``end`` is called once, on that thread.

    ``has_jobs``: whether there are jobs that this worker has room for; raises redis.RedisError when Redis is away.
    ``liveness``: a value that changes while the consumer lives and has work.
    """

    def __init__(
        self,
        *,
        has_jobs: Callable[[], bool],
        liveness: Callable[[], object],
        end: Callable[[], None],
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._has_jobs = has_jobs
        self._liveness = liveness
        self._end = end
        self._patience_s = patience_s
        self._clock = clock
        self._every_s = min(CHECK_SECONDS, patience_s / CHECKS)
        self._last_liveness: object = None
        self._checked_at = clock()
        self._stuck_s = 0.0
        self._stop = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Start checking; a patience of 0 switches the watchdog off."""
        if self._patience_s > 0:
            self.thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self.thread.start()

    def stop(self) -> None:
        """Stop checking: a worker that stops on purpose takes no jobs either."""
        self._stop.set()

    def check(self) -> bool:
        """Check once; returns whether the consumer has been stuck for the whole patience."""
        now, liveness = self._clock(), self._liveness()
        # A process that was itself suspended (SIGSTOP, a sleeping machine) has not been stuck for that time.
        passed = min(now - self._checked_at, 2 * self._every_s)
        self._checked_at = now
        is_stuck = liveness == self._last_liveness and self._jobs_wait()
        self._last_liveness = liveness
        self._stuck_s = self._stuck_s + passed if is_stuck else 0.0
        return self._stuck_s >= self._patience_s

    def _jobs_wait(self) -> bool:
        try:
            return self._has_jobs()
        except redis.RedisError:
            return False

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            if self.check():
                log.critical("celery_stopped_taking_jobs", seconds=round(self._stuck_s))
                self._end()
                return


def jobs_waiting(
    client: redis.Redis, consumed: Iterable[str], open_lanes: Callable[[], Sequence[Kind]]
) -> Callable[[], bool]:
    """A function that tells whether a lane that this worker consumes and has room for holds jobs."""
    lanes = frozenset(consumed)

    def ask() -> bool:
        return any(client.llen(lane.value) for lane in open_lanes() if lane.value in lanes)

    return ask
