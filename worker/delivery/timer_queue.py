"""Who waits for its slot: one timer for all of them, and everybody starts at its own instant."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: So many start in one turn of the loop; what else is ready then has its turn too.
_AT_ONCE = 16


class TimerQueue(Generic[Item]):
    """Calls ``start(item)`` once the event loop's time has come to what was asked for, the earliest first."""

    def __init__(self, start: Callable[[Item], None]) -> None:
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Item]] = []
        self._number = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, item: Item) -> None:
        """Start ``item`` at this instant, at once where it is past."""
        heapq.heappush(self._heap, (at, next(self._number), item))
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._go)

    def clear(self) -> list[Item]:
        """Start nobody any more; who waited."""
        left, self._heap = [item for _, _, item in self._heap], []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return left

    def _go(self) -> None:
        self._timer = None
        now = self._loop.time()
        started = 0
        while self._heap and self._heap[0][0] <= now and started < _AT_ONCE:
            self._start(heapq.heappop(self._heap)[2])
            started += 1
        if self._heap:
            self._timer = self._loop.call_at(self._heap[0][0], self._go)
