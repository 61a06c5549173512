"""Which lanes a worker takes jobs from: OTP first, and no lane whose prefetch buffer is full.

Kombu asks its ``queue_order_strategy`` before each BRPOP which queues to name, in order. So back-pressure needs no
blocked thread: a full marketing lane is left out, while OTP never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bulksend.messaging.states import LANES, Kind


class LaneCycle:
    """Kombu's ``queue_order_strategy``, with the methods of kombu.utils.scheduling.priority_cycle."""

    def __init__(self, open_lanes: Callable[[], Sequence[Kind]]) -> None:
        """``open_lanes``: the lanes that have room for another job, by priority."""
        self._open_lanes = open_lanes
        self._consumed: frozenset[str] = frozenset()

    def update(self, it: Sequence[str]) -> None:
        """The queues that this worker consumes (celery -Q)."""
        self._consumed = frozenset(it)

    def consume(self, n: int) -> list[str]:
        """The queues to ask next, by priority; at most ``n``."""
        names: list[str] = [lane.value for lane in self._open_lanes()]
        return [name for name in names if name in self._consumed][:n]

    def rotate(self, last_used: str) -> None:
        """Nothing to rotate: the order is by priority."""

    def has_full_lane(self) -> bool:
        """Whether a lane has no room now: it may have room again within milliseconds."""
        return len(self._open_lanes()) < len(LANES)
