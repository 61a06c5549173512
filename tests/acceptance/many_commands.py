"""Runs many ``bulksend`` commands, each a process of its own, and pays for their imports only once.

A line of JSON in, ``{"words", "environ", "folder", "columns"}``; one out, ``{"code", "stdout", "stderr"}``. Only the
imports are shared: each command has its own environment, folder, streams and end. ``Shell`` is the other side.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import pty
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO

from ops.cli.main import app
from ops.cli.main import main as bulksend
from ops.stack import ROOT

OURS = ("bulksend", "ops", "producer", "worker")
#: What they import once they run.
OTHERS = (
    *("alembic.command", "alembic.script", "alembic.runtime.environment", "alembic.runtime.migration"),
    *("celery.bin.celery", "celery.bin.worker", "celery.apps.worker", "celery.concurrency.thread"),
    *("rich.console", "rich.table", "rich.progress", "openpyxl"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite"),
)
#: A command that hangs is killed after so long.
_LONGEST_S = 60


def main() -> None:
    """Until the end of stdin."""
    for package in OURS:
        _import_all(package)
    for module in OTHERS:
        importlib.import_module(module)
    gc.freeze()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(run(**json.loads(line))) + "\n")
        sys.stdout.flush()


def run(
    words: list[str],
    environ: dict[str, str],
    folder: str,
    columns: int | None = None,
    typed: str | None = None,
) -> dict[str, object]:
    """A command in a process of its own: its exit code, and all that it said.

    With ``columns`` on a terminal of that width, where stdout and stderr are one; ``typed`` is typed there.
    """
    if columns is not None:
        return _run_on_a_terminal(words, environ, folder, columns, typed)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(words, environ, folder, (out.fileno(), err.fileno()))
        _, status = os.waitpid(child, 0)
        return {"code": os.waitstatus_to_exitcode(status), "stdout": _said(out), "stderr": _said(err)}


def _run_on_a_terminal(
    words: list[str], environ: dict[str, str], folder: str, columns: int, typed: str | None
) -> dict[str, object]:
    with terminal(columns, typed or "") as (its, read):
        child = os.fork()
        if child == 0:
            stdin = None if typed is None else its
            _become(words, environ | {"TERM": "xterm-256color"}, folder, (its, its), stdin)
        said = read()
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "stdout": said, "stderr": ""}


@contextlib.contextmanager
def terminal(columns: int, typed: str = "") -> Iterator[tuple[int, Callable[[], str]]]:
    """A terminal of that width: its file descriptor for a child, and what reads all that is said there.

    To be called once the child has it: ours is closed then, and the end of the child is the end of the reading.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))

    # It waits there until it is read.
    os.write(ours, typed.encode())

    def read() -> str:
        os.close(its)
        said = b""
        # Linux tells the end of a terminal by an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                said += part
        return said.decode(errors="replace").replace("\r\n", "\n")

    try:
        yield its, read
    finally:
        os.close(ours)


def _said(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _become(
    words: list[str],
    environ: dict[str, str],
    folder: str,
    output: tuple[int, int],
    stdin: int | None = None,
) -> None:
    code = 1
    try:
        given = os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin
        for stream, file in enumerate((given, *output)):
            os.dup2(file, stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        signal.alarm(_LONGEST_S)
        bulksend(words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter would say it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


#: ``cli("campaigns", "list", SETTING="value")``: see the fixture of that name.
Cli = Callable[..., CompletedProcess[str]]


class Shell:
    """Runs commands for tests: one server of ours for all of them. A context manager."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        # Its end is that of its input.
        self._server.communicate()

    def run(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        columns: int | None = None,
        typed: str | None = None,
    ) -> CompletedProcess[str]:
        """``bulksend words…`` to its end, killed after a minute; with ``columns`` on a terminal of that width."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        order = {
            **{"words": list(words), "environ": dict(environ), "folder": str(folder)},
            **{"columns": columns, "typed": typed},
        }
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        return CompletedProcess(list(words), answer["code"], answer["stdout"], answer["stderr"])


def commands() -> Iterator[tuple[str, ...]]:
    """Every command that there is, as its words."""
    import typer

    yield from _commands_of(typer.main.get_command(app), ())


def _commands_of(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words
        return
    for name, each in inner.items():
        yield from _commands_of(each, (*words, name))


def _import_all(name: str) -> None:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        importlib.import_module(module.name)


if __name__ == "__main__":
    main()
