"""How often something happens, as a moving average with exponential decay. Instants are passed in, in seconds."""

from __future__ import annotations

import math


class RateMeter:
    """Events per second over about the last ``over_s`` seconds."""

    def __init__(self, over_s: float = 0.25) -> None:
        self._over_s = over_s
        self._rate = 0.0
        self._at = 0.0

    def note(self, now: float) -> None:
        """Count one event."""
        self._rate = self.rate(now) + 1 / self._over_s
        self._at = now

    def rate(self, now: float) -> float:
        """Events per second, as of ``now``."""
        if now <= self._at:
            return self._rate
        return self._rate * math.exp((self._at - now) / self._over_s)
