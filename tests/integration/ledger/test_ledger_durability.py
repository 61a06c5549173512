"""What a COMMIT said is done outlives a killed server, whatever the role or the database asks for (issue 14, A3)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from bulksend.ledger import pauses
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import migrate
from ops.local.postgres import EmbeddedPostgres


def admin(server: EmbeddedPostgres) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(server.url.replace("postgresql+psycopg", "postgresql"), autocommit=True)


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A server that hands its log to the kernel late, and only when it is asked to."""
    made = EmbeddedPostgres(settings={"wal_writer_delay": "10s"})
    made.start()
    yield made
    made.remove()


def kill(server: EmbeddedPostgres) -> None:
    """All of its processes by kill -9, then start it again."""
    told = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in told.stdout.splitlines()]
    for pid in [int(pid) for pid, parent in pairs if server.pid in (int(pid), int(parent))]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.stop(immediate=True)
    server.start()


@pytest.mark.parametrize("pooled", [False, True], ids=["by itself", "behind a pooler"])
@pytest.mark.parametrize("of", ["ROLE", "DATABASE"])
def test_what_was_committed_outlives_a_killed_server_whose_owner_asks_for_less(
    server: EmbeddedPostgres, of: str, pooled: bool
) -> None:
    database = Database(server.url, pooled=pooled)
    migrate(database)
    database.close()
    with admin(server) as connection:
        connection.execute(f"ALTER {of} postgres SET synchronous_commit = off".encode())
    database = Database(server.url, pooled=pooled)
    database.retrying(lambda tx: pauses.pause_account(tx, "default", actor="ops", why="a look"))
    kill(server)
    with database.read() as tx:
        assert "default" in pauses.current(tx).accounts
    database.close()


@pytest.mark.parametrize("by_key", [False, True])
def test_every_session_commits_synchronously(postgres_url: str, by_key: bool) -> None:
    with psycopg.connect(postgres_url.replace("postgresql+psycopg", "postgresql"), autocommit=True) as own:
        name = own.info.dbname
        own.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off'.encode())
    database = Database(postgres_url, by_key=by_key)
    for transaction in (database.write, database.autocommit):
        with transaction() as tx:
            assert tx.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    database.close()
