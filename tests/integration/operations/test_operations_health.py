"""What a container's health check says of the worker, the relay and the notifier in it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import redis

from bulksend.broker import LEADER_KEY
from bulksend.ledger import installation, leases
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.operations.health import (
    NOTIFIER,
    notifier_is_running,
    relay_is_running,
    worker_is_running,
)
from bulksend.settings import Settings
from worker.runtime import worker_name

ROOT = Path(__file__).resolve().parents[3]


def test_a_worker_of_this_host_runs_while_its_lease_does(ledger: Database) -> None:
    assert not worker_is_running(ledger)
    with ledger.write() as tx:
        leases.take(tx, worker_name(), 60_000)
    assert worker_is_running(ledger)


def test_a_worker_of_another_host_says_nothing_about_this_one(ledger: Database) -> None:
    with ledger.write() as tx:
        leases.take(tx, "elsewhere:1", 60_000)
    assert not worker_is_running(ledger)


def test_a_relay_runs_while_one_leads(valkey_url: str, valkey: redis.Redis) -> None:
    settings = Settings.from_env({"REDIS_URL": valkey_url})
    assert not relay_is_running(settings)
    valkey.set(LEADER_KEY, "someone", px=60_000)
    assert relay_is_running(settings)


def test_a_notifier_of_this_host_runs_while_its_signs_of_life_come(ledger: Database) -> None:
    host = socket.gethostname()
    with ledger.write() as tx:
        installation.note_alive(tx, NOTIFIER, "elsewhere")
    assert not notifier_is_running(ledger)
    with ledger.write() as tx:
        installation.note_alive(tx, NOTIFIER, host)
    assert notifier_is_running(ledger)
    with ledger.write() as tx:
        installation.put(tx, f"{NOTIFIER}:{host}"[:40], str(read_clock(tx) - 31_000).encode())
    assert not notifier_is_running(ledger)


def test_signs_of_life_of_hosts_that_are_gone_are_forgotten(ledger: Database) -> None:
    with ledger.write() as tx:
        installation.put(tx, f"{NOTIFIER}:gone", str(read_clock(tx) - 86_500_000).encode())
        installation.put(tx, "notifierX", b"1")
        installation.note_alive(tx, NOTIFIER, "here")
        assert installation.last_alive(tx, NOTIFIER, "gone") is None
        assert installation.last_alive(tx, NOTIFIER) == installation.last_alive(tx, NOTIFIER, "here")
        assert installation.get(tx, "notifierX") == b"1"


def test_the_exit_code_tells_not_well_from_bad_usage_from_unreachable(
    valkey_url: str, tmp_path: Path
) -> None:
    def code(*arguments: str, url: str = valkey_url) -> int:
        return subprocess.run(
            [sys.executable, "-m", "ops.health", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REDIS_URL": url},
            capture_output=True,
            check=False,
        ).returncode

    assert code("relay") == 1
    assert code("neither") == 2
    assert code("relay", url="redis://127.0.0.1:1/0") == 3
