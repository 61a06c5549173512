"""How fast one of our workers sends, by part: every safety on, through Celery.

    python -m bench.sending [--messages 30000] [--in-flight 200,400,800] [--backend postgresql|sqlite]

A campaign is taken in first, and the relay fills its window; then the worker starts. What counts, of time and of CPU,
is from the first POST at the vendor to the last message settled in the ledger.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass

from bench.machine import cost
from bench.stand import Stand, people, stand


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to."""

    messages: int
    seconds: float
    cpu_us: dict[str, float]
    """CPU a message by part, microseconds."""
    peak_mb: dict[str, float]

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds


def blast(at: Stand, many: int, *, workers: int = 1) -> Run:
    """Send ``messages`` messages."""
    at.send(people(at.folder / "people.csv", many))
    at.relay()
    at.wait("the relay leads", at.relay_leads)
    for _ in range(workers):
        at.worker()
    at.wait("the first POST", at.vendor.count, every=0.005)
    before = cost(at.parts)
    with at.ledger() as ledger:

        def left() -> int:
            with ledger.read() as tx:
                waiting = "status IN ('queued', 'retry')"
                return int(tx.exec_driver_sql(f"SELECT count(*) FROM messages WHERE {waiting}").scalar_one())

        at.wait("all are sent", lambda: at.vendor.count() >= many, 600, 0.2)
        at.wait("all are settled", lambda: left() == 0, 60, 0.02)
        ended = time.monotonic()
        used = cost(at.parts).since(before)
        with ledger.read() as tx:
            accepted = tx.exec_driver_sql("SELECT count(*) FROM messages WHERE status = 'accepted'").scalar()
    if accepted != many or at.vendor.count() != many:
        raise RuntimeError(f"{accepted} accepted and {at.vendor.count()} POSTs of {many}\n{at.logs()}")
    began = at.vendor.arrivals()[0][0]
    return Run(many, ended - began, used.each_us(many), at.peaks_mb())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=30_000)
    parser.add_argument("--in-flight", default="200,400,800")
    parser.add_argument("--backend", default="postgresql")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    for in_flight in options.in_flight.split(","):
        with stand(options.backend, in_flight=int(in_flight)) as at:
            run = blast(at, options.messages, workers=options.workers)
        parts = ", ".join(f"{part} {us:.0f}" for part, us in sorted(run.cpu_us.items()))
        memory = ", ".join(f"{part} {mb:.0f}" for part, mb in sorted(run.peak_mb.items()))
        sys.stdout.write(
            f"{in_flight:>4} in flight {run.rate:8,.0f}/s  µs CPU a message: {parts}  MB: {memory}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
