"""A send that is told to stop says what goes on without it, and the way back to its own campaign."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.stack import ROOT
from tests.acceptance.many_commands import Cli

SENDER = "8615000579987"
LEDGER = {"DATABASE_URL": "sqlite:///case.db"}
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
pytestmark = pytest.mark.timeout(300)


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    """A send of its own, as from a terminal whose signals it takes."""
    words = ["send", "people.csv", "--sender", SENDER, "--type", "text", "--content", "c.json"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BULKSEND_")}
    return subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", *words, "--kind", "marketing", *more],
        cwd=folder,
        env={**kept, **LEDGER, "PYTHONPATH": str(ROOT), "BULKSEND_INTAKE_CHUNK": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_signals,
    )


def take_signals() -> None:
    """Under nohup, or in the background of a script, a process inherits that it ignores some."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def wait_for(folder: Path, process: subprocess.Popen[str], query: str) -> None:
    """Until the ledger answers the query with something that is true."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            with sqlite3.connect(f"file:{folder / 'case.db'}?mode=ro", uri=True, timeout=30) as ledger:
                found = ledger.execute(query).fetchone()
        except sqlite3.OperationalError:  # not there yet
            found = None
        if found and found[0]:
            return
        time.sleep(0.02)
    pytest.fail(f"in vain: {query}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.json").write_text('{"body": "Hello"}')
    return tmp_path


def people(folder: Path, count: int) -> None:
    (folder / "people.csv").write_text("to\n" + "\n".join(f"44790{n:07d}" for n in range(count)) + "\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_one_that_watches_says_that_sending_goes_on(cli: Cli, folder: Path, number: signal.Signals) -> None:
    people(folder, 3)
    process = start(folder, "--again", "--wait")
    wait_for(folder, process, "SELECT count(*) FROM campaigns WHERE intake_done_at IS NOT NULL")
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert process.returncode == SIGNALS[number], said
    (id,) = re.findall(r"bulksend campaigns watch (\S+)`", said)
    assert "goes on without this command" in said
    assert "same command" not in said
    shown = cli("campaigns", "show", id, "--json", **LEDGER)
    assert json.loads(shown.stdout)["total"] == 3


def test_one_that_takes_rows_in_names_the_way_to_go_on(cli: Cli, folder: Path) -> None:
    many = 60_000
    people(folder, many)
    process = start(folder, "--again")
    wait_for(folder, process, "SELECT max(rows_read) > 500 FROM campaigns")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=100)
    assert process.returncode == 130, said
    assert re.search(r"the intake stopped with [\d,]+ messages of [\d,]+ rows taken in", said)
    (line,) = (line for line in said.splitlines() if line.strip().startswith("bulksend send "))
    words = shlex.split(line)[1:]
    assert "--again" not in words
    # As it says, word by word, into the campaign that there is: no person is in two.
    done = cli(*words, "--json", **LEDGER)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["messages"] == many
    assert told["continued"]["already"] > 0
    listed = cli("campaigns", "list", "--json", **LEDGER).stdout.splitlines()
    assert [json.loads(each)["campaign_id"] for each in listed] == [told["campaign_id"]]


def test_one_that_a_closed_terminal_ends_leaves_no_trace_of_an_error(folder: Path) -> None:
    """Its stderr is gone together with the terminal."""
    people(folder, 3)
    process = start(folder, "--again", "--wait")
    wait_for(folder, process, "SELECT count(*) FROM campaigns WHERE intake_done_at IS NOT NULL")
    assert process.stderr is not None
    process.stderr.close()
    process.send_signal(signal.SIGHUP)
    assert process.wait(100) == 129
