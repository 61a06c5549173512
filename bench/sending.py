"""How fast one, two and three of our workers send, by part: every safety on, through Celery.

    ./run bench sending [--messages 30000] [--in-flight 400] [--workers 1,2,3] [--rounds 2] [--backend postgresql]
        [--write]

All on the same cores. A campaign is taken in first, and the relay fills its window; then the worker starts. Of several
workers all are at work before the relay starts. What counts, of time and of CPU, is from the first POST at the vendor
to the last message settled in the ledger.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure, Part, at_most
from bench.machine import cost, cpu_of_all
from bench.stand import Stand, people, stand

#: CPU a message with more workers, as a multiple of that with one.
MOST_MORE = 1.1


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
    if workers > 1:
        for _ in range(workers):
            at.worker()
    at.relay()
    at.wait("the relay leads", at.relay_leads, every=0.005)
    if workers == 1:
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


def part(rounds: Sequence[Mapping[tuple[str, int], Run]]) -> Part:
    """For the page: of each round's runs, by in flight and workers; several workers beside the fewest."""
    figures = []
    for in_flight, workers in rounds[0]:
        runs = [found[in_flight, workers] for found in rounds]
        alone = [found[in_flight, min(many for _, many in found)] for found in rounds]
        of = f"{workers} worker{'s' if workers > 1 else ''}, {in_flight} in flight each"
        rate = statistics.median(run.rate for run in runs)
        cpu = statistics.median(cpu_of_all(run.cpu_us) for run in runs)
        figures.append(Figure(f"messages a second, {of}", f"{rate:,.0f}", f"CPU {cpu:,.0f} µs a message"))
        if runs != alone:
            times = statistics.median(
                cpu_of_all(run.cpu_us) / cpu_of_all(one.cpu_us) for run, one in zip(runs, alone, strict=True)
            )
            what = f"CPU a message of {workers} workers / of one"
            figures.append(at_most(what, times, MOST_MORE, "{:.2f}", beside=f"median of {len(rounds)}"))
    return Part(figures)


def main(arguments: Sequence[str] | None = None) -> Part:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./run bench sending", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=30_000)
    parser.add_argument("--in-flight", default="400")
    parser.add_argument("--backend", default="postgresql")
    parser.add_argument("--workers", default="1,2,3")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(arguments)
    rounds: list[dict[tuple[str, int], Run]] = []
    for _ in range(options.rounds):
        rounds.append({})
        for in_flight in options.in_flight.split(","):
            for workers in map(int, options.workers.split(",")):
                with stand(options.backend, in_flight=int(in_flight)) as at:
                    run = blast(at, options.messages, workers=workers)
                rounds[-1][in_flight, workers] = run
                parts = ", ".join(f"{part} {us:.0f}" for part, us in sorted(run.cpu_us.items()))
                memory = ", ".join(f"{part} {mb:.0f}" for part, mb in sorted(run.peak_mb.items()))
                sys.stdout.write(
                    f"{workers} workers, {in_flight:>4} in flight {run.rate:8,.0f}/s  µs CPU a message: {parts}  "
                    f"MB: {memory}\n"
                )
                sys.stdout.flush()
    return part(rounds)


if __name__ == "__main__":
    main()
