"""Telling Redis: quick when it answers, never a wait when it does not."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from bulksend.messaging.states import Kind
from producer.publisher import ImpatientPublisher


class Scripted:
    """A publisher that takes ids, refuses them, or hangs until it is let go."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.refuses = False
        self.may_go = threading.Event()
        self.may_go.set()

    def publish(self, lane: Kind, ids: Sequence[str]) -> int:
        self.may_go.wait(30)
        if self.refuses:
            return 0
        self.took += ids
        return len(ids)


def test_ids_are_published_while_the_caller_waits() -> None:
    inner = Scripted()
    assert ImpatientPublisher(inner).publish(Kind.OTP, ["a", "b"]) == 2
    assert inner.took == ["a", "b"]


def test_a_redis_that_hangs_costs_its_callers_one_patience_together() -> None:
    inner = Scripted()
    inner.may_go.clear()
    publisher = ImpatientPublisher(inner, patience_s=0.2)
    begun = time.monotonic()
    assert [publisher.publish(Kind.OTP, [str(n)]) for n in range(200)] == [0] * 200
    assert time.monotonic() - begun < 1.0
    inner.may_go.set()
    deadline = time.monotonic() + 10
    while len(inner.took) < 200 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert inner.took == [str(n) for n in range(200)]


def test_after_a_refusal_ids_are_left_to_the_relay_for_a_while() -> None:
    inner = Scripted()
    inner.refuses = True
    publisher = ImpatientPublisher(inner, rest_s=60.0)
    assert publisher.publish(Kind.OTP, ["a"]) == 0
    inner.refuses = False
    assert publisher.publish(Kind.OTP, ["b"]) == 0
    assert inner.took == []


def test_once_rested_it_publishes_again() -> None:
    inner = Scripted()
    inner.refuses = True
    publisher = ImpatientPublisher(inner, rest_s=0.0)
    publisher.publish(Kind.OTP, ["a"])
    inner.refuses = False
    assert publisher.publish(Kind.OTP, ["b"]) == 1


def test_nothing_is_published_for_nothing() -> None:
    inner = Scripted()
    inner.may_go.clear()
    assert ImpatientPublisher(inner).publish(Kind.OTP, []) == 0
