"""Ids between Celery and the engine: known once, bounded by lane, dropped at a stop."""

from __future__ import annotations

from bulksend.messaging.states import Kind
from worker.prefetch import PrefetchBuffer


def test_lanes_are_listed_by_priority() -> None:
    assert PrefetchBuffer(high_water=10).open_lanes() == [Kind.OTP, Kind.UTILITY, Kind.MARKETING]


def test_a_full_lane_is_closed_and_the_others_are_open() -> None:
    buffer = PrefetchBuffer(high_water=2)
    buffer.add(Kind.MARKETING, ["a", "b"])
    assert buffer.open_lanes() == [Kind.OTP, Kind.UTILITY]


def test_the_otp_lane_is_open_however_full_it_is() -> None:
    buffer = PrefetchBuffer(high_water=1)
    buffer.add(Kind.OTP, ["a", "b", "c"])
    assert Kind.OTP in buffer.open_lanes()


def test_a_lane_opens_again_when_the_engine_has_taken_some() -> None:
    buffer = PrefetchBuffer(high_water=2)
    buffer.add(Kind.MARKETING, ["a", "b"])
    assert buffer.take(Kind.MARKETING, 1) == ["a"]
    assert Kind.MARKETING in buffer.open_lanes()


def test_a_job_that_was_published_twice_adds_its_ids_once() -> None:
    buffer = PrefetchBuffer(high_water=10)
    assert buffer.add(Kind.UTILITY, ["a", "b", "a"]) == 2
    assert buffer.add(Kind.UTILITY, ["b", "c"]) == 1
    assert buffer.take(Kind.UTILITY, 9) == ["a", "b", "c"]


def test_ids_may_be_put_first_whether_they_are_here_or_not() -> None:
    buffer = PrefetchBuffer(high_water=10)
    buffer.add(Kind.OTP, ["a", "b", "c"])
    buffer.add_first(Kind.OTP, ["c", "d"])
    assert buffer.take(Kind.OTP, 9) == ["c", "d", "a", "b"]
    assert buffer.add(Kind.OTP, ["d"]) == 1
    buffer.close()
    buffer.add_first(Kind.OTP, ["e"])
    assert buffer.size(Kind.OTP) == 0


def test_ids_that_were_taken_may_come_again() -> None:
    buffer = PrefetchBuffer(high_water=10)
    buffer.add(Kind.UTILITY, ["a"])
    buffer.take(Kind.UTILITY, 1)
    assert buffer.add(Kind.UTILITY, ["a"]) == 1


def test_a_closed_buffer_is_empty_and_takes_no_more() -> None:
    buffer = PrefetchBuffer(high_water=10)
    buffer.add(Kind.OTP, ["a"])
    buffer.close()
    assert buffer.add(Kind.OTP, ["b"]) == 0
    assert buffer.size(Kind.OTP) == 0
    assert buffer.open_lanes() == []
