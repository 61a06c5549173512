"""``python -m ops.health worker|relay|serve|notifier``: exit 0 while it works in this container.

It reads what a working process leaves behind: a worker's lease and a notifier's sign of life in the ledger, the relay's
lock in Redis; the HTTP API it asks. Exit codes are those of the commands: 1 it does not work, 2 bad usage, 3 the server
that would know cannot be reached.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence
from contextlib import closing, suppress

from ops.cli.context import BAD_INPUT, DONE, FAILED, guarded, ledger, settings


def main(arguments: Sequence[str]) -> int:
    """Check the process that the first argument names."""
    checks = {"worker": _worker, "relay": _relay, "serve": _serve, "notifier": _notifier}
    if len(arguments) != 1 or arguments[0] not in checks:
        sys.stderr.write("usage: python -m ops.health worker|relay|serve|notifier\n")
        return BAD_INPUT
    return guarded(lambda: DONE if checks[arguments[0]]() else FAILED)


def _worker() -> bool:
    from bulksend.operations.health import worker_is_running

    with closing(ledger(settings())) as database:
        return worker_is_running(database)


def _relay() -> bool:
    from bulksend.operations.health import relay_is_running

    return relay_is_running(settings())


def _notifier() -> bool:
    from bulksend.operations.health import notifier_is_running

    with closing(ledger(settings())) as database:
        return notifier_is_running(database)


def _serve() -> bool:
    """At the port of docker-compose.yml; without the ledger it goes on running."""
    with suppress(OSError), urllib.request.urlopen("http://127.0.0.1:8080/healthz", timeout=4) as reply:
        return bool(reply.status == 200)
    return False


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
