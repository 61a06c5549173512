"""How often an address may fail to sign in."""

from __future__ import annotations

import pytest

from bulksend.errors import TooManyRequests
from ops.web.sign_in_rate import FIRST_S, FORGOTTEN_S, FREE, LONGEST_S, SignInRate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail(rate: SignInRate, clock: Clock, ip: str, times: int) -> list[float]:
    """How long the address waits before each of these failures."""
    waited = []
    for _ in range(times):
        began = clock.now
        while True:
            try:
                rate.check(ip)
                break
            except TooManyRequests:
                clock.now += 0.5
        waited.append(clock.now - began)
    return waited


def test_after_some_failures_each_waits_twice_as_long_as_the_one_before() -> None:
    clock = Clock()
    rate = SignInRate(clock)
    assert fail(rate, clock, "203.0.113.7", FREE + 4) == [
        *[0.0] * (FREE + 1),
        FIRST_S,
        2 * FIRST_S,
        4 * FIRST_S,
    ]
    assert max(fail(rate, clock, "203.0.113.7", 12)) == LONGEST_S


def test_another_address_does_not_wait_and_one_network_of_ipv6_is_one() -> None:
    clock = Clock()
    rate = SignInRate(clock)
    for number in range(FREE + 1):
        rate.check(f"2001:db8::{number:x}")
    with pytest.raises(TooManyRequests):
        rate.check("2001:db8::ffff:1")
    rate.check("2001:db8:0:1::1")
    rate.check("203.0.113.8")


def test_a_sign_in_or_an_hour_forgives() -> None:
    clock = Clock()
    rate = SignInRate(clock)
    for _ in range(FREE + 1):
        rate.check("203.0.113.7")
    rate.forgive("203.0.113.7")
    rate.check("203.0.113.7")
    for _ in range(FREE):
        rate.check("203.0.113.7")
    with pytest.raises(TooManyRequests):
        rate.check("203.0.113.7")
    clock.now += FORGOTTEN_S
    rate.check("203.0.113.7")


def test_a_flood_of_addresses_takes_no_more_memory_and_does_not_free_those_that_wait() -> None:
    clock = Clock()
    rate = SignInRate(clock)
    for _ in range(FREE + 1):
        rate.check("203.0.113.7")
    for number in range(10_001):
        rate.check(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(rate._of) <= 10_000
    with pytest.raises(TooManyRequests):
        rate.check("203.0.113.7")
