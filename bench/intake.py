"""A large CSV into the ledger by the command line: rows a second, memory, and when the first message goes out.

    python -m bench.intake [--rows 1000000] [--backend postgresql,sqlite]

Every row is read, its number checked, deduplicated and asked of 100,000 suppressions. A worker is at work meanwhile, on
a sender that may send ten a second. Beside it: how long Python's own csv takes to read the file and do nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.stand import CLI, CONTENT, SENDER, Stand, number, people, stand

SUPPRESSED = 100_000


def take(at: Stand, file: Path) -> tuple[float, float, float]:
    """Seconds of the whole command, its most memory in MB, and seconds until the first POST."""
    content = at.folder / "content.json"
    content.write_text(json.dumps(CONTENT))
    at.worker()
    at.relay()
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        [*CLI, "send", str(file), "--sender", SENDER, "--type", "text", "--content", str(content), "--kind",
         "marketing", "--json"],
        env=at.environ, cwd=at.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, status, used = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    if status:
        assert process.stderr is not None
        raise RuntimeError(process.stderr.read().decode()[-2000:])
    return took, used.ru_maxrss * 1024 / 1e6, at.vendor.arrivals()[0][0] - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--backend", default="postgresql,sqlite")
    options = parser.parse_args()
    for backend in options.backend.split(","):
        with stand(backend, rate=10) as at:
            file = people(at.folder / "people.csv", options.rows)
            blocked = at.folder / "blocked.csv"
            blocked.write_text("to\n" + "\n".join(number(5 * n) for n in range(SUPPRESSED)) + "\n")
            at.run("suppressions", "import", str(blocked), "--reason", "bench")
            began = time.perf_counter()
            with file.open(newline="") as lines:
                read = sum(1 for _ in csv.reader(lines)) - 1
            bare = time.perf_counter() - began
            took, memory, first = take(at, file)
        sys.stdout.write(
            f"{backend:10} {read:,} rows in {took:.1f} s: {read / took:,.0f}/s, {took / bare:.0f} times a bare "
            f"csv.reader; {memory:.0f} MB; first POST after {first:.1f} s\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
