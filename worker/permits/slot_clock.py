"""Two clocks brought together: Redis's, by which slots are given, and this process's own."""

from __future__ import annotations


class SlotClock:
    """Turns an instant of Redis's clock (ms) into one of the event loop's (s), from what calls have shown.

    Redis read its clock between our asking and its answer's arrival, so each call bounds the difference; the
    narrowest of the recent bounds is kept, and slowly forgotten, since clocks drift.
    """

    _FORGET_PER_SECOND = 0.0005

    def __init__(self) -> None:
        self._offset: float | None = None
        self._doubt = float("inf")
        self._seen_at = 0.0

    def observe(self, asked_s: float, answered_s: float, redis_now_ms: float) -> None:
        """One call: the loop's time before and after it, and Redis's clock in its answer."""
        doubt = (answered_s - asked_s) / 2
        aged = self._doubt + (answered_s - self._seen_at) * self._FORGET_PER_SECOND
        if doubt <= aged:
            self._offset = (asked_s + answered_s) / 2 - redis_now_ms / 1000
            self._doubt = doubt
        else:
            self._doubt = aged
        self._seen_at = answered_s

    @property
    def doubt(self) -> float:
        """How far off it can be, in seconds: half of the quickest call."""
        return self._doubt

    def loop_time(self, redis_ms: float) -> float:
        """The event loop's time of an instant of Redis's clock. Needs one observation first."""
        if self._offset is None:
            raise RuntimeError("no call to Redis has been observed yet")
        return redis_ms / 1000 + self._offset
