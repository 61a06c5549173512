"""How long commands and workers take to begin, beside Python alone.

    python -m bench.startup [--rounds 5]

``bulksend --help``; and a worker from its command to "ready": its lease taken, asking for jobs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bench.stand import CLI, Stand, stand


def timed(command: tuple[str, ...]) -> float:
    """Seconds from start to end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - began


def ready(at: Stand) -> float:
    """Seconds until a worker is at work."""
    began = time.perf_counter()
    worker = at.worker()
    took = time.perf_counter() - began
    worker.stop(30)
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with stand() as at:
        sides: dict[str, Callable[[], float]] = {
            "python -c pass": lambda: timed((sys.executable, "-c", "pass")),
            "bulksend --help": lambda: timed((*CLI, "--help")),
            "a worker is ready": lambda: ready(at),
        }
        seen: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, measure in sides.items():
                seen[name].append(measure())
    alone = statistics.median(seen["python -c pass"])
    for name, times in seen.items():
        middle = statistics.median(times)
        sys.stdout.write(f"{name:18} {middle * 1000:7,.0f} ms  {middle / alone:5.1f} times Python alone\n")


if __name__ == "__main__":
    main()
