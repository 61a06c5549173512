"""Queries of ops, workers and relay in a ledger of ten million messages; writes docs/scale.md and .json.

    python -m bench.at_size [--backend postgresql|sqlite] [--messages 10000000] [--database URL] [--times 100] [--write]

Makes the ledger in a PostgreSQL of its own (or a SQLite file) with bench/large_ledger.py: a thousand campaigns of a
hundred messages, then one of all the others; 13 GB and a quarter of an hour for ten million. With a URL it uses the
ledger there, and fills it if it is empty. Asks each form of ``messages find`` and ``campaigns show`` many times, for
another message or place each time, warm, and prints the median and the 95th percentile in ms. The command's work on the
answer counts, its start (bench/startup.py) does not. Then takes 10,000 messages through claim, write-ahead and
settlement, there and in a ledger of 10,000, in turns.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from bench import scale_page
from bench.audit import SERVER
from bench.large_ledger import fill, put_campaign
from bench.ledger_steps import Step, steps
from bench.machine import cpu_seconds
from bench.output import say
from bulksend.ledger import campaign_control, campaigns, counters, due, leases, receipts, search, unknowns
from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.migrate import migrate
from bulksend.ledger.schema import campaigns as campaigns_table
from bulksend.ledger.schema import messages as messages_table
from bulksend.ledger.search import Query
from bulksend.messaging.states import Status
from bulksend.operations import campaigns as campaign_operations
from bulksend.operations import messages
from bulksend.operations.json_shape import to_json
from ops.local.postgres import EmbeddedPostgres

SMALL, OF_SMALL = 1_000, 100
#: A number that is used for tests: 10,000 messages went there.
BUSY_NUMBER = "447799999999"
STEPS, BATCH, STEP_ROUNDS, RECEIPTS = 10_000, 400, 5, 1_000
PICKED = 50
PAGE = 50

Ask = Callable[[Connection], object]


def make(database: Database, many: int) -> None:
    """A thousand small campaigns, ten thousand messages to one number, and one campaign of ``many``."""
    first = 20_000_000
    for n in range(SMALL):
        with database.write() as tx:
            put_campaign(tx, first + n * OF_SMALL, OF_SMALL, newest=False)
    with database.write() as tx:
        tx.execute(text(f"UPDATE messages SET recipient = '{BUSY_NUMBER}' WHERE row % 10 = 0"))
    fill(database, many, campaign=many)


@dataclass(frozen=True, slots=True)
class Picked:
    """Messages here and there, and what there is to ask about."""

    rows: Sequence[Any]
    big: str
    small: Sequence[str]
    first_ms: int
    last_ms: int

    def instants(self) -> list[int]:
        """Instants at which messages came in."""
        return [row["queued_at"] for row in self.rows]


def pick(tx: Connection, dice: random.Random) -> Picked:
    """PICKED messages, by random places in the order of the keys."""
    ends = (
        select(messages_table.c.id).order_by(order).limit(1)
        for order in (messages_table.c.id, messages_table.c.id.desc())
    )
    low, high = (UUID(str(tx.execute(end).scalar_one())).int for end in ends)
    largest = select(campaigns_table.c.id).order_by(campaigns_table.c.messages.desc()).limit(1)
    big = str(tx.execute(largest).scalar_one())
    rows = []
    while len(rows) < PICKED:
        place = str(UUID(int=dice.randint(low, high)))
        found = tx.execute(
            select(messages_table).where(messages_table.c.id >= place).order_by(messages_table.c.id).limit(1)
        )
        row = found.mappings().one()
        if row["message_id"] is not None and str(row["campaign_id"]) == big:
            rows.append(row)
    small = [c.id for c in campaigns.newest(tx, 500) if c.id != big and c.messages == OF_SMALL][:PICKED]
    return Picked(rows, big, small, low >> 80, high >> 80)


def forms(of: Picked) -> dict[str, list[Ask]]:
    """By name, a way to ask for each picked message or place."""
    ids, at = [str(row["id"]) for row in of.rows], of.instants()
    phones = [row["recipient"] for row in of.rows]
    found: dict[str, list[Ask]] = {
        "the newest": [find()],
        "a page deep down": [find(before=id) for id in ids],
        "a number": [find(phone=phone) for phone in phones],
        "a number of 10,000 messages": [find(phone=BUSY_NUMBER)],
        "a number of 10,000 messages, a page deep down": [find(phone=BUSY_NUMBER, before=id) for id in ids],
        "a number of 10,000 messages, a status without messages": [find(phone=BUSY_NUMBER, status="read")],
        "a number of 10,000 messages, in a campaign": [find(phone=BUSY_NUMBER, campaign=id) for id in of.small],
        "a number that got nothing": [find(phone="15550100999")],
        "a MessageId": [find(message_id=row["message_id"]) for row in of.rows],
        "an unknown MessageId": [find(message_id="wamid.none")],
        "a RequestId": [find(request_id=row["request_id"]) for row in of.rows],
        "an unknown RequestId": [find(request_id="none")],
        "the large campaign": [find(campaign=of.big)],
        "the large campaign, a page deep down": [find(campaign=of.big, before=id) for id in ids],
        "a small campaign": [find(campaign=id) for id in of.small],
        "a campaign without messages": [find(campaign=new_id())],
        "a number in the large campaign": [find(campaign=of.big, phone=phone) for phone in phones],
        "since an instant": [find(since=instant) for instant in at],
        "since tomorrow": [find(since=of.last_ms + 86_400_000)],
        "until an instant": [find(until=instant) for instant in at],
        "until the year before": [find(until=of.first_ms - 365 * 86_400_000)],
        "a second": [find(since=instant, until=instant + 1000) for instant in at],
        "a second of the large campaign": [
            find(campaign=of.big, since=instant, until=instant + 1000) for instant in at
        ],
        "a number in a second": [
            find(phone=row["recipient"], since=row["queued_at"] - 500, until=row["queued_at"] + 500)
            for row in of.rows
        ],
        "all at once": [
            find(
                phone=row["recipient"], message_id=row["message_id"], request_id=row["request_id"],
                campaign=of.big, status=row["status"], since=row["queued_at"], until=row["queued_at"],
            )
            for row in of.rows
        ],
    }  # fmt: skip
    for status in Status:
        found[f"status {status}"] = [find(status=status)]
        found[f"status {status}, a page deep down"] = [find(status=status, before=id) for id in ids]
        found[f"status {status} until an instant"] = [find(status=status, until=instant) for instant in at]
        found[f"status {status} in the large campaign"] = [find(campaign=of.big, status=status)]
        found[f"status {status} in the large campaign, a page deep down"] = [
            find(campaign=of.big, status=status, before=id) for id in ids
        ]
        found[f"status {status} in a small campaign"] = [find(campaign=id, status=status) for id in of.small]
    return found


def find(*, campaign: str | None = None, before: str | None = None, **query: Any) -> Ask:
    """As ``messages find`` does."""
    asked = Query(campaign_id=campaign, **query)
    return lambda tx: [to_json(dict(row)) for row in search.find(tx, asked, limit=PAGE, before=before)]


def other_questions(of: Picked) -> dict[str, list[Ask]]:
    """What else a person asks of a ledger."""
    return {
        "campaigns show, 10 million messages": [lambda tx: campaign_operations.details(tx, of.big)],
        "campaigns show, 100 messages": [_show(id) for id in of.small],
        "campaigns list": [lambda tx: campaign_operations.newest(tx, 20)],
        "campaigns list --limit 1000": [lambda tx: campaign_operations.newest(tx, 1000)],
        "what watches a campaign, each look": [lambda tx: counters.of(tx, [of.big])],
        "messages show": [_whole(str(row["id"])) for row in of.rows],
        "messages unknown": [lambda tx: unknowns.unknown(tx, Query(), limit=PAGE)],
        "messages unknown of a small campaign": [_unknown(id) for id in of.small],
        "a page of an export": [lambda tx: next(search.export(tx, of.big, page=PAGE))],
    }


def chores(of: Picked) -> dict[str, list[Ask]]:
    """What the relay does each second, and for each window it fills."""
    return {
        "rescue": [lambda tx: leases.rescue(tx, resend_wait_ms=600_000)],
        "expire": [due.expire],
        "cancel stragglers": [campaign_control.end_cancelled],
        "match receipts that came early": [receipts.Orphans().match],
        "finish campaigns": [campaigns.finish_ended],
        "reopen campaigns": [campaigns.reopen_waiting],
        "what is due": [lambda tx: due.due_messages(tx, of.big, 800)],
        "when the next is due": [lambda tx: due.next_due_at(tx, of.big)],
    }


def _show(id: str) -> Ask:
    return lambda tx: campaign_operations.details(tx, id)


def _whole(id: str) -> Ask:
    return lambda tx: messages.show(tx, id, Cipher.from_text(""))


def _unknown(campaign: str) -> Ask:
    return lambda tx: unknowns.unknown(tx, Query(campaign_id=campaign), limit=PAGE)


def timed(
    database: Database, asks: Sequence[Ask], times: int, *, writing: bool = False
) -> tuple[float, float]:
    """Median and 95th percentile, ms; each ask is made once before, so that what it reads is in memory."""
    spent = []
    for n in range(-min(len(asks), times), times):
        began = time.perf_counter()
        with database.engine.connect() as connection:
            tx = connection.execution_options(bulksend_write=writing)
            with tx.begin() as transaction:
                asks[n % len(asks)](tx)
                transaction.rollback()
        if n >= 0:
            spent.append((time.perf_counter() - began) * 1000)
    spent.sort()
    return median(spent), spent[int(len(spent) * 0.95)]


def ask_all(
    database: Database, named: dict[str, list[Ask]], times: int, *, writing: bool = False
) -> dict[str, list[float]]:
    """Every form, printed as it comes."""
    found = {}
    for name, asks in named.items():
        middle, high = timed(database, asks, times, writing=writing)
        say(f"{name:66} {middle:8.2f} {high:8.2f}")
        found[name] = [round(middle, 2), round(high, 2)]
    return found


def steps_at(large: Database, small: Database, server: Callable[[], float]) -> dict[str, Any]:
    """The median cost of each step in µs a message, in the large ledger and in the small one, in turns."""
    costs: dict[str, list[dict[str, Step]]] = {"small": [], "large": []}
    wal: dict[str, list[float]] = {"small": [], "large": []}
    for _ in range(STEP_ROUNDS):
        for name, of in (("small", small), ("large", large)):
            # As workers do.
            database = Database(of.url.render_as_string(hide_password=False), by_key=True)
            written = _written(database)
            round_ = steps(database, STEPS, BATCH, server)
            wal[name].append((_written(database) - written) / STEPS)
            costs[name].append(round_ | {"receipt": _receive(database, server)})
            database.close()
    return {
        name: {
            step: {
                what: round(median(getattr(each[step], what) for each in of_rounds), 1)
                for what in ("clock", "ours", "server")
            }
            for step in of_rounds[0]
        }
        | {"wal_bytes": round(median(wal[name]))}
        for name, of_rounds in costs.items()
    }


def _written(database: Database) -> int:
    """How much write-ahead log there has been, bytes; of SQLite nothing is known."""
    if database.is_sqlite:
        return 0
    with database.read() as tx:
        return int(tx.execute(text("SELECT pg_current_wal_insert_lsn() - '0/0'")).scalar_one())


def _receive(database: Database, server: Callable[[], float]) -> Step:
    """What it costs to take in that accepted messages were delivered, µs a receipt; rows and log are not counted."""
    with database.read() as tx:
        wanted = select(messages_table.c.message_id).where(messages_table.c.status == Status.ACCEPTED.value)
        found = list(tx.execute(wanted.order_by(messages_table.c.id.desc()).limit(RECEIPTS)).scalars())
    assert len(found) == RECEIPTS
    began, cpu, other = time.perf_counter(), time.process_time(), server()
    for first in range(0, RECEIPTS, 100):
        incoming = [receipts.Receipt(id, "delivered", 1) for id in found[first : first + 100]]
        with database.write() as tx:
            receipts.take(tx, incoming)
    spent = (time.perf_counter() - began, time.process_time() - cpu, server() - other)
    clock, ours, servers = (seconds / RECEIPTS * 1e6 for seconds in spent)
    return Step(clock, ours, servers, rows=0.0, log=0.0)


def _left_bytes(tx: Connection) -> float:
    """What a message and its attempt take on PostgreSQL as their moves left them, old versions of rows included."""
    size = "SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(ARRAY['messages', 'attempts']) AS t(name)"
    return float(
        tx.execute(text(size)).scalar_one() / tx.execute(text("SELECT count(*) FROM messages")).scalar_one()
    )


def sizes(tx: Connection) -> dict[str, Any]:
    """Rows and bytes of the tables that grow, on PostgreSQL also of each index."""
    found: dict[str, Any] = {}
    for table in ("messages", "attempts", "receipts"):
        found[table] = {"rows": tx.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()}
        if tx.dialect.name == "postgresql":
            found[table]["bytes"] = tx.execute(text(f"SELECT pg_table_size('{table}')")).scalar_one()
            indexes = tx.execute(
                text(
                    "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index"
                    f" WHERE indrelid = '{table}'::regclass ORDER BY 1"
                )
            )
            found[table]["indexes"] = dict(indexes.all())
    if tx.dialect.name == "sqlite":
        pages, size = (
            tx.exec_driver_sql(f"PRAGMA {what}").scalar_one() for what in ("page_count", "page_size")
        )
        found["file_bytes"] = pages * size
    return found


def measure(database: Database, small: Database, times: int, server: Callable[[], float]) -> dict[str, Any]:
    """All of it."""
    with database.read() as tx:
        set_statement_timeout(tx, 0)
        there = sizes(tx)
        picked = pick(tx, random.Random(7))
    say("ms: the median and the 95th percentile")
    result: dict[str, Any] = {"sizes": there, "find": ask_all(database, forms(picked), times)}
    result["questions"] = ask_all(database, other_questions(picked), times)
    result["chores"] = ask_all(database, chores(picked), times, writing=True)
    result["steps"] = steps_at(database, small, server)
    if not small.is_sqlite:
        with small.read() as tx:
            result["left_bytes"] = round(_left_bytes(tx))
    for name, of in result["steps"].items():
        for step in scale_page.STEPS:
            clock, ours, servers = (of[step][what] for what in ("clock", "ours", "server"))
            say(
                f"{name:6} {step:8} {clock:7.1f} µs by the clock {ours:7.1f} ours {servers:7.1f} the server's"
            )
    return result


def main() -> None:
    """Measure, print, and write the page where that is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument(
        "--database", help="URL of a PostgreSQL ledger that is there; its postmaster's pid by --pid"
    )
    parser.add_argument("--pid", type=int, help="whose CPU is the server's")
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="docs/scale.md and docs/scale.json")
    options = parser.parse_args()
    with _ledgers(options) as (large, small, server):
        for database, many in ((large, options.messages), (small, STEPS)):
            migrate(database)
            with database.read() as tx:
                empty = tx.execute(select(messages_table.c.id).limit(1)).first() is None
            if empty:
                make(database, many) if database is large else fill(database, many)
        result = measure(large, small, options.times, server)
    if options.write:
        scale_page.write("sqlite" if options.backend == "sqlite" else "postgresql", result)


@contextmanager
def _ledgers(options: argparse.Namespace) -> Iterator[tuple[Database, Database, Callable[[], float]]]:
    """The large ledger, the small one, and what their server has used of CPU so far, seconds."""
    if options.backend == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{name}.db" for name in ("large", "small")]
            databases = [Database(f"sqlite:///{file}") for file in files]
            yield databases[0], databases[1], lambda: 0.0
            for database in databases:
                database.close()
        return
    own = EmbeddedPostgres(durable=True, settings=SERVER) if options.database is None else None
    try:
        url = own.start() if own is not None else options.database
        pid = own.pid if own is not None else options.pid
        large = Database(url, by_key=False)
        with large.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("DROP DATABASE IF EXISTS bulksend_small"))
            connection.execute(text("CREATE DATABASE bulksend_small"))
        small = Database(large.url.set(database="bulksend_small").render_as_string(hide_password=False))
        yield large, small, lambda: cpu_seconds(pid) if pid else 0.0
        small.close()
        large.close()
    finally:
        if own is not None:
            own.remove()


if __name__ == "__main__":
    main()
