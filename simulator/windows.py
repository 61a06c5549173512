"""Exact sliding windows of one second: the highest count, and a limit.

A window is half open: two events exactly one second apart are not in the same one. Times are monotonic seconds. They
may come out of order: requests are read in another order than the kernel received them, seconds apart on a busy
machine.
"""

from __future__ import annotations

from bisect import bisect_right, insort

SPAN_SECONDS = 1.0
#: How much earlier than the newest event another one may be for an exact count: above the longest wait of
#: ``kernel_timestamps``.
_LATENESS_SECONDS = 6.0


class _Events:
    """The times of the newest events, in order."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: list[float] = []

    def fullest_with(self, now: float) -> int:
        """The count of the fullest window that has an event at ``now``, which is counted too.

        It ends at that event or at one of the second after it.
        """
        times = self._times
        at = bisect_right(times, now)
        most = at - bisect_right(times, now - SPAN_SECONDS, hi=at)
        for index in range(at, len(times)):
            end = times[index]
            if end - now >= SPAN_SECONDS:
                break
            most = max(most, index + 1 - bisect_right(times, end - SPAN_SECONDS, hi=at))
        return most + 1

    def add(self, now: float) -> None:
        """Keep an event."""
        times = self._times
        insort(times, now)
        oldest = times[-1] - SPAN_SECONDS - _LATENESS_SECONDS
        # Half of them at a time, so that dropping costs little an event.
        if times[len(times) // 2] < oldest:
            del times[: bisect_right(times, oldest)]


class PeakRate:
    """Counts events, and the most in any window of one second."""

    __slots__ = ("_events", "count", "first", "last", "most")

    def __init__(self) -> None:
        self._events = _Events()
        self.count = 0
        self.most = 0
        self.first = 0.0
        self.last = 0.0

    def add(self, now: float) -> None:
        """Count one event at ``now``."""
        self.most = max(self.most, self._events.fullest_with(now))
        self._events.add(now)
        self.first = min(self.first, now) if self.count else now
        self.last = max(self.last, now) if self.count else now
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
        self._admitted = _Events()

    def has_room(self, now: float) -> bool:
        """Whether one more is allowed at ``now``."""
        return self._admitted.fullest_with(now) <= self.per_second

    def take(self, now: float) -> None:
        """Count one at ``now``."""
        self._admitted.add(now)
