"""What POSTs teach the limiter: to go slower, or to stop and probe. Pure; lua/report.lua does the same."""

from __future__ import annotations

from dataclasses import dataclass

from bulksend.limits.rules import (
    CLIMB_MS,
    OPEN_MOST_MS,
    OPEN_MS,
    OUTAGES,
    PROBE_LOOK_MS,
    SLOW_EVERY_MS,
    SLOWEST,
)


@dataclass(slots=True)
class Slowdown:
    """The part of a rate that is used after the vendor asked for less: halved at ``at_ms``, then climbing
    back.
    """

    factor: float = 1.0
    at_ms: float = 0.0

    def now(self, now_ms: float) -> float:
        """The part in force."""
        if self.factor >= 1.0:
            return 1.0
        return min(1.0, self.factor + (1.0 - self.factor) * max(0.0, now_ms - self.at_ms) / CLIMB_MS)

    def slow(self, now_ms: float) -> tuple[float, float] | None:
        """Halve it, unless that was done within the last second: one storm is one reason.

        Returns the part before and after, where it is less now.
        """
        if self.factor < 1.0 and now_ms - self.at_ms < SLOW_EVERY_MS:
            return None
        before = self.now(now_ms)
        self.factor, self.at_ms = max(SLOWEST, before / 2), now_ms
        return (before, self.factor) if self.factor < before else None


@dataclass(slots=True)
class Breaker:
    """Closed while ``open_ms`` is 0; open until ``open_until``; then half-open, with one probe at a time."""

    outages: int = 0
    open_until: float = 0.0
    open_ms: float = 0.0
    probe_until: float = 0.0
    """Until when a probe may be under way; 0: there is none."""

    def holds_until(self, now_ms: float) -> float | None:
        """Until when it holds everything; None if a permit may be given."""
        if self.open_ms <= 0 or now_ms >= max(self.open_until, self.probe_until):
            return None
        if now_ms < self.open_until:
            return self.open_until
        return min(self.probe_until, now_ms + PROBE_LOOK_MS)

    def opened_ms(self) -> float | None:
        """When it opened; None while it is closed."""
        return self.open_until - self.open_ms if self.open_ms > 0 else None

    def gave(self, now_ms: float, probe_ms: float) -> bool:
        """A permit was given; whether that is a probe, which may be under way for ``probe_ms``."""
        if self.open_ms <= 0:
            return False
        self.probe_until = now_ms + probe_ms
        return True

    def report(self, outages: int, successes: int, probe_over: bool, now_ms: float) -> None:
        """``successes``, and after them ``outages`` in a row, as one worker saw them.

        Any success closes it; outages in a row, over all workers, open it, then again for longer.
        """
        if probe_over:
            self.probe_until = 0.0
        if successes > 0:
            self.outages, self.open_until, self.open_ms, self.probe_until = 0, 0.0, 0.0, 0.0
        if outages > 0:
            self.outages += outages
            if self.outages >= OUTAGES and now_ms >= self.open_until:
                self.open_ms = min(OPEN_MOST_MS, max(OPEN_MS, self.open_ms * 2))
                self.open_until = now_ms + self.open_ms
