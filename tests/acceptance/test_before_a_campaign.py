"""What the command line shows and asks before a campaign, and a whole rehearsal of one."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.stack import ROOT
from tests.acceptance.many_commands import Cli

SENDER = "8615000579987"
OPTIONS = ["people.csv", "--sender", SENDER, "--type", "text", "--content", "c.json", "--kind", "marketing"]
LEDGER = {"DATABASE_URL": "sqlite:///case.db"}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "c.json").write_text('{"body": "Hello {{name}}"}')
    people(tmp_path, 3)
    return tmp_path


def people(folder: Path, count: int) -> None:
    rows = [f"4477009{n:05d},N{n}" for n in range(count)]
    (folder / "people.csv").write_text("\n".join(["to,name", *rows, "12,nobody"]) + "\n")


def counted(folder: Path, table: str) -> int:
    with sqlite3.connect(folder / "case.db") as ledger:
        return int(ledger.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


def test_a_plan_is_applied_as_it_is_and_refused_once_the_file_changed(cli: Cli, folder: Path) -> None:
    (folder / "prices.csv").write_text("country,category,price,currency\n*,service,0.05,EUR\n")
    prices = {"BULKSEND_PRICES": "prices.csv", **LEDGER}
    made = json.loads(cli("plan", *OPTIONS, "--json", **prices).stdout)
    assert (made["to_send"], made["refused_count"], made["cost"]["max"]) == (3, 1, "0.15")
    before = (folder / "people.csv").read_text()
    people(folder, 4)
    refused = cli("apply", made["plan_id"], **prices)
    assert refused.returncode == 2
    assert "counts messages: 3 to 4" in refused.stderr
    assert "the file changed" in refused.stderr
    assert counted(folder, "campaigns") == 0
    (folder / "people.csv").write_text(before)
    applied = json.loads(cli("apply", made["plan_id"], "--json", **prices).stdout)
    assert (applied["messages"], applied["repeated"]) == (3, False)
    assert counted(folder, "messages") == 3


def test_rows_are_shown_as_they_will_look_and_nothing_is_made(cli: Cli, folder: Path) -> None:
    shown = cli("send", *OPTIONS, "--preview", "2", **LEDGER)
    assert shown.stdout == "row 2, to 4477*****000\n  Hello N0\n\nrow 3, to 4477*****001\n  Hello N1\n\n"
    assert not (folder / "case.db").exists()
    (folder / "people.csv").write_text("to,name\n447700900001,Ann\n12125550123,Bob\n")
    at_nine = ["--at", "2030-03-01T00:00Z", "--local-time", "09:00", "--preview", "2"]
    shown = cli("send", *OPTIONS, *at_nine, "--json", **LEDGER)
    due = [json.loads(line)["due_at"] for line in shown.stdout.splitlines()]
    assert [at[:16] for at in due] == ["2030-03-01T09:00", "2030-03-01T14:00"]
    shown = cli("send", *OPTIONS, *at_nine, "--timezone", "Europe/Paris", **LEDGER)
    assert "row 3, to 1212****123, due 2030-03-01 15:00" in shown.stdout, shown.stdout
    # A scheduled message is listed with its time, any other without one.
    assert cli("send", *OPTIONS, *at_nine[:-2], **LEDGER).returncode == 0
    header, first, _ = cli("messages", "find", "--campaign", "people", **LEDGER).stdout.splitlines()
    assert "2030-03-01T14:00" in first.split("\t")[header.split("\t").index("due_at")]


def test_a_test_send_is_a_message_outside_of_every_campaigns_counts(cli: Cli, folder: Path) -> None:
    asked = ["--test", "+44 7700 900111", "--json"]
    sent = json.loads(cli("send", *OPTIONS, *asked, "--row", "3", **LEDGER).stdout)
    assert (sent["row"], sent["test"], sent["status"]) == (3, True, "queued")
    message = json.loads(cli("messages", "show", sent["id"], "--json", **LEDGER).stdout)
    assert (message["to"], message["test"], message["content"]) == (
        "447700900111",
        True,
        {"body": "Hello N1"},
    )
    made = json.loads(cli("send", *OPTIONS, "--json", **LEDGER).stdout)
    assert made["messages"] == 3
    shown = json.loads(cli("campaigns", "show", made["campaign_id"], "--json", **LEDGER).stdout)
    assert shown["total"] == 3
    beyond = cli("send", *OPTIONS, *asked, "--row", "9", **LEDGER)
    assert (beyond.returncode, "--row: is no row" in beyond.stderr) == (2, True)


def at_a_terminal(folder: Path, typed: str, *more: str) -> tuple[int, str]:
    """A send by a person who types that; its exit code, and what the terminal says."""
    ours, its = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BULKSEND_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli.main", "send", *OPTIONS, *more],
        cwd=folder,
        env={**kept, **LEDGER, "PYTHONPATH": str(ROOT)},
        stdin=its,
        stderr=its,
        stdout=subprocess.DEVNULL,
    )
    os.close(its)
    os.write(ours, typed.encode())
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # Linux tells the end of a terminal by an error.
        pass
    os.close(ours)
    return process.wait(), said.decode(errors="replace")


def test_at_a_terminal_the_number_of_people_is_typed_above_a_thousand(folder: Path) -> None:
    people(folder, 1001)
    code, said = at_a_terminal(folder, "1000\n")
    assert (code, counted(folder, "campaigns")) == (2, 0), said
    assert "Type the number of people, 1,001, to send" in said
    assert "nothing was sent" in said
    code, said = at_a_terminal(folder, "1,001\n")
    assert (code, counted(folder, "messages")) == (0, 1001), said
    # What is in the ledger already is not asked about.
    code, said = at_a_terminal(folder, "")
    assert (code, "Type the number" in said) == (0, False), said


def test_a_rehearsal_sends_the_whole_file_and_touches_nothing_real(cli: Cli, folder: Path) -> None:
    people(folder, 200)
    with (folder / "people.csv").open("a") as file:
        file.write("447700999999,Suppressed\n")
    assert cli("suppressions", "add", "447700999999", "--reason", "STOP", **LEDGER).returncode == 0
    assert cli("senders", "add", SENDER, "--rate", "20/s", **LEDGER).returncode == 0
    done = cli("rehearse", *OPTIONS, "--at", "2090-01-01T09:00:00Z", "--speed", "5", "--json", **LEDGER)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    (campaign,) = report["campaigns"]
    assert (report["well"], report["speed"], report["intake"]["refused_count"]) == (True, 5, 1)
    assert (campaign["total"], campaign["statuses"]["suppressed"]) == (201, 1)
    assert report["vendor"]["stored"] == 200
    assert report["vendor"]["most_in_a_second"] <= 100
    assert report["in_life_seconds"] == 10
    assert (counted(folder, "campaigns"), counted(folder, "messages")) == (0, 0)
