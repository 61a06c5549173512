"""How exactly limits are held and how much of them is used, by several workers on one sender.

    ./run bench pacing [--rates 80,1000] [--workers 1,2,4] [--seconds 15] [--write]

A blast of ``--seconds`` at the sender's rate. Counted at the vendor, by the kernel's stamps of arrival: the fullest
second wherever it begins, over all of the run; and the share of the limit that was used from the first arrival to the
last, without the first and the last second, in which workers begin and run out. The permits' cost is the CPU of the
workers' threads that ask and what Redis says it worked on scripts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.figures import Figure, Part, at_least, at_most
from bench.machine import cost
from bench.stand import Stand, people, stand
from simulator.windows import PeakRate

#: What of a limit is to be used, up to this rate. Above, several workers share cores with the vendor.
USED, UP_TO = 0.97, 80


@dataclass(frozen=True, slots=True)
class Paced:
    """One run. CPU in microseconds a message; ``busy`` is the part of all cores that was in use."""

    rate: float
    workers: int
    messages: int
    fullest: int
    share: float
    calls: float
    """Messages a call for permits."""
    permits_worker_us: float
    permits_redis_us: float
    cpu_us: dict[str, float]
    busy: float
    missed: float
    """Permits whose slice was missed, as a part of the messages."""


def paced(at: Stand, rate: float, workers: int, seconds: float) -> Paced:
    """A blast of ``seconds``."""
    many = int(rate * seconds)
    meter = at.folder / "meter"
    meter.mkdir()
    at.environ["BENCH_METER"] = str(meter)
    at.send(people(at.folder / "people.csv", many))
    for _ in range(workers):
        at.worker(app="bench.metered")
    with redis.Redis.from_url(at.valkey.url) as client:
        before, busy_before = cost(at.parts), _busy_seconds()
        client.config_resetstat()
        began = time.monotonic()
        at.relay()
        at.wait("all are sent", lambda: at.vendor.count() >= many, 60 + 4 * seconds, 0.5)
        took = time.monotonic() - began
        used, busy = cost(at.parts).since(before), _busy_seconds() - busy_before
        scripts = client.info("commandstats").get("cmdstat_evalsha", {"usec": 0})["usec"]
    arrivals = [when for when, _ in at.vendor.arrivals()]
    at.stop_all()
    calls = [call for file in meter.glob("*.json") for call in json.loads(file.read_text())]
    asking = [call for call in calls if call[3]]
    granted = sum(call[4] for call in asking)
    return Paced(
        rate=rate,
        workers=workers,
        messages=many,
        fullest=_fullest(arrivals),
        share=_share(arrivals, rate),
        calls=granted / len(asking),
        permits_worker_us=sum(call[5] for call in asking) / many * 1e6,
        permits_redis_us=scripts / many,
        cpu_us=used.each_us(many),
        busy=busy / took / (os.cpu_count() or 1),
        missed=(granted - many) / many,
    )


def _fullest(arrivals: list[float]) -> int:
    busiest = PeakRate()
    for when in arrivals:
        busiest.add(when)
    return busiest.most


def _share(arrivals: list[float], rate: float) -> float:
    """Of the limit, between the first second and the last."""
    steady = [when for when in arrivals if arrivals[0] + 1 <= when < arrivals[-1] - 1]
    return (len(steady) - 1) / (steady[-1] - steady[0]) / rate


def _busy_seconds() -> float:
    """CPU seconds that were worked on all cores together, by all processes."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / 100


def say(run: Paced) -> str:
    """A line for people."""
    parts = ", ".join(f"{part} {us:.0f}" for part, us in sorted(run.cpu_us.items()))
    return (
        f"{run.rate:6,.0f}/s  {run.workers} workers: fullest second {run.fullest:5,}  share {run.share:6.1%}  "
        f"permits µs: worker {run.permits_worker_us:5.1f} + Redis {run.permits_redis_us:5.1f} at {run.calls:5.1f} a "
        f"call  missed {run.missed:5.1%}  cores {run.busy:4.0%}  CPU µs: {parts}\n"
    )


def part(runs: Sequence[Paced]) -> Part:
    """For the page."""
    figures = []
    for run in runs:
        of = f"at {run.rate:,.0f}/s, {run.workers} worker{'s' if run.workers > 1 else ''}"
        share, beside = f"share of the limit used {of}", f"{run.messages:,} messages"
        figures += [
            at_most(f"fullest second {of}", run.fullest, run.rate, beside=f"limit {run.rate:,.0f}"),
            at_least(share, run.share, USED, "{:.1%}", beside=beside)
            if run.rate <= UP_TO
            else Figure(share, f"{run.share:.1%}", beside),
        ]
    return Part(figures)


def main(arguments: Sequence[str] | None = None) -> Part:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./run bench pacing", description=__doc__.partition("\n")[0])
    parser.add_argument("--rates", default="80,1000")
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--seconds", type=float, default=15)
    # 2,500 a second of 50 ms each are 125 at once, and begin in blocks.
    parser.add_argument("--in-flight", type=int, default=400)
    options = parser.parse_args(arguments)
    runs = []
    for rate in options.rates.split(","):
        for workers in options.workers.split(","):
            with stand(rate=float(rate), in_flight=options.in_flight) as at:
                run = paced(at, float(rate), int(workers), options.seconds)
            runs.append(run)
            sys.stdout.write(say(run))
            sys.stdout.flush()
    return part(runs)


if __name__ == "__main__":
    main()
