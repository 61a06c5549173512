"""A large CSV into the ledger by the command line: rows a second, memory, and when the first message goes out.

    python -m bench.intake [--rows 1000000] [--backend postgresql,sqlite] [--shuffled]

Every row is read, its number checked, deduplicated and asked of 100,000 suppressions. A worker is at work meanwhile, on
a sender that may send ten a second. Beside it: how long Python's own csv takes to read the file and do nothing, and
what each process used meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.machine import Cost, cost
from bench.stand import CLI, CONTENT, SENDER, Stand, number, people, stand
from bulksend.broker import LEADER_KEY

SUPPRESSED = 100_000
#: A number that is in no file of a bench.
FIRST = 20_000_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What a ``send`` took: seconds, until the first POST and in all; MB at most; CPU seconds by part."""

    seconds: float
    first_post: float
    memory_mb: float
    cpu: Cost


def take(at: Stand, file: Path) -> Taken:
    """Take the file in by the command line, beside a worker and a relay that are at work."""
    content = at.folder / "content.json"
    content.write_text(json.dumps(CONTENT))
    at.relay()
    at.worker()
    broker = redis.Redis.from_url(at.valkey.url)
    at.wait("the relay leads", lambda: broker.exists(LEADER_KEY))
    broker.close()
    # One message first: an empty Redis gives no permits for two seconds, and this is about what has been at work.
    at.send(people(at.folder / "first.csv", 1, first=FIRST))
    at.wait("the first message is out", at.vendor.arrivals)
    before = cost(at.parts)
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
    others = cost(at.parts).since(before).seconds
    return Taken(
        took,
        min(came for came, _ in at.vendor.arrivals() if came > began) - began,
        used.ru_maxrss * 1024 / 1e6,
        Cost({"command": used.ru_utime + used.ru_stime} | dict(others)),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--backend", default="postgresql,sqlite")
    parser.add_argument("--shuffled", action="store_true", help="numbers in no order, as in most lists")
    options = parser.parse_args()
    for backend in options.backend.split(","):
        with stand(backend, rate=10) as at:
            file = people(at.folder / "people.csv", options.rows, shuffled=options.shuffled)
            blocked = at.folder / "blocked.csv"
            blocked.write_text("to\n" + "\n".join(number(5 * n) for n in range(SUPPRESSED)) + "\n")
            at.run("suppressions", "import", str(blocked), "--reason", "bench")
            began = time.perf_counter()
            with file.open(newline="") as lines:
                read = sum(1 for _ in csv.reader(lines)) - 1
            bare = time.perf_counter() - began
            taken = take(at, file)
        each = ", ".join(f"{part} {us:.1f}" for part, us in taken.cpu.each_us(read).items())
        sys.stdout.write(
            f"{backend:10} {read:,} rows in {taken.seconds:.1f} s: {read / taken.seconds:,.0f}/s, "
            f"{taken.seconds / bare:.0f} times a bare csv.reader; {taken.memory_mb:.0f} MB; first POST after "
            f"{taken.first_post:.1f} s; CPU us a row: {each}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
