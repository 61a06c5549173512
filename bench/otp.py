"""A one-time code under a blast: from ``Producer.send`` returning to its POST at the vendor.

    ./run bench otp [--queued 100000] [--codes 200] [--rate 100000,500] [--in-flight 200] [--write]

One worker and one sender do both, first codes alone and then codes under the blast. It goes at full speed, or at the
sender's whole rate where ``--rate`` is less than the worker could. Times are the kernel's: CLOCK_MONOTONIC at the
return, and as the vendor's socket took the POST.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from bench.figures import Part, at_most
from bench.stand import SENDER, Stand, number, people, stand
from producer import Producer

FIRST_CODE = 9_000_000
#: Milliseconds, of all codes of a run.
WITHIN = {50: 40, 99: 120}


@dataclass(frozen=True, slots=True)
class Run:
    """One rate: seconds from return to POST of each code alone and under the blast, and the blast's POSTs a second."""

    rate: float
    alone: list[float]
    under: list[float]
    blast: float


def codes_under(at: Stand, rate: float, queued: int, codes: int) -> Run:
    """Codes alone, and as many under a blast."""
    at.worker()
    at.relay()
    os.environ.update(at.environ)
    producer = Producer.from_env()
    # One first: an empty Redis gives no permits for two seconds.
    send_codes(at, producer, FIRST_CODE, 1)
    alone, _ = send_codes(at, producer, FIRST_CODE + 1, codes)
    sent = at.vendor.count()
    at.send(people(at.folder / "people.csv", queued))
    at.wait("the blast goes", lambda: at.vendor.count() > sent + 500, 120)
    under, blast = send_codes(at, producer, FIRST_CODE + 1 + codes, codes)
    producer.close()
    return Run(rate, alone, under, blast)


def send_codes(at: Stand, producer: Producer, first: int, codes: int) -> tuple[list[float], float]:
    """Seconds from return to POST of each, and what else was POSTed a second meanwhile."""
    returned: dict[int, float] = {}
    before, began = at.vendor.count(), time.monotonic()
    for n in range(first, first + codes):
        to = number(n)
        producer.send(
            to=to,
            sender=SENDER,
            kind="otp",
            type="text",
            content={"body": f"{n % 1_000_000:06d} is your code"},
            ttl=timedelta(minutes=5),
            key=f"login-{n}",
        )
        returned[int(to)] = time.monotonic()
        time.sleep(0.05)  # twenty codes a second, as logins come
    took, others = time.monotonic() - began, at.vendor.count() - before - codes
    at.wait("every code is sent", lambda: returned.keys() <= {to for _, to in at.vendor.arrivals()}, 60, 0.5)
    posted = {to: when for when, to in at.vendor.arrivals() if to in returned}
    return [posted[to] - when for to, when in returned.items()], others / took


def part(runs: Sequence[Run]) -> Part:
    """For the page."""
    figures = []
    for run in runs:
        under, alone = (statistics.quantiles(waits, n=100) for waits in (run.under, run.alone))
        figures += [
            at_most(
                f"from `send` to the POST, p{share}; blast of {run.blast:,.0f}/s, limit {run.rate:,.0f}/s",
                under[share - 1] * 1000,
                bound,
                "{:,.0f} ms",
                beside=f"without a blast {alone[share - 1] * 1000:,.0f} ms",
            )
            for share, bound in WITHIN.items()
        ]
    return Part(figures)


def main(arguments: Sequence[str] | None = None) -> Part:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./run bench otp", description=__doc__.partition("\n")[0])
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--codes", type=int, default=200)
    parser.add_argument("--rate", default="100000,500")
    parser.add_argument("--in-flight", type=int, default=200)
    options = parser.parse_args(arguments)
    runs = []
    for rate in options.rate.split(","):
        with stand(rate=float(rate), in_flight=options.in_flight) as at:
            runs.append(codes_under(at, float(rate), options.queued, options.codes))
        cut = statistics.quantiles(runs[-1].under, n=100)
        sys.stdout.write(
            f"rate {rate:>7}/s: blast {runs[-1].blast:6,.0f}/s  code from return to POST: p50 {cut[49] * 1000:5.0f} "
            f"ms  p95 {cut[94] * 1000:5.0f} ms  p99 {cut[98] * 1000:5.0f} ms\n"
        )
        sys.stdout.flush()
    return part(runs)


if __name__ == "__main__":
    main()
