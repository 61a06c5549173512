"""How long commands and workers take to begin, beside Python alone.

    ./run bench startup [--rounds 5] [--write]

``bulksend --help``; a look-up of a number in PostgreSQL; and a worker from its command to "ready": its lease taken,
asking for jobs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from bench.figures import Part, at_most
from bench.stand import CLI, Stand, number, stand

#: Seconds.
WITHIN = {"bulksend --help": 0.2, "bulksend messages find": 0.5, "a worker is ready": 1.5}


def timed(command: tuple[str, ...], environ: Mapping[str, str] | None = None) -> float:
    """Seconds from start to end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environ)  # noqa: S603
    return time.perf_counter() - began


def ready(at: Stand) -> float:
    """Seconds until a worker is at work."""
    began = time.perf_counter()
    worker = at.worker()
    took = time.perf_counter() - began
    worker.stop(30)
    return took


def part(seen: Mapping[str, Sequence[float]]) -> Part:
    """For the page: medians."""
    alone = statistics.median(seen["python -c pass"])
    return Part(
        [
            at_most(
                name if name.startswith("a ") else f"`{name}`",
                statistics.median(seen[name]),
                bound,
                "{:.2f} s",
                beside=f"`python -c pass` {alone:.2f} s",
            )
            for name, bound in WITHIN.items()
        ]
    )


def main(arguments: Sequence[str] | None = None) -> Part:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./run bench startup", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    find = (*CLI, "messages", "find", "--phone", number(0))
    with stand() as at:
        sides: dict[str, Callable[[], float]] = {
            "python -c pass": lambda: timed((sys.executable, "-c", "pass")),
            "bulksend --help": lambda: timed((*CLI, "--help")),
            "bulksend messages find": lambda: timed(find, at.environ),
            "a worker is ready": lambda: ready(at),
        }
        seen: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, measure in sides.items():
                seen[name].append(measure())
    alone = statistics.median(seen["python -c pass"])
    for name, times in seen.items():
        middle = statistics.median(times)
        sys.stdout.write(f"{name:22} {middle * 1000:7,.0f} ms  {middle / alone:5.1f} times Python alone\n")
    return part(seen)


if __name__ == "__main__":
    main()
