"""Telling Redis: quick when it answers, never a wait when it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from bulksend.messaging.states import Kind
from producer.publisher import BackgroundPublisher


class Scripted:
    """A publisher that takes ids, refuses them, or hangs until it is let go."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.calls: list[tuple[Kind, int]] = []
        self.refuses = False
        self.may_go = threading.Event()
        self.may_go.set()
        self.began = threading.Event()
        self._changed = threading.Condition()

    def ended(self, calls: int) -> bool:
        """Wait until ``calls`` calls have ended."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.calls) >= calls, 30)

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        self.began.set()
        self.may_go.wait(30)
        with self._changed:
            self.calls.append((lane, len(ids)))
            self._changed.notify_all()
        if self.refuses:
            return 0
        self.took += ids
        return len(ids)

    def hand_over(self, lane: Kind, ids: Sequence[str]) -> None:
        self.publish(lane, ids)


def test_ids_are_published_while_the_caller_waits() -> None:
    inner = Scripted()
    assert BackgroundPublisher(inner).publish(Kind.OTP, ["a", "b"]) == 2
    assert inner.took == ["a", "b"]


def test_a_caller_that_hands_over_does_not_wait_for_redis() -> None:
    inner = Scripted()
    inner.may_go.clear()
    publisher = BackgroundPublisher(inner, timeout_s=3600)
    publisher.hand_over(Kind.OTP, ["a"])
    publisher.hand_over(Kind.OTP, ["b"])
    inner.may_go.set()
    assert inner.ended(1)
    assert inner.took[0] == "a"


def test_a_redis_that_hangs_costs_its_callers_one_patience_together() -> None:
    inner = Scripted()
    inner.may_go.clear()
    # One patience each would be longer than this test may last.
    publisher = BackgroundPublisher(inner, timeout_s=1.0)
    assert [publisher.publish(Kind.OTP, [str(n)]) for n in range(200)] == [0] * 200
    inner.may_go.set()
    deadline = time.monotonic() + 60
    while len(inner.took) < 200 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert inner.took == [str(n) for n in range(200)]


def test_after_a_refusal_ids_are_left_to_the_relay_for_a_while() -> None:
    inner = Scripted()
    inner.refuses = True
    publisher = BackgroundPublisher(inner, pause_s=60.0)
    assert publisher.publish(Kind.OTP, ["a"]) == 0
    inner.refuses = False
    assert publisher.publish(Kind.OTP, ["b"]) == 0
    assert inner.took == []


def test_once_rested_it_publishes_again() -> None:
    inner = Scripted()
    inner.refuses = True
    publisher = BackgroundPublisher(inner, pause_s=0.0)
    publisher.publish(Kind.OTP, ["a"])
    inner.refuses = False
    assert publisher.publish(Kind.OTP, ["b"]) == 1


def test_nothing_is_published_for_nothing() -> None:
    inner = Scripted()
    inner.may_go.clear()
    assert BackgroundPublisher(inner).publish(Kind.OTP, []) == 0


def test_what_is_handed_over_while_redis_is_busy_goes_out_in_one_call_a_lane() -> None:
    inner = Scripted()
    inner.may_go.clear()
    publisher = BackgroundPublisher(inner, timeout_s=0.0)
    # The first call is under way, the others wait for it.
    publisher.publish(Kind.OTP, ["first"])
    inner.began.wait(30)
    for n in range(20):
        publisher.publish(Kind.OTP if n % 2 else Kind.MARKETING, [str(n)])
    inner.may_go.set()
    publisher.publish(Kind.UTILITY, ["last"])
    assert inner.ended(4)
    assert inner.calls[1:3] == [(Kind.MARKETING, 10), (Kind.OTP, 10)]
