"""What a command prints: whole in any locale, and an exit code that tells where stdout took not all of it. Case 22."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from ops.stack import ROOT
from tests.acceptance.many_commands import Shell

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
LOCALES = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii:strict"},
    "posix": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@dataclass
class Place:
    """A folder with a ledger that has one campaign of a Korean name, and the environment of its commands."""

    folder: Path
    environ: dict[str, str]

    def run(self, *words: str, stdout: int | IO[Any] = subprocess.PIPE, **more: Any) -> Any:
        """``bulksend …`` as a process of its own."""
        return subprocess.run(
            [*more.pop("before", ()), sys.executable, "-m", "ops.cli.main", *words],
            cwd=self.folder,
            env=self.environ | more.pop("environ", {}),
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )

    def run_into(
        self, shell: Shell, words: Sequence[str], stdout: IO[bytes] | None
    ) -> subprocess.CompletedProcess[str]:
        """The same by a shell, where what an interpreter reads at its start is that of the shell; None: closed."""
        return shell.run_whole(words, self.environ, self.folder, stdout)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("locale")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("BULKSEND_", "LC_", "LANG", "PYTHON"))}
    environ = kept | {"DATABASE_URL": f"sqlite:///{folder}/ledger.db", "PYTHONPATH": str(ROOT)}
    (folder / "c.json").write_text('{"body": "hello {{name}}"}')
    (folder / "p.csv").write_text("to,name\n447700900123,봄\n", encoding="utf-8")
    made = Place(folder, environ)
    sent = made.run(
        *("send", "p.csv", "--sender", SENDER, "--type", "text", "--content", "c.json"),
        *("--kind", "marketing", "--name", NAME),
    )
    assert sent.returncode == 0, sent.stderr
    return made


@pytest.fixture(scope="module")
def run(place: Place) -> Run:
    return place.run


@pytest.fixture(scope="module")
def campaign(run: Run) -> str:
    """The id of the campaign."""
    return str(json.loads(run("campaigns", "list", "--json").stdout)["campaign_id"])


@pytest.fixture(scope="module", params=LOCALES)
def local(request: pytest.FixtureRequest, place: Place) -> Iterator[tuple[Shell, dict[str, str]]]:
    """A shell whose interpreter was started with this locale, which is returned, too."""
    with Shell(place.environ | LOCALES[request.param]) as shell:
        yield shell, LOCALES[request.param]


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_every_locale_gets_the_whole_output(
    place: Place, campaign: str, local: tuple[Shell, dict[str, str]], words: tuple[str, ...], tmp_path: Path
) -> None:
    shell, _ = local
    # A locale without these letters cannot hand the name over as an argument either: by its id then.
    asked = [campaign if word == NAME else word for word in words]
    with (tmp_path / "output").open("wb") as file:
        done = place.run_into(shell, asked, file)
    output = (tmp_path / "output").read_bytes()
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert output
    if "--json" in words:
        values = [json.loads(line) for line in output.splitlines()]
        if words[0] == "campaigns":
            assert values[0]["name"] == NAME


def test_a_shell_of_a_locale_says_what_a_process_of_its_own_says(
    place: Place, local: tuple[Shell, dict[str, str]], tmp_path: Path
) -> None:
    shell, environ = local
    for words in (("campaigns", "list"), ("campaigns", "list", "--json")):
        with (tmp_path / "output").open("wb") as file:
            place.run_into(shell, words, file)
        assert (tmp_path / "output").read_bytes() == place.run(*words, environ=environ).stdout


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_full_disk_behind_stdout_is_said_and_the_exit_code_tells(
    place: Place, shell: Shell, words: tuple[str, ...]
) -> None:
    with FULL.open("wb") as full:
        done = place.run_into(shell, words, full)
    assert done.returncode == 1, done.stderr
    assert "stdout did not take the whole output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_closed_stdout_is_said_and_the_exit_code_tells(
    place: Place, shell: Shell, words: tuple[str, ...]
) -> None:
    done = place.run_into(shell, words, None)
    assert done.returncode == 1, done.stderr
    assert "stdout did not take the whole output" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_reader_that_leaves_ends_it_quietly(place: Place, shell: Shell, words: tuple[str, ...]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "wb") as pipe:
        done = place.run_into(shell, words, pipe)
    assert done.returncode == 141
    assert "stdout" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_of_a_shell_ends_as_a_process_of_its_own_does(place: Place, shell: Shell) -> None:
    """Where stdout takes nothing: its exit code, and what it says."""
    words = ("campaigns", "list", "--json")
    reads, writes = os.pipe()
    os.close(reads)
    with FULL.open("wb") as full, os.fdopen(writes, "wb") as pipe:
        closed = place.run(*words, before=("/bin/sh", "-c", 'exec "$@" >&-', "sh"))
        for stdout, own in (
            (None, closed),
            (full, place.run(*words, stdout=full)),
            (pipe, place.run(*words, stdout=pipe)),
        ):
            done = place.run_into(shell, words, stdout)
            assert (done.returncode, done.stderr) == (own.returncode, own.stderr.decode())


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
