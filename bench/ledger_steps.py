"""What each step of a message's life costs the ledger: intake, claim, write-ahead, settlement, as a worker does them.

    python -m bench.ledger_steps [--backend postgresql|sqlite] [--messages 20000] [--batch 400] [--after 0]

One thread, one batch at a time. Prints microseconds a message: by the clock, of our own CPU, and of the server's; and
rows written and bytes of the write-ahead log a message. ``--after`` fills the ledger with that many messages first, for
claims and settlements at size.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.large_ledger import fill
from bench.machine import cpu_seconds
from bench.stand import POSTGRESQL, SENDER, number
from bulksend.ledger import campaign_creation, intake, leases
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.claim import Claimed
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.message_rows import NewMessage
from bulksend.ledger.migrate import migrate
from bulksend.ledger.settle import Settlement
from bulksend.ledger.write_ahead import Opening
from bulksend.messaging.outcome import Accepted, Evidence
from bulksend.messaging.states import Kind, OnUnknown, Status
from ops.local.postgres import EmbeddedPostgres
from worker.session.campaign_cache import CampaignCache
from worker.session.store import Store

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Step:
    """What one step cost a message: microseconds, rows written, bytes of the write-ahead log (0 on SQLite)."""

    clock: float
    ours: float
    server: float
    rows: float
    log: float


def steps(database: Database, many: int, batch: int, server: Callable[[], float]) -> dict[str, Step]:
    """Take ``many`` messages through a whole life, ``batch`` at a time."""
    campaign_key = new_id()
    with database.write() as tx:
        campaign, _ = campaign_creation.create_or_find(tx, _campaign(campaign_key))
        lease, _ = leases.take(tx, "bench", HOUR_MS)
    store = Store(
        database, CampaignCache(Cipher([b"k" * 32]), default_rate=80), name="bench:1", account="default"
    )
    found: dict[str, Step] = {}
    ids: list[str] = []

    def measured(name: str, work: Callable[[int], None], each: int) -> None:
        rows, log = _written(database)
        began, cpu, other = time.perf_counter(), time.process_time(), server()
        for first in range(0, many, each):
            work(first)
        spent = (time.perf_counter() - began, time.process_time() - cpu, server() - other)
        rows_now, log_now = _written(database)
        found[name] = Step(
            *(seconds / many * 1e6 for seconds in spent), (rows_now - rows) / many, (log_now - log) / many
        )

    def take(first: int) -> None:
        rows = [_message(n) for n in range(first, min(first + 2000, many))]
        with database.write() as tx:
            taken = intake.store_chunk(
                tx, campaign, after_row=first, planned=rows, refused=(),
                cipher=Cipher([b"k" * 32]),
            )  # fmt: skip
        ids.extend(taken.ready)

    hand: list[Claimed] = []
    opened: list[Opening] = []

    def claim_(first: int) -> None:
        hand.extend(store.claim(ids[first : first + batch], lease))

    def open_(first: int) -> None:
        batch_of = [Opening(m, new_id()) for m in hand[first : first + batch]]
        done = store.open(batch_of, lease)
        assert len(done) == len(batch_of)
        opened.extend(batch_of)

    def settle_(first: int) -> None:
        store.settle([_settlement(o) for o in opened[first : first + batch]])

    measured("intake", take, 2000)
    measured("claim", claim_, batch)
    measured("open", open_, batch)
    measured("settle", settle_, batch)
    return found


#: Waits until what other sessions wrote is counted: they tell it once a second.
_COUNTED = """SELECT pg_sleep(1.2), pg_stat_force_next_flush()"""
_WRITTEN = """SELECT (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables),
    pg_current_wal_insert_lsn() - '0/0'"""


def _written(database: Database) -> tuple[float, float]:
    """Rows written and bytes of the write-ahead log so far; zeros on SQLite."""
    if database.is_sqlite:
        return 0.0, 0.0
    with database.autocommit() as tx:
        tx.exec_driver_sql(_COUNTED)
        rows, log = tx.exec_driver_sql(_WRITTEN).one()
    return float(rows), float(log)


def _campaign(key: str) -> NewCampaign:
    return NewCampaign(
        key, "bench", Kind.MARKETING, SENDER, "text", '{"body":"Hello {{name}}"}', key, "bench.csv",
        0, None, None, OnUnknown.HOLD, "bench",
    )  # fmt: skip


def _message(n: int) -> NewMessage:
    to = number(n)
    body: dict[str, object] = {"v": {"name": f"Name {n}", "voucher": f"V-{n:08d}"}}
    return NewMessage(n + 1, to, False, to, SENDER, "text", body, str(body), 0, None)


def _settlement(opening: Opening) -> Settlement:
    outcome = Accepted(opening.attempt_id, opening.attempt_id)
    evidence = Evidence(200, 0, None, "", opening.attempt_id, opening.attempt_id, True, True, "")
    return Settlement(
        opening.message.id, opening.attempt_id, outcome, evidence, 51.2, Status.ACCEPTED, None, 1, 0, ""
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=400)
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with _ledger(options.backend) as (database, server):
        if options.after:
            fill(database, options.after)
        for _ in range(options.rounds):
            report(steps(database, options.messages, options.batch, server))


def report(found: dict[str, Step]) -> None:
    """Print a line for each step."""
    for name, step in found.items():
        sys.stdout.write(
            f"{name:8} {step.clock:7.1f} µs by the clock {step.ours:7.1f} ours {step.server:7.1f} server's"
            f" {step.rows:5.1f} rows {step.log:6.0f} bytes of log\n"
        )
    total: Sequence[Step] = [found[name] for name in ("claim", "open", "settle")]
    sys.stdout.write(
        f"sending  {sum(s.clock for s in total):7.1f} µs by the clock {sum(s.ours for s in total):7.1f} ours "
        f"{sum(s.server for s in total):7.1f} server's {sum(s.rows for s in total):5.1f} rows"
        f" {sum(s.log for s in total):6.0f} bytes of log\n"
    )
    sys.stdout.flush()


@contextmanager
def _ledger(backend: str) -> Iterator[tuple[Database, Callable[[], float]]]:
    """A new ledger, and what its server has used of CPU so far, seconds."""
    if backend == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            database = Database(f"sqlite:///{Path(folder) / 'ledger.db'}", by_key=True)
            migrate(database)
            yield database, lambda: 0.0
            database.close()
        return
    postgres = EmbeddedPostgres(durable=True, settings=POSTGRESQL)
    try:
        database = Database(postgres.start(), by_key=True)
        migrate(database)
        yield database, lambda: cpu_seconds(postgres.pid or 0)
        database.close()
    finally:
        postgres.remove()


if __name__ == "__main__":
    main()
