"""Runs many ``bulksend`` commands, each a process of its own, and pays for their imports only once.

A line of JSON in, ``{"words", "environ", "folder", "columns"}``; one out, ``{"code", "stdout", "stderr"}``. Only the
imports and what typer makes of the functions are shared: each command has its own environment, folder, streams and
end. ``Shell`` is the other side.

Where the folder is followed by ``"stays": true`` the command is a server: the answer is its ``{"pid"}``, and its end is
told on a pipe. Two files come with that line on the socket of the first argument: its output, and the pipe.

With ``"whole": true`` a command ends as any process does, by the end of the interpreter. The file for its output comes
on that socket; with ``"closed": true`` there is none, and its standard output is closed.

The end of an interpreter costs ten times a command where all that is imported here is taken apart; so that is left out.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import IO, Any

from ops.cli.main import command
from ops.cli.main import main as bulksend
from ops.stack import ROOT

OURS = ("bulksend", "notifier", "ops", "producer", "simulator", "worker")
#: What they import once they run.
OTHERS = (
    *("alembic.command", "alembic.script", "alembic.runtime.environment", "alembic.runtime.migration"),
    *("celery.bin.celery", "celery.bin.worker", "celery.apps.worker", "celery.concurrency.thread"),
    *("rich.console", "rich.table", "rich.progress", "openpyxl"),
    *("sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite"),
)
#: A command that hangs is killed after so long.
_LONGEST_S = 60
_MODULES: dict[str, ModuleType] = {}


def main() -> None:
    """Until the end of stdin."""
    atexit.register(_keep_modules)
    for package in OURS:
        _import_all(package)
    for module in OTHERS:
        importlib.import_module(module)
    gc.freeze()
    files = socket.socket(fileno=int(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        if order.pop("stays", False):
            answer = start(files, **order)
        elif order.pop("whole", False):
            with contextlib.nullcontext() if order.pop("closed") else _received(files) as output:
                answer = run_whole(output, **order)
        else:
            answer = run(**order)
        sys.stdout.write(json.dumps(answer) + "\n")
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


def run_whole(
    output: IO[bytes] | None, words: list[str], environ: dict[str, str], folder: str
) -> dict[str, object]:
    """A command that ends by the end of the interpreter: its exit code, and what it said on stderr.

    Without a file for its output its standard output is closed.
    """
    with tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _enter(environ, folder, (err.fileno() if output is None else output.fileno(), err.fileno()))
            if output is None:
                _close_stdout()
            else:
                output.close()
            signal.alarm(_LONGEST_S)
            bulksend(words)
            raise SystemExit(0)
        _, status = os.waitpid(child, 0)
        return {"code": os.waitstatus_to_exitcode(status), "stderr": _said(err)}


def _received(files: socket.socket) -> IO[bytes]:
    _, (file,), _, _ = socket.recv_fds(files, 1, 1)
    return os.fdopen(file, "wb", buffering=0)


def _close_stdout() -> None:
    """As an interpreter is that was started without one."""
    os.close(1)
    sys.stdout = sys.__stdout__ = None  # type: ignore[assignment, misc]


def _keep_modules() -> None:
    """The end of the interpreter takes no module apart, nor looks through them for garbage."""
    _MODULES.update(sys.modules)
    gc.freeze()
    sys.modules.clear()


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


def start(files: socket.socket, words: list[str], environ: dict[str, str], folder: str) -> dict[str, object]:
    """A server in a process of its own: its pid. Another one waits for its end, and says its exit code on the pipe."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    _, (output, end), _, _ = socket.recv_fds(files, 1, 2)
    its, ours = os.pipe()
    if os.fork() == 0:
        child = os.fork()
        if child == 0:
            files.close()
            for file in (its, ours, end):
                os.close(file)
            os.setsid()
            _enter(environ, folder, (output, output))
            os.close(output)
            sys.argv = ["bulksend", *words]
            bulksend(words)  # raises SystemExit: this process ends as any other, by the end of main
        os.write(ours, str(child).encode())
        # A process that waits for the end of this one's input or output does not wait for this.
        for file in (*range(3), its, ours, output, files.fileno()):
            os.close(file)
        _, status = os.waitpid(child, 0)
        with suppress(BrokenPipeError):
            os.write(end, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    for file in (ours, output, end):
        os.close(file)
    with os.fdopen(its) as told:
        return {"pid": int(told.read())}


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
        _enter(environ, folder, output, stdin)
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


def _enter(environ: dict[str, str], folder: str, output: tuple[int, int], stdin: int | None = None) -> None:
    given = os.open(os.devnull, os.O_RDONLY) if stdin is None else stdin
    for stream, file in enumerate((given, *output)):
        os.dup2(file, stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)


#: ``cli("campaigns", "list", SETTING="value")``: see the fixture of that name.
Cli = Callable[..., CompletedProcess[str]]


class Shell:
    """Runs commands for tests: one server of ours for all of them. A context manager.

    In ``environ`` is what an interpreter reads when it starts, as the encoding of its streams.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._files, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            env={**environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[its.fileno()],
        )
        its.close()
        # Members of a stack are also started from the thread that tends it.
        self._asking = threading.RLock()

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        # Its end is that of its input.
        self._server.communicate()
        self._files.close()

    def run(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        folder: Path,
        columns: int | None = None,
        typed: str | None = None,
    ) -> CompletedProcess[str]:
        """``bulksend words…`` to its end, killed after a minute; with ``columns`` on a terminal of that width."""
        answer = self._ask(words, environ, folder, columns=columns, typed=typed)
        return CompletedProcess(list(words), answer["code"], answer["stdout"], answer["stderr"])

    def run_whole(
        self, words: Sequence[str], environ: Mapping[str, str], folder: Path, stdout: IO[bytes] | None
    ) -> CompletedProcess[str]:
        """As ``run``, into this file, with all that an interpreter does at its end; without one stdout is closed."""
        with self._asking:
            if stdout is not None:
                socket.send_fds(self._files, [b"."], [stdout.fileno()])
            answer = self._ask(words, environ, folder, whole=True, closed=stdout is None)
        return CompletedProcess(list(words), answer["code"], None, answer["stderr"])

    def popen(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: IO[bytes], **_: object
    ) -> Started:
        """As ``subprocess.Popen`` for ``python -m ops.cli.main words…``, in a session of its own.

        Its standard error is its standard output.
        """
        assert list(arguments[:3]) == [sys.executable, "-m", "ops.cli.main"]
        told, end = os.pipe()
        with self._asking:
            socket.send_fds(self._files, [b"."], [stdout.fileno(), end])
            os.close(end)
            return Started(self._ask(arguments[3:], env, cwd, stays=True)["pid"], told)

    def _ask(
        self, words: Sequence[str], environ: Mapping[str, str], folder: Path, **more: object
    ) -> dict[str, Any]:
        order = {"words": list(words), "environ": dict(environ), "folder": str(folder), **more}
        with self._asking:
            assert self._server.stdin is not None
            assert self._server.stdout is not None
            self._server.stdin.write(json.dumps(order) + "\n")
            self._server.stdin.flush()
            answer: dict[str, Any] = json.loads(self._server.stdout.readline())
            return answer


class Started:
    """A server that ``Shell.popen`` has started. ``end`` is the pipe on which its exit code is told."""

    def __init__(self, pid: int, end: int) -> None:
        self.pid = pid
        self._end = end
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status if it has ended, None while it runs."""
        return self._read_end(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status. Raises subprocess.TimeoutExpired."""
        status = self._read_end(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return status

    def send_signal(self, sig: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.send_signal(signal.SIGKILL)

    def _read_end(self, seconds: float | None) -> int | None:
        if self._status is None and select.select([self._end], [], [], seconds)[0]:
            self._status = int(os.read(self._end, 16))
            os.close(self._end)
        return self._status


def commands() -> Iterator[tuple[str, ...]]:
    """Every command that there is, as its words."""
    yield from _commands_of(command(), ())


def _commands_of(of: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    inner = getattr(of, "commands", None)
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
