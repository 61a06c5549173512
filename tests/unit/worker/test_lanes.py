"""Which lanes a worker asks Redis for, and what it does with a job's ids."""

from __future__ import annotations

from bulksend.messaging.states import Kind
from worker.lanes import Backlog, LaneOrder, is_lane_closed, watch


def test_otp_is_always_asked_for_first() -> None:
    backlog = Backlog(high_water=10)
    assert backlog.open_lanes() == [Kind.OTP, Kind.UTILITY, Kind.MARKETING]


def test_a_full_lane_is_not_asked_for_and_the_others_are() -> None:
    backlog = Backlog(high_water=2)
    backlog.add(Kind.MARKETING, ["a", "b"])
    assert backlog.open_lanes() == [Kind.OTP, Kind.UTILITY]


def test_the_otp_lane_is_asked_for_however_full_it_is() -> None:
    backlog = Backlog(high_water=1)
    backlog.add(Kind.OTP, ["a", "b", "c"])
    assert Kind.OTP in backlog.open_lanes()


def test_a_lane_is_asked_for_again_once_there_is_room() -> None:
    backlog = Backlog(high_water=2)
    backlog.add(Kind.MARKETING, ["a", "b"])
    assert backlog.take(Kind.MARKETING, 1) == ["a"]
    assert Kind.MARKETING in backlog.open_lanes()


def test_a_job_that_was_published_twice_adds_its_ids_once() -> None:
    backlog = Backlog(high_water=10)
    assert backlog.add(Kind.UTILITY, ["a", "b", "a"]) == 2
    assert backlog.add(Kind.UTILITY, ["b", "c"]) == 1
    assert backlog.take(Kind.UTILITY, 9) == ["a", "b", "c"]


def test_ids_that_were_taken_may_come_again() -> None:
    backlog = Backlog(high_water=10)
    backlog.add(Kind.UTILITY, ["a"])
    backlog.take(Kind.UTILITY, 1)
    assert backlog.add(Kind.UTILITY, ["a"]) == 1


def test_a_worker_that_stops_takes_nothing_more() -> None:
    backlog = Backlog(high_water=10)
    backlog.add(Kind.OTP, ["a"])
    backlog.close()
    assert backlog.add(Kind.OTP, ["b"]) == 0
    assert backlog.size(Kind.OTP) == 0
    assert backlog.open_lanes() == []


def test_kombu_is_told_the_open_lanes_among_those_this_worker_consumes() -> None:
    backlog = Backlog(high_water=1)
    order = LaneOrder()
    order.update(["marketing", "otp"])
    watch(backlog)
    try:
        assert order.consume(3) == ["otp", "marketing"]
        backlog.add(Kind.MARKETING, ["a"])
        assert order.consume(3) == ["otp"]
    finally:
        watch(None)


def test_without_an_engine_kombu_asks_for_what_it_was_given() -> None:
    assert LaneOrder(["x", "y"]).consume(1) == ["x"]


def test_a_worker_knows_that_a_lane_is_closed_for_now() -> None:
    backlog = Backlog(high_water=1)
    try:
        assert not is_lane_closed()
        watch(backlog)
        assert not is_lane_closed()
        backlog.add(Kind.MARKETING, ["a"])
        assert is_lane_closed()
        backlog.take(Kind.MARKETING, 1)
        assert not is_lane_closed()
    finally:
        watch(None)
