"""Bytes that are no UTF-8 in any argument: acts act, all else is refused in one sentence. Case 05."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from ops.cli.main import app
from ops.stack import ROOT
from tests.acceptance.many_commands import Cli, commands

#: How Python hands over the byte E9, an é in ISO 8859-1.
BAD = "caf\udce9"
KEPT = "caf\ufffd"
SENDER = "8615000579987"


ROOT_COMMAND: Any = typer.main.get_command(app)


def leaf(words: tuple[str, ...]) -> Any:
    command = ROOT_COMMAND
    for word in words:
        command = command.commands[word]
    return command


def _texts() -> list[tuple[tuple[str, ...], str]]:
    """Every argument and option of every command that is text, neither a path nor a number nor a flag."""
    return [
        (words, param.name)
        for words in commands()
        for param in leaf(words).params
        if hasattr(param, "type_descriptor") and param.type_descriptor.annotation in (str, list[str])
    ]


TEXTS = _texts()


def line(words: tuple[str, ...], name: str) -> list[str]:
    """A command line in which only ``name`` holds bad bytes."""
    made = list(words)
    for param in leaf(words).params:
        if param.name != name and not param.required:
            continue
        value = BAD if param.name == name else "x"
        made += [value] if param.param_type_name == "argument" else [param.opts[0], value]
    return made


@pytest.mark.parametrize(("words", "name"), TEXTS, ids=lambda v: " ".join(v) if isinstance(v, tuple) else v)
def test_no_argument_of_any_command_ends_in_a_traceback(cli: Cli, words: tuple[str, ...], name: str) -> None:
    done = cli(*line(words, name))
    assert "Traceback" not in done.stderr
    if name not in ("why", "reason"):
        assert (done.returncode, "not UTF-8" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize("command", ["worker", "simulate"])
def test_what_is_handed_on_to_another_program_is_looked_at_too(cli: Cli, command: str) -> None:
    done = cli(command, "-n", BAD)
    assert (done.returncode, "not UTF-8" in done.stderr) == (2, True)


def test_an_emergency_stop_stops_whatever_its_reason_is_written_in(cli: Cli, tmp_path: Path) -> None:
    assert cli("senders", "add", SENDER).returncode == 0
    (tmp_path / "c.json").write_text('{"body": "hello"}')
    (tmp_path / "p.csv").write_text("to\n447700900123\n")
    sent = cli(
        *("send", "p.csv", "--sender", SENDER, "--type", "text", "--content", "c.json"),
        *("--kind", "marketing", "--name", "spring"),
    )
    assert sent.returncode == 0, sent.stderr
    for act in (["account", "pause"], ["senders", "pause", SENDER], ["campaigns", "pause", "spring"]):
        done = cli(*act, "--why", BAD, BULKSEND_ACTOR=BAD)
        assert done.returncode == 0, done.stderr
    shown = json.loads(cli("campaigns", "show", "spring", "--json").stdout)
    assert (shown["status"], shown["pause_why"]) == ("paused", KEPT)
    (sender,) = [json.loads(one) for one in cli("senders", "list", "--json").stdout.splitlines()]
    assert sender["pause_why"] == KEPT
    (message,) = [json.loads(one) for one in cli("messages", "find", "--json").stdout.splitlines()]
    why = json.loads(cli("messages", "why", message["id"], "--json").stdout)
    assert "the account has been paused since" in json.dumps(why)
    assert KEPT in json.dumps(why, ensure_ascii=False)


def test_a_file_whose_name_is_no_text_is_sent_and_listed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"body": "hello"}')
    (tmp_path / f"{BAD}.csv").write_text("to\n447700900123\n")
    done = cli(
        *("send", f"{BAD}.csv", "--sender", SENDER, "--type", "text", "--content", "c.json"),
        *("--kind", "marketing"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(cli("campaigns", "list", "--json").stdout)["name"] == KEPT
    (tmp_path / f"{BAD}2.csv").write_text("to\n447700900124\n")
    assert cli("suppressions", "import", f"{BAD}2.csv").returncode == 0


def test_real_bytes_of_a_real_process(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BULKSEND_")}
    environ |= {"DATABASE_URL": f"sqlite:///{tmp_path}/case.db", "PYTHONPATH": str(ROOT)}

    def run(*words: str | bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "ops.cli.main", *words],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )

    assert run("migrate").returncode == 0
    assert run("account", "pause", "--why", b"caf\xe9").returncode == 0
    shown = run("campaigns", "show", b"caf\xe9")
    assert (shown.returncode, b"Traceback" in shown.stderr) == (2, False)


@pytest.mark.parametrize("blank", ["", "  \t"])
@pytest.mark.parametrize(
    ("words", "name"),
    [each for each in TEXTS if each[1] in ("why", "reason")],
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else v,
)
def test_a_blank_reason_is_refused_by_every_command(
    cli: Cli, words: tuple[str, ...], name: str, blank: str
) -> None:
    """``account pause --why ''`` held everything back, for no reason on record."""
    done = cli(*[blank if word == BAD else word for word in line(words, name)])
    assert done.returncode == 2
    assert f"--{name}" in done.stderr
    assert "is empty; give the reason, for the operator log" in " ".join(done.stderr.split())
