"""How many requests a second a key, or an address without a known one, may make in this process."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable

from bulksend.errors import TooManyRequests

#: Callers, and requests of all of them, that are remembered; those of the last second stay.
_MOST_CALLERS = 10_000
_MOST_REQUESTS = 1_000_000


class RequestRate:
    """Counts the requests of each caller over the last second. Belongs to one event loop."""

    def __init__(
        self,
        per_second: int,
        steady: Callable[[], float] = time.monotonic,
        *,
        most_requests: int = _MOST_REQUESTS,
    ) -> None:
        self._per_second = per_second
        self._most_requests = most_requests
        self._steady = steady
        self._seen: defaultdict[str, deque[float]] = defaultdict(deque)
        self._requests = 0

    def check(self, caller: str) -> None:
        """Count a request of the caller, such as ``key 0kbKrqI2L``. Raises TooManyRequests."""
        now, seen = self._steady(), self._seen[caller]
        while seen and seen[0] <= now - 1.0:
            seen.popleft()
            self._requests -= 1
        if len(seen) >= self._per_second:
            raise TooManyRequests(
                f"{caller} makes more than {self._per_second:,} requests a second "
                "(BULKSEND_REQUESTS_PER_SECOND); wait a second, or send several messages in one request"
            )
        seen.append(now)
        self._requests += 1
        if len(self._seen) > _MOST_CALLERS or self._requests > self._most_requests:
            self._forget(now - 1.0)

    def _forget(self, before: float) -> None:
        recent = {caller: seen for caller, seen in self._seen.items() if seen and seen[-1] > before}
        # More callers in one second than may be remembered: their counts begin again.
        self._seen = defaultdict(deque, recent if len(recent) <= _MOST_CALLERS // 2 else {})
        self._requests = sum(map(len, self._seen.values()))
