"""How many requests a second a key may make in this process."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable

from bulksend.errors import TooManyRequests


class RequestRate:
    """Counts the requests of each key over the last second. Belongs to one event loop."""

    def __init__(self, per_second: int, steady: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._steady = steady
        self._seen: defaultdict[str, deque[float]] = defaultdict(deque)

    def check(self, key: str) -> None:
        """Count a request of the key. Raises TooManyRequests."""
        now, seen = self._steady(), self._seen[key]
        while seen and seen[0] <= now - 1.0:
            seen.popleft()
        if len(seen) >= self._per_second:
            raise TooManyRequests(
                f"key {key} makes more than {self._per_second:,} requests a second "
                "(BULKSEND_REQUESTS_PER_SECOND); wait a second, or send several messages in one request"
            )
        seen.append(now)
