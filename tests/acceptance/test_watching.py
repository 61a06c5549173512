"""``campaigns watch``: a line a change where it is piped, a screen on a terminal, and Ctrl-C only leaves (D29)."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

from ops.stack import ROOT
from tests.acceptance.many_commands import Cli

pytestmark = pytest.mark.timeout(120)
NAME = "Spring sale for everyone who bought shoes in Amsterdam in May"


@pytest.fixture
def campaign(cli: Cli, tmp_path: Path) -> str:
    """A campaign of three messages, which wait; its id."""
    (tmp_path / "people.csv").write_text("to\n447700900001\n447700900002\n447700900003\n")
    (tmp_path / "content.json").write_text('{"body": "Hello"}')
    words = ("send", "people.csv", "--sender", "8615000579987", "--type", "text", "--content", "content.json")
    sent = cli(*words, "--kind", "marketing", "--name", NAME, "--json")
    assert sent.returncode == 0, sent.stderr
    return str(json.loads(sent.stdout)["campaign_id"])


def end_as(folder: Path, *statuses: str) -> None:
    """What a worker would come to, one message each."""
    with sqlite3.connect(folder / "bulksend.db", timeout=30) as ledger:
        ids = [id for (id,) in ledger.execute("SELECT id FROM messages ORDER BY id")]
        for id, status in zip(ids, statuses, strict=True):
            ledger.execute("UPDATE messages SET status = ?, ended_at = 1 WHERE id = ?", (status, id))


@contextmanager
def watching(campaign: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, piped."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "campaigns", "watch", campaign],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": "sqlite:///bulksend.db"},
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_line_tells_each_change_and_the_end(cli: Cli, campaign: str, tmp_path: Path) -> None:
    with watching(campaign, tmp_path) as process:
        assert next_line(process) == f"{NAME}: running, 0/3 (queued 3)\n"
        assert cli("campaigns", "pause", campaign, "--why", "wrong picture").returncode == 0
        assert next_line(process) == f"{NAME}: paused, 0/3 (queued 3)\n"
        assert cli("campaigns", "resume", campaign).returncode == 0
        assert "running" in next_line(process)
        end_as(tmp_path, "accepted", "accepted", "read")
        last = next_line(process)
        assert "3/3" in last
        assert "(accepted 2, read 1)" in last
        assert process.wait(30) == 0
        assert next_line(process) == ""


@pytest.mark.parametrize("status", ["failed", "unknown"])
def test_it_ends_with_1_where_messages_failed_or_are_unknown(
    cli: Cli, campaign: str, tmp_path: Path, status: str
) -> None:
    end_as(tmp_path, "accepted", "accepted", status)
    done = cli("campaigns", "watch", campaign)
    assert done.returncode == 1
    assert f"accepted 2, {status} 1" in done.stdout
    as_json = cli("campaigns", "watch", campaign, "--json")
    assert json.loads(as_json.stdout)["statuses"] == {"accepted": 2, status: 1}


def test_ctrl_c_leaves_and_says_that_sending_goes_on(cli: Cli, campaign: str, tmp_path: Path) -> None:
    with watching(campaign, tmp_path) as process:
        next_line(process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
    assert "sending goes on" in said
    assert f"campaigns watch {campaign}" in said
    assert "Traceback" not in said
    assert json.loads(cli("campaigns", "show", campaign, "--json").stdout)["status"] == "running"


def test_the_screen_fits_60_columns(cli: Cli, campaign: str, tmp_path: Path) -> None:
    end_as(tmp_path, "accepted", "delivered", "read")
    screen = cli("campaigns", "watch", campaign, columns=60)
    assert screen.returncode == 0
    bare = [part for line in screen.stdout.splitlines() for part in line.split("\x1b")]
    assert max(cell_len(part) for part in bare) <= 66  # with what is left of a control sequence
    assert "3/3" in screen.stdout
