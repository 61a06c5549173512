"""``Producer.send`` from several threads of one process: calls a second, and how long a call takes.

    python -m bench.single_sends [--threads 1,16] [--seconds 5] [--backend postgresql,sqlite] [--kind otp]

Every call commits before it returns; Redis is there and takes the jobs, no worker runs. To compare two versions, run it
in both checkouts in turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from bench.stand import SENDER, number, stand
from producer import Producer


def send_all(producer: Producer, threads: int, seconds: float, kind: str, run: int) -> list[float]:
    """Call ``send`` from ``threads`` threads for ``seconds``; the time of each call, in seconds."""
    took: list[list[float]] = [[] for _ in range(threads)]
    until = time.monotonic() + seconds

    def one(thread: int) -> None:
        n = 0
        while (began := time.monotonic()) < until:
            code = f"{n % 1_000_000:06d}"
            producer.send(
                to=number((run * threads + thread) * 100_000 + n),
                sender=SENDER,
                kind=kind,
                type="text",
                content={"body": f"{code} is your code"},
                ttl=timedelta(minutes=5),
                key=f"{run}-{thread}-{n}",
            )
            took[thread].append(time.monotonic() - began)
            n += 1

    at_work = [threading.Thread(target=one, args=(thread,)) for thread in range(threads)]
    for thread in at_work:
        thread.start()
    for thread in at_work:
        thread.join()
    return [each for of_thread in took for each in of_thread]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", default="1,16")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--backend", default="postgresql,sqlite")
    parser.add_argument("--kind", default="otp")
    options = parser.parse_args(arguments)
    for backend in options.backend.split(","):
        with stand(backend) as at:
            os.environ.update(at.environ)
            producer = Producer.from_env()
            send_all(producer, 1, 0.5, options.kind, 0)
            for run, threads in enumerate(map(int, options.threads.split(",")), start=1):
                before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
                took = send_all(producer, threads, options.seconds, options.kind, run)
                wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
                cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                cut = statistics.quantiles(took, n=100)
                sys.stdout.write(
                    f"{backend:10} {threads:3} threads: {len(took) / wall:6,.0f}/s  p50 {cut[49] * 1000:5.1f}  "
                    f"p99 {cut[98] * 1000:5.1f}  most {max(took) * 1000:5.1f} ms  CPU {cpu / len(took) * 1e6:,.0f} us\n"
                )
                sys.stdout.flush()
            producer.close()


if __name__ == "__main__":
    main()
