"""A Redis that evicts keys: worker and relay refuse it, or warn where the server is managed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import redis

from bulksend.broker import eviction_problem
from bulksend.errors import InvalidInput
from bulksend.ledger.database import Database
from bulksend.redis_client import open_redis
from ops.local.valkey import EmbeddedValkey
from producer.publisher import NoPublisher
from producer.relay import Relay, RelaySettings
from tests.acceptance.many_commands import Shell

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def evicting(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey", durable=False)
    with redis.Redis.from_url(server.start()) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    yield server
    server.stop()


@pytest.fixture
def managed_url(evicting: EmbeddedValkey) -> str:
    """The same server as a managed one shows itself: CONFIG is forbidden."""
    with redis.Redis.from_url(evicting.url) as client:
        client.execute_command("ACL", "SETUSER", "guest", "on", ">hush", "~*", "&*", "+@all", "-config")
    return f"redis://guest:hush@127.0.0.1:{evicting.port}/0"


@pytest.fixture
def bulksend(shell: Shell, sqlite_template: Path, tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    """Runs ``bulksend …`` on an empty ledger and a Redis."""
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BULKSEND_")}
    environ["DATABASE_URL"] = f"sqlite:///{tmp_path / 'ledger.db'}"
    return lambda *words, url: shell.run(words, environ | {"REDIS_URL": url}, tmp_path)


def test_a_redis_that_does_not_evict_has_no_problem(valkey: redis.Redis) -> None:
    assert eviction_problem(valkey) is None


@pytest.mark.parametrize("command", ["worker", "relay"])
def test_worker_and_relay_refuse_a_redis_that_evicts_and_say_how_to_mend_it(
    evicting: EmbeddedValkey, bulksend: Callable[..., CompletedProcess[str]], command: str
) -> None:
    done = bulksend(command, url=evicting.url)
    assert done.returncode == 2, done.stderr
    assert "maxmemory-policy is allkeys-lru" in done.stderr
    assert "CONFIG SET maxmemory-policy noeviction" in done.stderr


def test_a_worker_by_celerys_own_command_refuses_it_with_the_same_status(
    evicting: EmbeddedValkey, tmp_path: Path, sqlite_template: Path
) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "ledger.db")
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "worker"],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
            "REDIS_URL": evicting.url,
            "USPEEDO_ACCESSKEY_ID": "id",
            "USPEEDO_ACCESSKEY_SECRET": "hush",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "redis_unfit" in done.stderr


def test_a_managed_redis_that_evicts_is_used_with_a_warning(managed_url: str, ledger: Database) -> None:
    with open_redis(managed_url) as client:
        found = eviction_problem(client)
        assert found is not None
        assert "allkeys-lru" in found.what
        assert not found.fatal
        assert "managed" in found.remedy
        relay = Relay(ledger, client, NoPublisher(), RelaySettings())
        stop = threading.Event()
        running = threading.Thread(target=relay.run, args=(stop,))
        running.start()
        try:
            while not client.exists("bs:relay:leader"):
                assert running.is_alive()
        finally:
            stop.set()
            running.join(60)


def test_a_relay_that_starts_with_such_a_redis_ends(evicting: EmbeddedValkey, ledger: Database) -> None:
    relay = Relay(ledger, open_redis(evicting.url), NoPublisher(), RelaySettings())
    with pytest.raises(InvalidInput, match="allkeys-lru"):
        relay.run(threading.Event())


def test_doctor_names_what_is_wrong_with_a_redis(
    evicting: EmbeddedValkey, bulksend: Callable[..., CompletedProcess[str]]
) -> None:
    with redis.Redis.from_url(evicting.url) as client:
        client.config_set("maxmemory", "1mb")
        client.execute_command("REPLICAOF", "127.0.0.1", 1)
    done = bulksend("doctor", "--json", url=evicting.url)
    found = json.loads(done.stdout)["findings"]
    wrong = " | ".join(finding["found"] for finding in found if not finding["well"])
    assert "maxmemory-policy is allkeys-lru" in wrong
    assert "MiB are used: once full it takes no jobs" in wrong
    assert "it is a replica and takes no jobs" in wrong
