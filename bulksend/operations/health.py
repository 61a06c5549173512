"""Whether a worker, a notifier of this host, or a relay does its work: by what it leaves in ledger and Redis."""

from __future__ import annotations

import socket

from bulksend import bootstrap
from bulksend.broker import LEADER_KEY
from bulksend.ledger import installation, leases
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.settings import Settings

#: The names under which a notifier and a `serve` leave signs of life.
NOTIFIER, SERVE = "notifier", "serve"
#: How often they leave one, after work that succeeded; and after how long without one they are not well.
SIGN_S, SILENT_S = 5.0, 30.0


def leave_sign(database: Database, process: str) -> None:
    """Note in the ledger that a process of this host does its work. Raises LedgerUnreachable."""
    host = socket.gethostname()
    database.retrying(lambda tx: installation.note_alive(tx, process, host), patience_s=1.0, durable=False)


def worker_is_running(database: Database) -> bool:
    """Whether a worker of this host holds a lease, which it renews by writing to the ledger."""
    with database.read() as tx:
        return any(name.startswith(f"{socket.gethostname()[:60]}:") for name in leases.alive(tx))


def notifier_is_running(database: Database) -> bool:
    """Whether a notifier of this host looked for new events lately; it leaves its sign in the ledger."""
    with database.read() as tx:
        seen = installation.last_alive(tx, NOTIFIER, socket.gethostname())
        return seen is not None and read_clock(tx) - seen < SILENT_S * 1000


def relay_is_running(of: Settings) -> bool:
    """Whether any relay leads; one that waits leaves no trace in Redis. Raises RedisUnreachable, RedisUnfit."""
    with bootstrap.answering_redis(of) as client:
        return bool(client.exists(LEADER_KEY))
