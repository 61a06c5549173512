"""The limit is held by two workers on one sender, as the vendor counts it. How much of it is used: bench/."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.alone

RATE = 80
SECONDS = 10


def test_no_second_is_fuller_than_the_limit_of_two_workers(make_site: Any) -> None:
    vendor = {"latency": {"kind": "lognormal", "median_ms": 60, "p99_ms": 600}}
    with make_site(workers=2, vendor=vendor) as site:
        to = [f"447700{900000 + n:06d}" for n in range(RATE * SECONDS)]
        blast = site.send("rate", to)
        ended = site.wait_ended(blast, seconds=SECONDS * 6)
        assert ended == {"accepted": len(to)}
        site.agrees()
        assert site.fullest_second() <= RATE
