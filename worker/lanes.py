"""Which lanes a worker takes jobs from: OTP first, and no lane whose prefetch buffer is full.

Kombu asks its ``queue_order_strategy`` before each BRPOP which queues to name, in order. So back-pressure needs no
blocked thread: a full marketing lane is left out, while OTP never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from bulksend.messaging.states import LANES, Kind

_NAMES = frozenset(lane.value for lane in LANES)


class LaneCycle:
    """Kombu's ``queue_order_strategy``, with the methods of kombu.utils.scheduling.priority_cycle."""

    open_lanes: ClassVar[Callable[[], Sequence[Kind]]] = staticmethod(lambda: LANES)
    """The lanes that have room for another job, by priority. Of the process: kombu makes its strategy by a path."""

    def __init__(self) -> None:
        self._consumed: list[str] = []

    def update(self, it: Sequence[str]) -> None:
        """The queues that this worker consumes (celery -Q)."""
        self._consumed = list(it)

    def consume(self, n: int) -> list[str]:
        """The queues to ask next, at most ``n``: open lanes by priority, then queues that are not lanes.

        `celery status` uses this app too: its queue of replies is not a lane.
        """
        names: list[str] = [lane.value for lane in type(self).open_lanes()]
        others = [name for name in self._consumed if name not in _NAMES]
        return ([name for name in names if name in self._consumed] + others)[:n]

    def rotate(self, last_used: str) -> None:
        """Nothing to rotate: the order is by priority."""

    def has_full_lane(self) -> bool:
        """Whether a lane has no room now: it may have room again within milliseconds."""
        return len(type(self).open_lanes()) < len(LANES)
