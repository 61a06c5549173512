"""Sliding windows of one second, exact to the timestamp: the fullest one, and how many one may hold.

A window is half open: two instants exactly one second apart are not in the same one. Times are monotonic
seconds and never go backwards.
"""

from __future__ import annotations

from collections import deque

SPAN_SECONDS = 1.0


class Busiest:
    """Counts instants and remembers the most that any window of one second ever held.

    The fullest window always ends at one of the instants, so looking back from each of them finds it exactly.
    """

    __slots__ = ("_recent", "count", "first", "last", "most")

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self.count = 0
        self.most = 0
        self.first = 0.0
        self.last = 0.0

    def add(self, now: float) -> None:
        """One more at ``now``."""
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
        """The mean rate between the first and the last instant; None below two of them."""
        if self.count < 2 or self.last <= self.first:
            return None
        return (self.count - 1) / (self.last - self.first)


class Limit:
    """At most ``per_second`` in any window of one second. What is turned away does not count against it."""

    __slots__ = ("_admitted", "per_second")

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._admitted: deque[float] = deque(maxlen=per_second)

    def has_room(self, now: float) -> bool:
        """Whether one more fits at ``now``; asking takes nothing."""
        admitted = self._admitted
        return len(admitted) < self.per_second or now - admitted[0] >= SPAN_SECONDS

    def take(self, now: float) -> None:
        """One more went through at ``now``."""
        self._admitted.append(now)
