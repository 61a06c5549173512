"""The log of an outage of Redis: its start, once a minute, its end."""

from __future__ import annotations

from typing import Any

import redis

from bulksend.broker import Outage


class Listener:
    def __init__(self) -> None:
        self.now = 100.0
        self.heard: list[tuple[str, dict[str, Any]]] = []

    def say(self, event: str, **told: Any) -> None:
        self.heard.append((event, told))

    def outage(self) -> Outage:
        return Outage("relay", steady_s=lambda: self.now, log_event=self.say)


def test_an_outage_of_three_and_a_half_minutes_is_five_lines_at_two_tries_a_second() -> None:
    listener = Listener()
    outage = listener.outage()
    for _ in range(421):
        outage.failed(redis.ConnectionError("no way there"))
        listener.now += 0.5
    outage.succeeded()
    assert [event for event, _ in listener.heard] == [
        "redis_unavailable",
        "redis_still_unavailable",
        "redis_still_unavailable",
        "redis_still_unavailable",
        "redis_available",
    ]
    assert listener.heard[-1][1] == {"component": "relay", "away_seconds": 210.5, "tries": 421}


def test_without_an_outage_nothing_is_logged() -> None:
    listener = Listener()
    listener.outage().succeeded()
    assert listener.heard == []


def test_the_next_outage_is_logged_again() -> None:
    listener = Listener()
    outage = listener.outage()
    for _ in range(2):
        outage.failed(redis.ConnectionError())
        outage.succeeded()
    assert [event for event, _ in listener.heard] == ["redis_unavailable", "redis_available"] * 2


def test_only_the_code_of_redis_own_error_is_logged() -> None:
    listener = Listener()
    for error in (
        redis.ResponseError("MISCONF errors writing to the file"),
        redis.ResponseError("unknown command, with args beginning with: 447700900123"),
        redis.ConnectionError(""),
    ):
        listener.outage().failed(error)
    told = [told["error"] for _, told in listener.heard]
    assert told == ["ResponseError MISCONF", "ResponseError", "ConnectionError"]
