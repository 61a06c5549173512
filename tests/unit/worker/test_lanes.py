"""Which lanes kombu asks Redis for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bulksend.messaging.states import LANES, Kind
from worker.lanes import LaneCycle


def cycle(*open_lanes: Kind, consumed: Sequence[str] = ("marketing", "otp")) -> LaneCycle:
    class Open(LaneCycle):
        """The strategy of a process with these lanes open."""

    Open.open_lanes = staticmethod(lambda: open_lanes)
    made = Open()
    made.update(consumed)
    return made


def test_kombu_asks_for_the_lanes_of_this_worker_by_priority() -> None:
    assert cycle(*LANES).consume(3) == ["otp", "marketing"]
    assert cycle(*LANES).consume(1) == ["otp"]


def test_a_process_without_a_worker_takes_from_all_lanes() -> None:
    """Such as `celery status`."""
    made = LaneCycle()
    made.update(["marketing", "otp"])
    assert made.consume(3) == ["otp", "marketing"]


def test_kombu_does_not_ask_for_a_full_lane() -> None:
    assert cycle(Kind.OTP, Kind.UTILITY).consume(3) == ["otp"]


def test_a_queue_that_is_not_a_lane_is_asked_for_after_the_lanes() -> None:
    """`celery status` waits for replies in such a queue."""
    assert cycle(Kind.OTP, consumed=["a.reply.celery.pidbox", "marketing", "otp"]).consume(9) == [
        "otp",
        "a.reply.celery.pidbox",
    ]


@pytest.mark.parametrize(("open_lanes", "is_full"), [(LANES, False), ((Kind.OTP,), True)])
def test_a_full_lane_is_known_whether_this_worker_consumes_it_or_not(
    open_lanes: Sequence[Kind], is_full: bool
) -> None:
    assert cycle(*open_lanes, consumed=["otp"]).has_full_lane() is is_full
