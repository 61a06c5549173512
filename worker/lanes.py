"""Which lanes a worker takes jobs from: OTP first, and a lane whose hands are full is left alone.

Kombu asks a ``queue_order_strategy`` object before each BRPOP which queues to name, in order. So back-pressure
needs no blocked thread: a full marketing lane is simply not asked for, while OTP always is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from bulksend.messaging.states import LANES, Kind


class Backlog:
    """Ids that jobs brought and that are not claimed yet, by lane. Thread-safe.

    ``high_water`` bounds how many a lane holds before no more jobs of it are taken; ids that are here already
    are not added again, so a job published twice costs nothing.
    """

    def __init__(self, high_water: int) -> None:
        self._high_water = high_water
        self._lock = threading.Lock()
        self._ids: dict[Kind, deque[str]] = {lane: deque() for lane in LANES}
        self._here: set[str] = set()
        self._closed = False

    def add(self, lane: Kind, ids: Sequence[str]) -> int:
        """Take the ids of a job in; says how many were new."""
        with self._lock:
            if self._closed:
                return 0
            new = [id for id in dict.fromkeys(ids) if id not in self._here]
            self._here.update(new)
            self._ids[lane].extend(new)
            return len(new)

    def take(self, lane: Kind, most: int) -> list[str]:
        """Up to ``most`` ids of a lane, the oldest first; they are no longer here."""
        with self._lock:
            queue = self._ids[lane]
            taken = [queue.popleft() for _ in range(min(most, len(queue)))]
            self._here.difference_update(taken)
            return taken

    def size(self, lane: Kind) -> int:
        """How many ids of a lane wait here."""
        with self._lock:
            return len(self._ids[lane])

    def open_lanes(self) -> list[Kind]:
        """Lanes that have room for another job, in the order in which they are served."""
        with self._lock:
            if self._closed:
                return []
            return [lane for lane in LANES if lane is Kind.OTP or len(self._ids[lane]) < self._high_water]

    def close(self) -> None:
        """Take no more: the worker stops. What is here was never claimed and is found again by the relay."""
        with self._lock:
            self._closed = True
            self._here.clear()
            for queue in self._ids.values():
                queue.clear()


_backlog: Backlog | None = None


def watch(backlog: Backlog | None) -> None:
    """Let this process's Celery consumer go by this backlog."""
    global _backlog
    _backlog = backlog


def is_lane_closed() -> bool:
    """Whether some lane of this process is not asked for now, though it soon may be."""
    return _backlog is not None and len(_backlog.open_lanes()) < len(LANES)


class LaneOrder:
    """Kombu's ``queue_order_strategy``: see the module's text. Kombu makes it by its import path."""

    def __init__(self, it: Sequence[str] | None = None) -> None:
        self.items: list[str] = list(it or [])

    def update(self, it: Sequence[str]) -> None:
        """The queues that this worker consumes (celery -Q)."""
        self.items = list(it)

    def consume(self, n: int) -> list[str]:
        """The queues to ask next, best first; at most ``n``."""
        if _backlog is None:
            return self.items[:n]
        open_now: list[str] = [lane.value for lane in _backlog.open_lanes()]
        return [lane for lane in open_now if lane in self.items][:n]

    def rotate(self, last_used: str) -> None:
        """Nothing to rotate: the order is by lane."""
