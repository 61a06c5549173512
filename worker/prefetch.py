"""The ids that jobs brought and that are not claimed yet: between Celery's thread and the engine's."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from bulksend.messaging.states import LANES, Kind


class PrefetchBuffer:
    """Ids by lane. Thread-safe.

    A lane with ``high_water`` ids takes no more jobs until the engine has claimed some; OTP always does. An id that is
    here already is not added again, so a job that is published twice costs nothing.
    """

    def __init__(self, high_water: int) -> None:
        self._high_water = high_water
        self._lock = threading.Lock()
        self._ids: dict[Kind, deque[str]] = {lane: deque() for lane in LANES}
        self._known: set[str] = set()
        self._closed = False

    def add(self, lane: Kind, ids: Sequence[str]) -> int:
        """Add the ids of a job; returns how many were new."""
        with self._lock:
            if self._closed:
                return 0
            new = [id for id in dict.fromkeys(ids) if id not in self._known]
            self._known.update(new)
            self._ids[lane].extend(new)
            return len(new)

    def add_first(self, lane: Kind, ids: Sequence[str]) -> None:
        """Let these ids be the next to be taken, whether they are here or not."""
        with self._lock:
            if self._closed:
                return
            queue = self._ids[lane]
            for id in reversed(ids):
                if id in self._known:
                    queue.remove(id)
                self._known.add(id)
                queue.appendleft(id)

    def take(self, lane: Kind, most: int) -> list[str]:
        """Remove and return up to ``most`` ids of a lane, the oldest first."""
        with self._lock:
            queue = self._ids[lane]
            taken = [queue.popleft() for _ in range(min(most, len(queue)))]
            self._known.difference_update(taken)
            return taken

    def size(self, lane: Kind) -> int:
        """How many ids of a lane are here."""
        with self._lock:
            return len(self._ids[lane])

    def open_lanes(self) -> list[Kind]:
        """Lanes that have room for another job, by priority."""
        with self._lock:
            if self._closed:
                return []
            return [lane for lane in LANES if lane is Kind.OTP or len(self._ids[lane]) < self._high_water]

    def close(self) -> None:
        """Drop all ids and take no more: they were never claimed, so the relay publishes them again."""
        with self._lock:
            self._closed = True
            self._known.clear()
            for queue in self._ids.values():
                queue.clear()
