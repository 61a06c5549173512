"""What a timer or a service runs: no terminal, another folder, and perhaps no settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.many_commands import Cli, commands

SEND = ["send", "people.csv", "--sender", "8615000579987", "--type", "text", "--content", "c.json"]
pytestmark = pytest.mark.timeout(300)
#: A word for each argument that these commands cannot do without; what they are does not matter here.
WORDS = {
    "send": [*SEND[1:], "--kind", "marketing"],
    "plan": [*SEND[1:], "--kind", "marketing"],
    "apply": ["x"],
    "plans show": ["x"],
    "suppressions add": ["447700900001", "--reason", "x"],
    "suppressions remove": ["447700900001", "--why", "x"],
    "suppressions import": ["people.csv", "--reason", "x"],
    "suppressions export": ["-o", "out.csv"],
    "consent report": ["-o", "out.csv"],
    "forget": ["447700900001", "--why", "x"],
    "holds add": ["--phone", "447700900001", "--why", "x"],
    "holds remove": ["x", "--why", "x"],
    "campaigns show": ["x"],
    "campaigns watch": ["x"],
    "campaigns breakdown": ["x"],
    "campaigns clone": ["x", "people.csv"],
    "campaigns report": ["x", "-o", "out.html"],
    "campaigns pause": ["x"],
    "campaigns resume": ["x"],
    "campaigns unschedule": ["x"],
    "campaigns cancel": ["x"],
    "campaigns retry": ["x"],
    "campaigns set": ["x", "--rate", "1/s"],
    "keys add": ["--name", "x", "--role", "viewer"],
    "keys revoke": ["x"],
    "tokens add": ["--name", "x"],
    "tokens revoke": ["x"],
    "users add": ["x", "--role", "viewer"],
    "users disable": ["x"],
    "users enable": ["x"],
    "users link": ["x"],
    "users reset": ["x"],
    "webhooks add": ["https://example.com/hook"],
    "webhooks deliveries": ["x"],
    "webhooks disable": ["x"],
    "webhooks enable": ["x"],
    "webhooks remove": ["x"],
    "webhooks replay": ["x"],
    "webhooks rotate": ["x"],
    "webhooks test": ["x"],
    "restored": ["--why", "x"],
    "messages show": ["x"],
    "messages why": ["x"],
    "messages resolve": ["x", "--as", "failed", "--why", "x"],
    "senders show": ["8615000579987"],
    "senders add": ["8615000579987"],
    "senders set": ["8615000579987", "--rate", "1/s"],
    "senders pause": ["8615000579987", "--why", "x"],
    "senders resume": ["8615000579987", "--why", "x"],
    "account pause": ["--why", "x"],
    "account resume": ["--why", "x"],
    "media upload": ["people.csv", "--sender", "8615000579987"],
    "media delete": ["x"],
    "templates show": ["x"],
    "templates preview": ["x"],
    "export": ["x", "-o", "out.csv"],
    "relay": [],
    "worker": [],
}
#: These need no ledger of this folder, or make their own.
WITHOUT = {"demo", "up", "rehearse", "settings", "keys new-encryption-key", "simulate", "doctor"}


@pytest.fixture
def cli(cli_without_ledger: Cli) -> Cli:
    return cli_without_ledger


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text("to,name\n+44 7700 900140,Ann\n")
    (tmp_path / "c.json").write_text('{"body": "Hello {{name}}"}')
    return tmp_path


@pytest.mark.parametrize("command", sorted({" ".join(words) for words in commands()} - WITHOUT))
def test_without_a_terminal_no_ledger_is_made_unasked(cli: Cli, folder: Path, command: str) -> None:
    before = sorted(folder.iterdir())
    done = cli(*command.split(), *WORDS.get(command, []), DATABASE_URL="", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "DATABASE_URL is not set" in done.stderr, done.stderr
    assert "sqlite:///bulksend.db" in done.stderr
    assert sorted(folder.iterdir()) == before


def test_at_a_terminal_the_default_ledger_will_do_and_send_says_which_it_is(cli: Cli, folder: Path) -> None:
    said = cli(*SEND, "--kind", "marketing", columns=80, DATABASE_URL="").stdout
    said = " ".join(said.split())
    assert "in the ledger at sqlite:///bulksend.db" in said
    assert (folder / "bulksend.db").exists()


def test_every_send_says_which_ledger_took_it(cli: Cli, folder: Path) -> None:
    for more in ((), ("--json", "--again")):
        done = cli(*SEND, "--kind", "marketing", *more, DATABASE_URL="sqlite:///mine.db")
        assert done.returncode == 0, done.stderr
        assert "in the ledger at sqlite:///mine.db" in done.stderr


@pytest.mark.parametrize("url", ["", "sqlite:///mine.db"])
@pytest.mark.parametrize("kind", ["marketing", "otp"])
def test_a_dry_run_and_doctor_make_nothing(cli: Cli, folder: Path, url: str, kind: str) -> None:
    before = sorted(folder.iterdir())
    dry = cli(*SEND, "--kind", kind, "--dry-run", DATABASE_URL=url)
    assert dry.returncode == 0, dry.stderr
    assert "messages\t1\n" in dry.stdout
    doctor = cli("doctor", DATABASE_URL=url)
    assert doctor.returncode == 1
    assert "there is none at sqlite:///" in doctor.stdout + doctor.stderr
    assert sorted(folder.iterdir()) == before
