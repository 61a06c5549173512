"""``bulksend up``: any folder, the same ports again, and what dies is started again. Cases 15 and 28."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis

from bulksend import bootstrap
from bulksend.broker import LEADER_KEY
from bulksend.errors import InvalidInput
from bulksend.ledger.database import Database
from bulksend.settings import Settings
from ops.http.server import STOP_S
from ops.local.ports import free_port, is_free
from ops.local.valkey import EmbeddedValkey
from ops.stack import ROOT, Stack, running, sqlite_url
from simulator import REHEARSAL_ACCESS_KEY_ID
from tests.acceptance.many_commands import Shell

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
        tending = threading.Thread(target=first.supervise, args=(stop, told.append))
        tending.start()
        try:
            pid = first._valkey.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 60
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


def test_a_folder_that_cannot_be_written_is_named(shell: Shell, tmp_path: Path) -> None:
    closed = next(place for place in (Path("/sys"), Path("/System")) if place.exists())
    done = shell.run(["up", "--folder", str(closed / "bulksend")], plain_environ(), tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "run it elsewhere" in done.stderr


@pytest.mark.parametrize("command", ["up", "doctor"])
def test_a_working_folder_that_is_gone_is_said(shell: Shell, tmp_path: Path, command: str) -> None:
    assert commands_in(tmp_path, shell)("migrate").returncode == 0
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", f'rmdir "{gone}" && exec "$0" -m ops.cli.main {command}', sys.executable],
        cwd=gone,
        env=plain_environ() | {"PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{tmp_path}/l.db"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "the working folder no longer exists; run it in another" in done.stderr


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def commands_in(folder: Path, shell: Shell, **environ: str) -> Run:
    """Runs commands in a folder with a ledger, a content and a file of one person."""
    whole = plain_environ() | {"DATABASE_URL": f"sqlite:///{folder}/l.db"} | environ
    (folder / "c.json").write_text('{"body": "hello"}')
    (folder / "p.csv").write_text("to\n447700900123\n")

    return lambda *words: shell.run(words, whole, folder)


def wrong_by(run: Run) -> dict[str, str]:
    """What doctor finds wrong."""
    return {
        f["about"]: f["found"]
        for f in json.loads(run("doctor", "--json").stdout)["findings"]
        if not f["well"]
    }


def test_what_stops_messages_is_said_by_doctor_show_and_send(shell: Shell, tmp_path: Path) -> None:
    run = commands_in(tmp_path, shell)
    sender = "8615000579987"
    assert run("migrate").returncode == 0
    assert run("senders", "add", sender).returncode == 0
    assert run("account", "pause", "--why", "no money").returncode == 0
    assert run("senders", "pause", sender, "--why", "spam").returncode == 0
    campaign = ["--sender", sender, "--type", "text", "--content", "c.json", "--kind", "otp", "--name", "s"]
    sent = run("send", "p.csv", *campaign)
    assert sent.returncode == 0, sent.stderr
    # Encrypted by the key beside the ledger, which is lost now.
    (tmp_path / "l.db.key").unlink()
    wrong = wrong_by(run)
    assert "no money" in wrong["account"]
    assert "spam" in wrong["sender"]
    assert "no worker" in wrong["workers"]
    assert "encrypted with a key that is not set" in wrong["encryption key"]
    shown = json.loads(run("campaigns", "show", "s", "--json").stdout)["stopped_by"]
    for text in ("no money", "spam", "no worker"):
        assert text in sent.stderr.replace("\n", " ")
        assert any(text in stop for stop in shown)


CAMPAIGN = ["--sender", "8615000579987", "--type", "text", "--content", "c.json", "--kind", "utility"]


def no_redis(server: EmbeddedValkey, url: str) -> str:
    server.stop()
    return "nothing listens there"


def no_relay(server: EmbeddedValkey, url: str) -> str:
    return "no relay is running"


def full(server: EmbeddedValkey, url: str) -> str:
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", "1mb")
    return "once full it takes no jobs"


def open_breaker(server: EmbeddedValkey, url: str) -> str:
    settings = Settings.from_env({"REDIS_URL": url})
    database = Database(f"sqlite:///{server.folder.parent}/l.db")
    permits = bootstrap.limiter(settings, database)
    permits.report(outages=1)
    permits.report(outages=1)
    database.close()
    return "POSTs fail, so one at a time is tried"


@pytest.mark.parametrize("breaks", [no_redis, no_relay, full, open_breaker])
def test_what_stops_messages_at_redis_and_the_vendor_is_in_the_same_list(
    shell: Shell, tmp_path: Path, breaks: Callable[[EmbeddedValkey, str], str]
) -> None:
    server = EmbeddedValkey(tmp_path / "valkey", durable=False)
    url = server.start()
    try:
        run = commands_in(tmp_path, shell, REDIS_URL=url)
        assert run("migrate").returncode == 0
        said = breaks(server, url)
        sent = run("send", "p.csv", *CAMPAIGN, "--name", "s")
        assert sent.returncode == 0, sent.stderr
        shown = json.loads(run("campaigns", "show", "s", "--json").stdout)["stopped_by"]
        assert said in " ".join(sent.stderr.split())
        assert any(said in stop for stop in shown), shown
        assert any(said in found for found in wrong_by(run).values())
    finally:
        server.stop()


def test_nothing_that_works_is_said_to_stop_messages(shell: Shell, tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", environ=plain_environ())
    with running(stack):
        run = commands_in(tmp_path, shell, **stack.settings_environ)
        relay_leads(stack)
        sent = run("send", "p.csv", *CAMPAIGN, "--name", "s", "--wait")
        assert sent.returncode == 0, sent.stderr
        assert json.loads(run("campaigns", "show", "s", "--json").stdout)["stopped_by"] == []
        # It has no HTTP API, and so no receipts come.
        assert set(wrong_by(run)) <= {"SQLite", "ledger disk", "spool disk", "receipts"}


@pytest.mark.parametrize(
    ("access_key", "type", "noted"),
    [
        (REHEARSAL_ACCESS_KEY_ID, "template", True),
        (REHEARSAL_ACCESS_KEY_ID, "text", False),
        ("a real one", "template", False),
    ],
)
def test_a_rehearsal_says_that_every_template_passes(
    shell: Shell, tmp_path: Path, access_key: str, type: str, noted: bool
) -> None:
    run = commands_in(tmp_path, shell, USPEEDO_ACCESSKEY_ID=access_key, USPEEDO_ACCESSKEY_SECRET="s")
    content: object = {"body": "hello"}
    if type == "template":
        content = {"name": "no_such", "language": {"code": "en", "policy": "deterministic"}}
    (tmp_path / "c.json").write_text(json.dumps(content))
    done = run("send", "p.csv", *(type if word == "text" else word for word in CAMPAIGN), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert ("a template that does not exist passes" in done.stderr) is noted


def relay_leads(stack: Stack) -> None:
    """A stack stands as soon as its worker works; its relay may take a moment more."""
    until = time.monotonic() + 60
    with redis.Redis.from_url(stack.settings_environ["REDIS_URL"]) as client:
        # It leads as soon as this key is there, and nothing tells of that.
        while not client.exists(LEADER_KEY):
            assert time.monotonic() < until
            time.sleep(0.05)


def test_up_serves_api_and_console_keeps_its_key_and_stops_while_pages_are_open(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", environ=plain_environ(), api_port=free_port())
    with running(stack):
        keys = [stack.owner_key(), stack.owner_key()]
        assert keys[0] == keys[1]
        file = stack.folder / "api-key"
        assert file.stat().st_mode & 0o777 == 0o600
        with httpx.Client(base_url=str(stack.api_origin)) as client:
            assert client.get("/readyz").json() == {"status": "ok"}
        file.write_text("bsk_a_b")
        assert stack.owner_key() not in ("bsk_a_b", keys[0])
        links = [stack.sign_in_link(), stack.sign_in_link()]
        with httpx.Client(
            base_url=str(stack.api_origin), headers={"Origin": str(stack.api_origin)}
        ) as browser:
            said = [browser.post("/sign-in/link", data={"token": link}).status_code for link in links]
            assert said == [401, 303], "only the newest link is good"
            assert "Overview" in browser.get("/").text
            with browser.stream("GET", "/live?topic=campaigns") as page:
                assert next(page.iter_lines()) == "event: alive"
                serve = stack.member("serve").child
                assert serve is not None
                began = time.monotonic()
                serve.ask_to_stop()
                serve.wait_or_kill(60.0)
                # An answer that has begun is waited for, STOP_S at most.
                assert time.monotonic() - began < STOP_S
