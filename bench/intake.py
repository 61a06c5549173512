"""A large CSV into the ledger by the command line: rows a second, memory, and when the first message goes out.

    ./run bench intake [--rows 1000000] [--runs postgresql sqlite sqlite-shuffled] [--write]

Every row is read, its number checked, deduplicated and asked of 100,000 suppressions. A worker is at work meanwhile, on
a sender that may send ten a second. ``shuffled``: numbers in no order, as in most lists. Beside it, when all else has
ended: a bare COPY (PostgreSQL) or executemany (SQLite) of the same rows, as the ledger has them, into a table with the
same indexes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import redis

from bench.figures import Figure, Part, at_least, at_most
from bench.machine import Cost, cost, peak_mb
from bench.stand import CLI, CONTENT, SENDER, Stand, number, people, stand
from bulksend.broker import LEADER_KEY
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import migrate

RUNS = ("postgresql", "sqlite", "sqlite-shuffled")
SUPPRESSED = 100_000
#: A number that is in no file of a bench.
FIRST = 20_000_000
#: Bytes and rows that the peers write at once.
BLOCK, PIECE = 2**18, 10_000
#: Another text than that of the first message: a file whose people may already have its text is read twice.
TEXT = {"body": f"{CONTENT['body']} Thank you."}
#: How often its memory is looked at.
LOOK_S = 0.2
#: Targets: of the rate of COPY, of the rate in order, seconds until the first POST, and of the memory after a quarter.
OF_COPY, OF_IN_ORDER, FIRST_POST_S, FLAT = 0.35, 0.9, 2.0, 1.2


@dataclass(frozen=True, slots=True)
class Taken:
    """What a ``send`` took: rows a second, and the bare peer's; seconds until the first POST; CPU seconds by part."""

    rate: float
    bare: float
    first_post: float
    early_mb: float
    """The most memory in the first quarter of its time."""
    memory_mb: float
    """The same in all of it."""
    cpu: Cost


def take(at: Stand, file: Path, rows: int) -> Taken:
    """Take the file in by the command line, beside a worker and a relay that are at work."""
    at.relay()
    at.worker()
    broker = redis.Redis.from_url(at.valkey.url)
    at.wait("the relay leads", lambda: broker.exists(LEADER_KEY))
    broker.close()
    # One message first: an empty Redis gives no permits for two seconds, and this is about what has been at work.
    at.send(people(at.folder / "first.csv", 1, first=FIRST))
    at.wait("the first message is out", at.vendor.arrivals)
    content = at.folder / "text.json"
    content.write_text(json.dumps(TEXT))
    before = cost(at.parts)
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603
        [*CLI, "send", str(file), "--sender", SENDER, "--type", "text", "--content", str(content), "--kind",
         "marketing", "--json"],
        env=at.environ, cwd=at.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    peaks: list[float] = []
    ended = 0
    while not ended:
        time.sleep(LOOK_S)
        peaks.append(peak_mb(process.pid))
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    took = time.monotonic() - began
    if status:
        assert process.stderr is not None
        raise RuntimeError(process.stderr.read().decode()[-2000:])
    others = cost(at.parts).since(before).seconds
    return Taken(
        rate=rows / took,
        bare=float("nan"),
        first_post=min(came for came, _ in at.vendor.arrivals() if came > began) - began,
        early_mb=peaks[len(peaks) // 4],
        memory_mb=used.ru_maxrss * 1024 / 1e6,
        cpu=Cost({"command": used.ru_utime + used.ru_stime} | dict(others)),
    )


def copied(at: Stand) -> float:
    """Seconds of a bare COPY of the ledger's messages into a table with the same columns and indexes."""
    assert at.postgres is not None
    file = at.folder / "messages.copy"
    with psycopg.connect(at.postgres.url.replace("+psycopg", "")) as connection:
        with file.open("wb") as out, connection.cursor().copy("COPY messages TO STDOUT") as reading:
            for block in reading:
                out.write(block)
        connection.execute("CREATE TABLE bare (LIKE messages INCLUDING ALL)")
        connection.commit()
        began = time.monotonic()
        with file.open("rb") as lines, connection.cursor().copy("COPY bare FROM STDIN") as writing:
            while block := lines.read(BLOCK):
                writing.write(block)
        connection.commit()
        return time.monotonic() - began


def executed_many(at: Stand) -> float:
    """Seconds of a bare executemany of the ledger's messages into an empty ledger on SQLite, in one transaction."""
    other = Database(f"sqlite:///{at.folder / 'bare.db'}")
    migrate(other)
    took = 0.0
    with at.ledger() as ledger, ledger.read() as source, other.write() as tx:
        for table in ("campaigns", "messages"):
            found = source.execution_options(stream_results=True).exec_driver_sql(f"SELECT * FROM {table}")
            insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(found.keys()))})"
            for rows in found.partitions(PIECE):
                began = time.monotonic()
                tx.exec_driver_sql(insert, [tuple(row) for row in rows])
                took += time.monotonic() - began
        began = time.monotonic()
        tx.commit()
        took += time.monotonic() - began
    other.close()
    return took


