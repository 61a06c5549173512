"""The contest's peer in Go: signed as a strict vendor asks, one row each, its lists empty; or left out in words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from bench import go_peer
from bench.contest import RESULTS, programs
from bench.stand import SENDER, number
from simulator import Simulator, SimulatorSettings, VendorPhone, run_in_thread
from tests.waiting import until

MESSAGES = 30


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Its program; None where it cannot be built."""
    return None if go_peer.lacks() else go_peer.build(tmp_path_factory.mktemp("go"))


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    settings = SimulatorSettings(access_key_id="bench", secret="bench-secret", phones=(VendorPhone(SENDER),))
    with run_in_thread(settings) as running:
        yield running


def leaves_go_out(capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether the contest goes without it and says why."""
    taking_part = programs()
    return "go" not in taking_part and f"go is left out: {go_peer.lacks()}" in capsys.readouterr().out


@pytest.mark.parametrize("write_ahead", ["0", "1"])
def test_it_sends_each_message_once_or_is_left_out_in_words(
    write_ahead: str,
    peer: Path | None,
    simulator: Simulator,
    valkey: redis.Redis,
    valkey_url: str,
    postgres_url: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if peer is None:
        assert leaves_go_out(capsys)
        return
    plain_url = make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False)
    environ = os.environ | {
        "VENDOR_URL": simulator.url, "PG_URL": plain_url, "REDIS_URL": valkey_url, "WRITE_AHEAD": write_ahead,
    }  # fmt: skip
    with psycopg.connect(plain_url, autocommit=True) as database:
        database.execute(RESULTS)
        subprocess.run([peer, "enqueue", str(MESSAGES)], env=environ, check=True)
        with subprocess.Popen([peer, "work", "8"], env=environ) as worker:
            try:
                stored = "SELECT recipient FROM results WHERE status = 'accepted' AND message_id <> ''"
                until(lambda: database.execute(stored).rowcount == MESSAGES)
                until(lambda: not valkey.keys())
            finally:
                worker.kill()
        assert {to for (to,) in database.execute(stored)} == {number(n) for n in range(MESSAGES)}
    sent = httpx.get(simulator.origin + "/_/messages", trust_env=False).json()
    assert sorted(record["to"] for record in sent) == sorted(number(n) for n in range(MESSAGES))
    assert {record["verdict"] for record in sent} == {"accepted"}


def test_without_go_or_its_libraries_it_says_which(tmp_path: Path) -> None:
    assert go_peer.lacks(path=str(tmp_path)) == "there is no go here"
    go = tmp_path / "go"
    go.touch(mode=0o755)
    without = go_peer.lacks(libraries=tmp_path, path=str(tmp_path))
    assert without.startswith(
        "there is no github.com/jackc/pgx/v4/pgxpool and no github.com/gomodule/redigo/redis"
    )
    for name in ("jackc/pgx/v4/pgxpool", "gomodule/redigo/redis"):
        (tmp_path / "src" / "github.com" / name).mkdir(parents=True)
    assert go_peer.lacks(libraries=tmp_path, path=str(tmp_path)) == ""
