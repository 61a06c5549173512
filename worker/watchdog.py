"""Ends a worker whose Celery has silently stopped taking jobs, so that whoever supervises it starts another.

It happens: after a lost connection a consumer may look well, log nothing and take nothing (celery #10205, #10502, and
others before). Seen from outside: a lane holds jobs, this worker has room for them, and nothing changes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import redis
import structlog

from bulksend.messaging.states import Kind

log = structlog.get_logger(__name__)

#: At most so often is looked, and at least so many looks must agree.
LOOK_SECONDS = 5.0
LOOKS = 6


class Watchdog:
    """Looks on a thread of its own. ``end`` is called once, on that thread.

    ``waiting``: whether there are jobs that this worker has room for; raises redis.RedisError where Redis is away.
    ``signs``: something that changes while the consumer lives and has work.
    """

    def __init__(
        self,
        *,
        waiting: Callable[[], bool],
        signs: Callable[[], object],
        end: Callable[[], None],
        patience_s: float,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waiting = waiting
        self._signs = signs
        self._end = end
        self._patience_s = patience_s
        self._steady_s = steady_s
        self._every_s = min(LOOK_SECONDS, patience_s / LOOKS)
        self._seen: object = None
        self._looked_at = steady_s()
        self._stuck_s = 0.0
        self._stop = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Look from now on; a patience of 0 means never."""
        if self._patience_s > 0:
            self.thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
            self.thread.start()

    def stop(self) -> None:
        """Look no more: what stops on purpose takes no jobs either."""
        self._stop.set()

    def look(self) -> bool:
        """Whether it has been stuck for the whole patience."""
        now, signs = self._steady_s(), self._signs()
        # A process that was itself stopped for a while (SIGSTOP, a sleeping machine) has not been stuck that long.
        passed = min(now - self._looked_at, 2 * self._every_s)
        self._looked_at = now
        stuck = signs == self._seen and self._is_waiting()
        self._seen = signs
        self._stuck_s = self._stuck_s + passed if stuck else 0.0
        return self._stuck_s >= self._patience_s

    def _is_waiting(self) -> bool:
        try:
            return self._waiting()
        except redis.RedisError:
            return False

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            if self.look():
                log.critical("celery_stopped_taking_jobs", seconds=round(self._stuck_s))
                self._end()
                return


def jobs_wait(
    client: redis.Redis, consumed: Iterable[str], open_lanes: Callable[[], Sequence[Kind]]
) -> Callable[[], bool]:
    """Whether a lane that this worker consumes and has room for holds jobs."""
    lanes = frozenset(consumed)

    def ask() -> bool:
        return any(client.llen(lane.value) for lane in open_lanes() if lane.value in lanes)

    return ask
