"""Starts items at their instants with one timer of the event loop for all of them."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: Items started in one turn of the loop: other callbacks that are ready run between two turns.
_PER_TURN = 16


class TimerQueue(Generic[Item]):
    """Calls ``start(item)`` when the event loop's time reaches the item's instant, the earliest first."""

    def __init__(self, start: Callable[[Item], None]) -> None:
        self._start = start
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Item]] = []
        self._number = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at: float, item: Item) -> None:
        """Start ``item`` at this instant; in the next turn of the loop if it has passed."""
        number = next(self._number)
        heapq.heappush(self._heap, (at, number, item))
        if self._timer is not None:
            if self._heap[0][1] != number:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._start_due)

    def pop(self) -> Item | None:
        """Remove and return the earliest item; None where there is none."""
        return heapq.heappop(self._heap)[2] if self._heap else None

    def clear(self) -> list[Item]:
        """Remove and return all items: none of them starts."""
        left, self._heap = [item for _, _, item in self._heap], []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return left

    def _start_due(self) -> None:
        self._timer = None
        now = self._loop.time()
        started = 0
        while self._heap and self._heap[0][0] <= now and started < _PER_TURN:
            self._start(heapq.heappop(self._heap)[2])
            started += 1
        if self._heap:
            self._timer = self._loop.call_at(self._heap[0][0], self._start_due)
