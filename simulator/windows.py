"""Exact sliding windows of one second: the highest count, and a limit.

A window is half open: two events exactly one second apart are not in the same one. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import deque

SPAN_SECONDS = 1.0


class PeakRate:
    """Counts events, and the most in any window of one second.

    The fullest window ends at one of the events, so looking back from each event finds it exactly.
    """

    __slots__ = ("_recent", "count", "first", "last", "most")

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self.count = 0
        self.most = 0
        self.first = 0.0
        self.last = 0.0

    def add(self, now: float) -> None:
        """Count one event at ``now``."""
        recent = self._recent
        recent.append(now)
        while now - recent[0] >= SPAN_SECONDS:
            recent.popleft()
        if len(recent) > self.most:
            self.most = len(recent)
        if not self.count:
            self.first = now
        self.last = now
        self.count += 1

    @property
    def mean_per_second(self) -> float | None:
        """The mean rate between the first and the last event; None for fewer than two."""
        if self.count < 2 or self.last <= self.first:
            return None
        return (self.count - 1) / (self.last - self.first)


class Limit:
    """At most ``per_second`` in any window of one second; only what is taken counts."""

    __slots__ = ("_admitted", "per_second")

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._admitted: deque[float] = deque(maxlen=per_second)

    def has_room(self, now: float) -> bool:
        """Whether one more is allowed at ``now``."""
        admitted = self._admitted
        return len(admitted) < self.per_second or now - admitted[0] >= SPAN_SECONDS

    def take(self, now: float) -> None:
        """Count one at ``now``."""
        self._admitted.append(now)
