"""``bulksend up``: any folder, the same ports again, and what dies is started again. Cases 15 and 28."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis

from bulksend.ledger.database import Database
from bulksend.messaging.errors import InvalidInput
from ops.local.ports import free_port, is_free
from ops.local.valkey import EmbeddedValkey
from ops.stack import ROOT, Stack, running, sqlite_url

NAMES = [
    "My%20Repo",
    "a?b",
    "a#b",
    "two words",
    "it's",
    'a"b',
    "caf\u00e9 \ubd04",
    "a\nb",
    "a&b;c",
    "a:b@c",
    "a+b",
]


def plain_environ() -> dict[str, str]:
    other = ("BULKSEND_", "USPEEDO_", "DATABASE_", "REDIS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(other)}


@pytest.mark.parametrize("name", NAMES)
def test_a_ledger_lies_in_its_folder_whatever_that_is_called(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    database = Database(sqlite_url(folder / "ledger.db"))
    database.check()
    database.close()
    assert {file.name for file in folder.iterdir()} >= {"ledger.db"}
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_folder_whose_name_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is not UTF-8 text; run it elsewhere"):
        sqlite_url(tmp_path / "caf\udce9" / "ledger.db")


def test_a_stack_in_an_odd_folder_keeps_its_ports_and_its_valkey(tmp_path: Path) -> None:
    folder = tmp_path / "My%20Repo?#'x" / ".bulksend"
    first = Stack(folder, environ=plain_environ())
    told: list[str] = []
    with running(first):
        environ = first.settings_environ
        url = environ["REDIS_URL"]
        assert (folder / "ledger.db").exists()
        with redis.Redis.from_url(url) as client:
            client.set("kept", "1")
            client.execute_command("WAITAOF", 1, 0, 5000)
        stop = threading.Event()
        tending = threading.Thread(target=first.tend, args=(stop, told.append))
        tending.start()
        try:
            pid = first._valkey.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 30
            while first._valkey.pid in (None, pid):
                assert time.monotonic() < deadline, told
                time.sleep(0.05)
        finally:
            stop.set()
            tending.join()
        with redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"1"
    assert any("valkey ended" in text and "the same port" in text for text in told)
    second = Stack(folder, environ=plain_environ())
    with running(second):
        assert (second.settings_environ, second.moved) == (environ, [])


def test_a_port_that_is_taken_meanwhile_is_given_up(tmp_path: Path) -> None:
    stranger = EmbeddedValkey(tmp_path / "stranger", durable=False)
    stranger.start()
    ours = EmbeddedValkey(tmp_path / "ours", durable=False)
    ours.prefer(stranger.port)
    try:
        ours.start()
        assert ours.port not in (0, stranger.port)
        assert not is_free(ours.port)
    finally:
        ours.stop()
        stranger.stop()
    assert is_free(free_port())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    closed = next(place for place in (Path("/sys"), Path("/System")) if place.exists())
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli.main", "up", "--folder", str(closed / "bulksend")],
        cwd=tmp_path,
        env=plain_environ() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "run it elsewhere" in done.stderr


def test_what_stops_messages_is_said_by_doctor_show_and_send(tmp_path: Path) -> None:
    environ = plain_environ() | {"PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/l.db"}
    (tmp_path / "c.json").write_text('{"body": "hello"}')
    (tmp_path / "p.csv").write_text("to\n447700900123\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ops.cli.main", *words],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    sender = "8615000579987"
    assert run("migrate").returncode == 0
    assert run("senders", "add", sender).returncode == 0
    assert run("account", "pause", "--why", "no money").returncode == 0
    assert run("senders", "pause", sender, "--why", "spam").returncode == 0
    campaign = ["--sender", sender, "--type", "text", "--content", "c.json", "--kind", "otp", "--name", "s"]
    sent = run("send", "p.csv", *campaign)
    assert sent.returncode == 0, sent.stderr
    # Sealed by the key beside the ledger, which is lost now.
    (tmp_path / "l.db.key").unlink()
    doctor = json.loads(run("doctor", "--json").stdout)["findings"]
    wrong = {f["about"]: f["found"] for f in doctor if not f["well"]}
    assert "no money" in wrong["account"]
    assert "spam" in wrong["sender"]
    assert "no worker" in wrong["workers"]
    assert "sealed with a key that is not set" in wrong["encryption key"]
    shown = json.loads(run("campaigns", "show", "s", "--json").stdout)["stopped_by"]
    for text in ("no money", "spam", "no worker"):
        assert text in sent.stderr.replace("\n", " ")
        assert any(text in stop for stop in shown)
