"""What a command prints: whole in any locale, and an exit code that tells where stdout took not all of it. Case 22."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from ops.stack import ROOT

SENDER = "8615000579987"
NAME = "봄 세일 😀"
FULL = Path("/dev/full")
READERS = (
    ("campaigns", "list"),
    ("campaigns", "list", "--json"),
    ("campaigns", "show", NAME),
    ("campaigns", "show", NAME, "--json"),
    ("messages", "find"),
    ("messages", "find", "--json"),
    ("messages", "find", "--csv"),
    ("export", NAME, "-o", "-"),
    ("senders", "list", "--json"),
    ("events",),
    ("events", "--json"),
    ("settings",),
    ("settings", "--json"),
    ("audit", "--json"),
    ("keys", "new-encryption-key"),
    ("--help",),
    ("--version",),
)
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs ``bulksend …`` as a process of its own, on a ledger with one campaign of a Korean name."""
    folder = tmp_path_factory.mktemp("locale")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("BULKSEND_", "LC_", "LANG", "PYTHON"))}
    environ = kept | {"DATABASE_URL": f"sqlite:///{folder}/ledger.db", "PYTHONPATH": str(ROOT)}
    (folder / "c.json").write_text('{"body": "hello {{name}}"}')
    (folder / "p.csv").write_text("to,name\n447700900123,봄\n", encoding="utf-8")

    def run(*words: str, stdout: int | IO[Any] = subprocess.PIPE, **more: Any) -> Any:
        return subprocess.run(
            [*more.pop("before", ()), sys.executable, "-m", "ops.cli.main", *words],
            cwd=folder,
            env=environ | more.pop("environ", {}),
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )

    sent = run(
        *("send", "p.csv", "--sender", SENDER, "--type", "text", "--content", "c.json"),
        *("--kind", "marketing", "--name", NAME),
    )
    assert sent.returncode == 0, sent.stderr
    return run


@pytest.fixture(scope="module")
def campaign(run: Run) -> str:
    """The id of the campaign."""
    return str(json.loads(run("campaigns", "list", "--json").stdout)["campaign_id"])


@pytest.mark.parametrize("words", READERS, ids=" ".join)
@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["latin-1", "ascii", "posix"],
)
def test_every_locale_gets_the_whole_output(
    run: Run, campaign: str, words: tuple[str, ...], environ: dict[str, str]
) -> None:
    # A locale without these letters cannot hand the name over as an argument either: by its id then.
    asked = [campaign if word == NAME else word for word in words]
    done = run(*asked, environ=environ)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout
    if "--json" in words:
        values = [json.loads(line) for line in done.stdout.splitlines()]
        if words[0] == "campaigns":
            assert values[0]["name"] == NAME


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_full_disk_behind_stdout_is_said_and_the_exit_code_tells(run: Run, words: tuple[str, ...]) -> None:
    with FULL.open("wb") as full:
        done = run(*words, stdout=full)
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert "stdout did not take the whole output: No space left on device" in said
    assert "Traceback" not in said
    assert "Exception" not in said


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_closed_stdout_is_said_and_the_exit_code_tells(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words, before=("/bin/sh", "-c", 'exec "$@" >&-', "sh"))
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert "stdout did not take the whole output" in said
    assert "Traceback" not in said
    assert "Exception" not in said


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_reader_that_leaves_ends_it_quietly(run: Run, words: tuple[str, ...]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as pipe:
        done = run(*words, stdout=pipe)
    assert done.returncode == 141
    assert b"stdout" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_act_with_every_stream_closed_takes_place(run: Run) -> None:
    closed = ("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    done = run("account", "pause", "--why", "stop", before=closed)
    assert done.returncode == 0
    again = run("account", "resume", "--why", "go on", "--json")
    assert json.loads(again.stdout)["changed"] is True


def test_ids_on_stdin_that_are_no_text_are_refused_by_name(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "ids"
    file.write_bytes(b"caf\xe9\n")
    into = ("/bin/sh", "-c", f'exec "$@" < {file}', "sh")
    done = run("messages", "resolve", "-", "--as", "failed", "--why", "w", before=into)
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
