"""A one-time code under a blast: from ``Producer.send`` returning to its POST at the vendor.

    python -m bench.otp [--queued 100000] [--codes 200] [--rate 100000,500] [--in-flight 200]

One worker and one sender do both. The blast goes at full speed, or at the sender's whole rate where ``--rate`` is less
than the worker could. Times are the kernel's: CLOCK_MONOTONIC at the return, and as the vendor's socket took the POST.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from datetime import timedelta

from bench.stand import SENDER, Stand, number, people, stand
from producer import Producer

FIRST_CODE = 9_000_000


def codes_under(at: Stand, queued: int, codes: int) -> tuple[list[float], float]:
    """Seconds from return to POST of each code, and the blast's POSTs a second meanwhile."""
    at.send(people(at.folder / "people.csv", queued))
    at.worker()
    at.relay()
    at.wait("the blast goes", lambda: at.vendor.count() > 500, 120)
    os.environ.update(at.environ)
    producer = Producer.from_env()
    returned: dict[int, float] = {}
    before, began = at.vendor.count(), time.monotonic()
    for n in range(codes):
        to = number(FIRST_CODE + n)
        producer.send(
            to=to,
            sender=SENDER,
            kind="otp",
            type="text",
            content={"body": f"{n:06d} is your code"},
            ttl=timedelta(minutes=5),
            key=f"login-{n}",
        )
        returned[int(to)] = time.monotonic()
        time.sleep(0.05)  # twenty codes a second, as logins come
    took, blast = time.monotonic() - began, at.vendor.count() - before
    at.wait("every code is sent", lambda: returned.keys() <= {to for _, to in at.vendor.arrivals()}, 60, 0.5)
    posted = {to: when for when, to in at.vendor.arrivals() if to in returned}
    return [posted[to] - when for to, when in returned.items()], (blast - codes) / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--codes", type=int, default=200)
    parser.add_argument("--rate", default="100000,500")
    parser.add_argument("--in-flight", type=int, default=200)
    options = parser.parse_args()
    for rate in options.rate.split(","):
        with stand(rate=float(rate), in_flight=options.in_flight) as at:
            waits, blast = codes_under(at, options.queued, options.codes)
        cut = statistics.quantiles(waits, n=100)
        sys.stdout.write(
            f"rate {rate:>7}/s: blast {blast:6,.0f}/s  code from return to POST: p50 {cut[49] * 1000:5.0f} ms  "
            f"p95 {cut[94] * 1000:5.0f} ms  p99 {cut[98] * 1000:5.0f} ms\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
