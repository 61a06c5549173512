"""Whether a worker of this host, or a relay, does its work: by what it leaves behind in the ledger and in Redis."""

from __future__ import annotations

import socket

from bulksend import bootstrap
from bulksend.broker import LEADER_KEY
from bulksend.ledger import leases
from bulksend.ledger.database import Database
from bulksend.settings import Settings


def worker_is_running(database: Database) -> bool:
    """Whether a worker of this host holds a lease, which it renews by writing to the ledger."""
    with database.read() as tx:
        return any(name.startswith(f"{socket.gethostname()[:60]}:") for name in leases.alive(tx))


def relay_is_running(of: Settings) -> bool:
    """Whether any relay leads; one that waits leaves no trace in Redis. Raises RedisUnreachable, RedisUnfit."""
    with bootstrap.answering_redis(of) as client:
        return bool(client.exists(LEADER_KEY))
