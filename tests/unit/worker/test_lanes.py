"""Which lanes kombu asks Redis for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bulksend.messaging.states import LANES, Kind
from worker.lanes import LaneCycle, follow, lane_cycle


def cycle(*open_lanes: Kind, consumed: Sequence[str] = ("marketing", "otp")) -> LaneCycle:
    made = LaneCycle(lambda: open_lanes)
    made.update(consumed)
    return made


def test_kombu_asks_for_the_lanes_of_this_worker_by_priority() -> None:
    assert cycle(*LANES).consume(3) == ["otp", "marketing"]
    assert cycle(*LANES).consume(1) == ["otp"]


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


def test_the_strategy_that_kombu_makes_follows_the_lanes_of_its_process() -> None:
    """A process without a worker, such as `celery status`, takes from all."""
    made = lane_cycle()
    made.update(["marketing", "otp"])
    assert made.consume(3) == ["otp", "marketing"]
    follow(lambda: [Kind.OTP])
    try:
        assert made.consume(3) == ["otp"]
    finally:
        follow(lambda: LANES)
