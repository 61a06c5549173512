"""``python -m ops.health worker|relay``: exit 0 while the one in this container does its work; for health checks.

By what it leaves behind, not by asking it: a worker's lease in the ledger, the relay's lock in Redis. Exit codes
are those of the commands: 1 it does not work, 2 bad usage, 3 the server that would know cannot be reached.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ops.cli.context import BAD_INPUT, DONE, FAILED, guarded

if TYPE_CHECKING:
    from bulksend.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Look at what the first argument names."""
    checks = {"worker": worker_is_well, "relay": relay_is_well}
    if len(arguments) != 1 or arguments[0] not in checks:
        sys.stderr.write("usage: python -m ops.health worker|relay\n")
        return BAD_INPUT
    check = checks[arguments[0]]

    def work() -> int:
        from ops.cli.context import settings

        return DONE if check(settings()) else FAILED

    return guarded(work)


def worker_is_well(of: Settings) -> bool:
    """Whether a worker of this host holds a lease: it renews it by writing to the ledger."""
    from bulksend.ledger import leases
    from ops.cli.context import ledger

    database = ledger(of)
    try:
        with database.read() as tx:
            return any(name.startswith(f"{socket.gethostname()[:60]}:") for name in leases.alive(tx))
    finally:
        database.close()


def relay_is_well(of: Settings) -> bool:
    """Whether any relay leads: one that waits behind it has nothing else to show."""
    from bulksend.bootstrap import answering_redis
    from bulksend.broker import LEADER_KEY

    client = answering_redis(of)
    try:
        return client.exists(LEADER_KEY) == 1
    finally:
        client.close()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
