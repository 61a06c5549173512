"""How long the audit of a large ledger takes, beside reading its two tables once.

    python -m bench.audit [--messages 10000000] [--database URL]

Without a URL: on a PostgreSQL of its own, with settings as for a server of 8 GB, filled by bench/large_ledger.py.
With one, on the ledger that is there. Then breaks one message in two ways, checks that only that one
is named, and rolls back. Measured on two cores, 10 million messages, 11.8 million attempts, 6.2 million receipts
(13 GB): 30 to 36 s, some seven times as long as reading messages and attempts once; 57 s where one attempt is missing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import text

from bench.large_ledger import fill
from bench.output import say
from bulksend.ledger.audit import Report, audit
from bulksend.ledger.database import Database, set_statement_timeout
from bulksend.ledger.migrate import migrate
from ops.local.postgres import EmbeddedPostgres

SERVER = {
    "shared_buffers": "2GB",
    "effective_cache_size": "6GB",
    "max_wal_size": "8GB",
    "maintenance_work_mem": "512MB",
    "checkpoint_timeout": "30min",
}
PLANTED = {
    "a MessageId gone": "UPDATE messages SET message_id = NULL WHERE id = :id",
    # The sums say that one is missing, and attempts are counted message by message.
    "an attempt gone": "DELETE FROM attempts WHERE message_pk = :id",
}
_READ_BOTH = """SELECT (SELECT count(*) FROM messages WHERE status <> '' AND attempts >= 0),
                       (SELECT count(*) FROM attempts WHERE outcome <> '')"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=10_000_000)
    parser.add_argument("--database", help="URL of a ledger that is there")
    options = parser.parse_args()
    with _ledger(options.database, options.messages) as database:
        measure(database)


@contextmanager
def _ledger(url: str | None, many: int) -> Iterator[Database]:
    if url is not None:
        database = Database(url)
        yield database
        database.close()
        return
    server = EmbeddedPostgres(settings=SERVER)
    try:
        database = Database(server.start())
        migrate(database)
        _, took = timed(lambda: fill(database, many))
        say(f"filled in {took:.0f} s")
        yield database
        database.close()
    finally:
        server.remove()


def measure(database: Database) -> None:
    """The audit against one reading of the same tables, each after a first run that warmed what caches there are."""

    def read() -> Any:
        with database.read() as tx:
            set_statement_timeout(tx, 0)
            return tx.execute(text(_READ_BOTH)).one()

    def look() -> Report:
        with database.read() as tx:
            return audit(tx)

    for round_ in ("cold", "warm"):
        (messages, attempts), reading = timed(read)
        report, auditing = timed(look)
        say(
            f"{round_}: {messages:,} messages, {attempts:,} attempts; both tables read {reading:.1f} s;"
            f" audit {auditing:.1f} s, {auditing / reading:.1f} times as long; holds: {report.holds}"
        )
    for breach, change in PLANTED.items():
        say(f"{breach}: {planted(database, change)}")


def planted(database: Database, change: str) -> str:
    """What the audit says of a ledger with one accepted message that is not as it should be."""
    with database.engine.connect() as connection, connection.begin() as transaction:
        set_statement_timeout(connection, 0)
        id = connection.execute(
            text("SELECT id FROM messages WHERE status = 'accepted' ORDER BY id DESC LIMIT 1")
        ).scalar_one()
        connection.execute(text(change), {"id": id})
        report, took = timed(lambda: audit(connection))
        transaction.rollback()
    named = {line.partition(":")[0] for finding in report.findings for line in finding.offenders}
    return f"{'named, and no other,' if named == {str(id)} else f'NOT named alone: {named}'} in {took:.1f} s"


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Its result, and how many seconds it took."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


if __name__ == "__main__":
    main()
