"""Which lanes a worker takes jobs from: OTP first, and no lane whose prefetch buffer is full.

Kombu asks its ``queue_order_strategy`` before each BRPOP which queues to name, in order. So back-pressure needs no
blocked thread: a full marketing lane is left out, while OTP never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bulksend.messaging.states import LANES, Kind

_NAMES = frozenset(lane.value for lane in LANES)

OpenLanes = Callable[[], Sequence[Kind]]


class LaneCycle:
    """Kombu's ``queue_order_strategy``, with the methods of kombu.utils.scheduling.priority_cycle."""

    def __init__(self, open_lanes: OpenLanes) -> None:
        """``open_lanes``: the lanes that have room for another job, by priority."""
        self._open_lanes = open_lanes
        self._consumed: list[str] = []

    def update(self, it: Sequence[str]) -> None:
        """The queues that this worker consumes (celery -Q)."""
        self._consumed = list(it)

    def consume(self, n: int) -> list[str]:
        """The queues to ask next, at most ``n``: open lanes by priority, then queues that are not lanes.

        `celery status` uses this app too: its queue of replies is not a lane.
        """
        names: list[str] = [lane.value for lane in self._open_lanes()]
        others = [name for name in self._consumed if name not in _NAMES]
        return ([name for name in names if name in self._consumed] + others)[:n]

    def rotate(self, last_used: str) -> None:
        """Nothing to rotate: the order is by priority."""

    def has_full_lane(self) -> bool:
        """Whether a lane has no room now: it may have room again within milliseconds."""
        return len(self._open_lanes()) < len(LANES)


def _all_lanes() -> Sequence[Kind]:
    return LANES


_open_lanes: OpenLanes = _all_lanes


def follow(open_lanes: OpenLanes) -> None:
    """Let this process take jobs only from these lanes. Global, since kombu makes its strategy by an import path."""
    global _open_lanes
    _open_lanes = open_lanes


def lane_cycle() -> LaneCycle:
    """The strategy of this process."""
    return LaneCycle(lambda: _open_lanes())
