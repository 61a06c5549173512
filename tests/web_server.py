"""The console on a ledger with one of everything, to look at: prints a one-time link for each role; Ctrl-C ends it.

./run python -m tests.web_server [sqlite|postgresql]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bulksend.operations import sessions, users
from bulksend.operations.access import Role
from ops.cli.signals import stop_event
from tests.served import own_server


def main() -> None:
    """Serve until a signal."""
    stop = stop_event()
    backend = sys.argv[1] if len(sys.argv) > 1 else "sqlite"
    with tempfile.TemporaryDirectory() as folder, own_server(backend, Path(folder)) as (served, _, _):
        database = served.services.database
        for role in Role:
            users.add_user(database, name=role.value, role=role, actor="web_server")
            link = sessions.make_link(database, role.value, actor="web_server")["link_token"]
            sys.stdout.write(f"{role.value:>10}: {served.url}/sign-in#{link}\n")
        sys.stdout.flush()
        stop.wait()


if __name__ == "__main__":
    main()
