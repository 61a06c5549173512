"""The limit is held, and used: by two workers on one sender, as the vendor counts it."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.alone

RATE = 80
SECONDS = 20


def test_no_second_is_fuller_than_the_limit_and_98_percent_of_it_is_used_by_two_workers(
    make_site: Any,
) -> None:
    vendor = {"latency": {"kind": "lognormal", "median_ms": 60, "p99_ms": 600}}
    with make_site(workers=2, vendor=vendor) as site:
        to = [f"447700{900000 + n:06d}" for n in range(1000)] + [
            f"1{area}55501{n:02d}" for area in (212, 415, 312, 617, 206, 303) for n in range(100)
        ]
        blast = site.send("rate", to)
        ended = site.wait_ended(blast, seconds=SECONDS * 3)
        assert ended == {"accepted": len(to)}
        site.agrees()
        # Instants at which a request was complete at the vendor.
        at = sorted(row["monotonic"] for row in site.vendor())
        mean = (len(at) - 1) / (at[-1] - at[0])
        assert site.fullest_second() <= RATE, f"at a mean of {mean:.2f}/s"
        assert mean >= 0.98 * RATE