def measured(run: str, rows: int) -> Taken:
    """One run, printed."""
    backend, _, order = run.partition("-")
    with stand(backend, rate=10) as at:
        file = people(at.folder / "people.csv", rows, shuffled=order == "shuffled")
        blocked = at.folder / "blocked.csv"
        blocked.write_text("to\n" + "\n".join(number(5 * n) for n in range(SUPPRESSED)) + "\n")
        at.run("suppressions", "import", str(blocked), "--reason", "bench")
        taken = take(at, file, rows)
        at.stop_all()
        taken = replace(taken, bare=rows / (copied(at) if at.postgres else executed_many(at)))
    each = ", ".join(f"{part} {us:.1f}" for part, us in taken.cpu.each_us(rows).items())
    sys.stdout.write(
        f"{run:15} {rows:,} rows: {taken.rate:,.0f}/s, {taken.rate / taken.bare:.2f} of bare; "
        f"{taken.early_mb:.0f}, {taken.memory_mb:.0f} MB; first POST after {taken.first_post:.1f} s; "
        f"CPU us a row: {each}\n"
    )
    sys.stdout.flush()
    return taken


def part(found: Mapping[str, Taken]) -> Part:
    """For the page."""
    figures = []
    for run, taken in found.items():
        of = "PostgreSQL" if run == "postgresql" else f"SQLite, {'shuffled' if '-' in run else 'in order'}"
        peer = "COPY" if run == "postgresql" else "executemany"
        what, beside = f"rows a second / bare {peer}, {of}", f"bare {peer} {taken.bare:,.0f}"
        times = taken.rate / taken.bare
        figures += [
            Figure(f"rows a second, {of}", f"{taken.rate:,.0f}", beside),
            at_least(what, times, OF_COPY, "{:.2f}") if run == "postgresql" else Figure(what, f"{times:.2f}"),
            at_most(f"first POST, {of}", taken.first_post, FIRST_POST_S, "{:.1f} s"),
            at_most(
                f"memory of `send` at its end / after a quarter of its time, {of}",
                taken.memory_mb / taken.early_mb,
                FLAT,
                "{:.2f}",
                beside=f"{taken.memory_mb:,.0f} MB / {taken.early_mb:,.0f} MB",
            ),
        ]
    if {"sqlite", "sqlite-shuffled"} <= found.keys():
        times = found["sqlite-shuffled"].rate / found["sqlite"].rate
        figures.append(at_least("rows a second on SQLite, shuffled / in order", times, OF_IN_ORDER, "{:.2f}"))
    return Part(figures)


def main(arguments: Sequence[str] | None = None) -> Part:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="./run bench intake", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=RUNS)
    options = parser.parse_args(arguments)
    return part({run: measured(run, options.rows) for run in options.runs})


if __name__ == "__main__":
    main()
