"""Deletion by age beside a running blast: what it takes from the blast, and how long its transactions are.

    python -m bench.retention [--old 5000000] [--rate 500] [--seconds 60] [--rounds 2] [--backend postgresql]

A ledger of ``--old`` messages that ended two days ago. A blast runs at its limit; by turns the relay keeps all messages
and deletes those that are older than a day. The share of the limit that is used is counted at the vendor. The age of
its transaction is read from PostgreSQL every few milliseconds. SQLite shows no such thing: there the bench
deletes, a process beside the others as the relay is, and times each transaction from its lock to its commit.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from sqlalchemy import Connection

from bench.large_ledger import fill
from bench.stand import CLI, Stand, people, stand
from bulksend.ledger import installation
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.retention import APPLICATION, Deletion
from bulksend.messaging.retention import Retention
from bulksend.messaging.states import Kind
from producer.maintenance import EVERY_S

#: How often transactions are looked at, and the first seconds of a turn, which do not count.
LOOK_S, WARM_S = 0.005, 5.0
_OLDEST = f"""SELECT extract(epoch FROM clock_timestamp() - xact_start) * 1000, state, query FROM pg_stat_activity
    WHERE application_name = '{APPLICATION}' AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1"""
#: Counts, not ``count(*)`` of millions of messages, which would take from the blast. Part -1 counts what is deleted.
_DELETED = "SELECT COALESCE(sum(messages), 0) FROM campaign_counts WHERE part = -1"


@dataclass(slots=True)
class Turn:
    """A part of the blast. ``deleted``: messages a second."""

    deletes: bool
    share: float = 0.0
    deleted: float = 0.0
    longest_ms: float = 0.0
    last_statement: str = ""
    """Of the longest transaction."""

    def __str__(self) -> str:
        what = f"deletes {self.deleted:,.0f} messages/s" if self.deletes else "keeps all"
        return (
            f"{what:32}  share of the limit {self.share:6.1%}  longest transaction {self.longest_ms:4.0f} ms: "
            f"{self.last_statement}"
        )


@contextmanager
def looking(database: Database, turn: Turn) -> Iterator[None]:
    """Note the age of the oldest transaction, on another thread."""
    over = threading.Event()

    def look() -> None:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not over.wait(LOOK_S):
                for age, state, query in connection.exec_driver_sql(_OLDEST):
                    if age > turn.longest_ms:
                        turn.longest_ms = float(age)
                        turn.last_statement = f"{state}, {' '.join(query.split())[:90]}"

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def deleting(database: Database, turn: Turn) -> Iterator[None]:
    """Delete as the relay's maintenance does, and note the longest transaction, on another thread."""
    over = threading.Event()
    deletion = Deletion(Retention(rows=dict.fromkeys(Kind, 1.0)))

    def in_transaction(work: Callable[[Connection], dict[str, int]]) -> dict[str, int]:
        with database.write() as tx:
            began = time.monotonic()
            done = work(tx)
            at_commit = (time.monotonic() - began) * 1000
        age = (time.monotonic() - began) * 1000
        if age > turn.longest_ms:
            turn.longest_ms, turn.last_statement = age, f"{at_commit:.0f} ms to its COMMIT, {done}"
        return done

    def run() -> None:
        while not over.wait(EVERY_S):
            deletion.run(in_transaction)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def take_turn(at: Stand, database: Database, rate: float, seconds: float, *, deletes: bool) -> Turn:
    """A relay of its own, for ``seconds`` after the first ones."""
    turn = Turn(deletes)
    by_relay = deletes and not database.is_sqlite
    relay = at.start("relay", *CLI, "relay", more={"BULKSEND_RETENTION_ROWS_DAYS": "1"} if by_relay else {})
    at.wait("the relay leads", at.relay_leads)
    time.sleep(WARM_S)
    beside: AbstractContextManager[None] = nullcontext()
    if not database.is_sqlite:
        beside = looking(database, turn)
    elif deletes:
        beside = deleting(database, turn)
    with beside:
        deleted, sent, began = _deleted(database), at.vendor.count(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        turn.share = (at.vendor.count() - sent) / took / rate
        turn.deleted = (_deleted(database) - deleted) / took
    relay.ask_to_stop()
    relay.wait_or_kill(40)
    return turn


def _deleted(database: Database) -> int:
    with database.read() as tx:
        return int(tx.exec_driver_sql(_DELETED).scalar_one())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--old", type=int, default=5_000_000)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--backend", choices=("postgresql", "sqlite"), default="postgresql")
    options = parser.parse_args()
    with stand(options.backend, rate=options.rate) as at, at.ledger() as database:
        began = time.monotonic()
        fill(database, options.old, age_days=2)
        with database.write() as tx:
            tx.exec_driver_sql("UPDATE campaigns SET status = 'cancelled' WHERE status = 'running'")
            # The sums by hour begin now: a relay that ran all the time has those of the old messages.
            installation.put(tx, "stats_attempts", str(read_clock(tx)).encode())
        if database.is_sqlite:
            # Or the first COMMIT of a turn copies all of them into the file.
            with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        sys.stdout.write(f"{options.old:,} old messages in {time.monotonic() - began:.0f} s\n")
        turns = options.rounds * 2 * (options.seconds + WARM_S + 20)
        at.send(people(at.folder / "people.csv", int(options.rate * turns)))
        at.worker()
        for _ in range(options.rounds):
            for deletes in (False, True):
                turn = take_turn(at, database, options.rate, options.seconds, deletes=deletes)
                sys.stdout.write(f"{turn}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
