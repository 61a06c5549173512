"""How many requests a second a key may make in this process."""

from __future__ import annotations

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from bulksend.errors import TooManyRequests


class RequestRate:
    """Counts the requests of each key over the last second, in memory."""

    def __init__(self, per_second: int) -> None:
        self._item = RateLimitItemPerSecond(per_second)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def check(self, key: str) -> None:
        """Count a request of the key. Raises TooManyRequests."""
        if not self._limiter.hit(self._item, key):
            raise TooManyRequests(
                f"key {key} makes more than {self._item.amount:,} requests a second "
                "(BULKSEND_REQUESTS_PER_SECOND); wait a second, or send several messages in one request"
            )
