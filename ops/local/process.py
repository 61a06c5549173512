"""Child processes that end with their parent, even when the parent ends by ``kill -9``.

Two guards, since neither is enough alone. On Linux the kernel signals the child when the *thread* that started it
ends; this guard is set from the main thread only. On every system a small shell, in a session of its own, waits at a
pipe that only the parent holds open: at the pipe's end it signals the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from bulksend.errors import Unavailable

_PR_SET_PDEATHSIG = 1
#: A line on the pipe: the child has ended, and another process may have its pid. The pipe's end: the parent has.
_GUARD = 'read -r _ || kill -s "$1" "$2"'


class CannotStart(Unavailable):
    """A local server did not start; the text says why and what to do."""


def log_tail(log: Path, lines: int = 3) -> str:
    """The last lines of a log, for the text of an error; empty where there is none."""
    try:
        with log.open(errors="replace") as opened:
            return " / ".join(line.strip() for line in deque(opened, lines))
    except OSError:
        return ""


class Process(Protocol):
    """What a ``ChildProcess`` needs of ``subprocess.Popen``."""

    pid: int

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...

    def kill(self) -> None: ...


class ChildProcess:
    """A started process in a session of its own, so that a Ctrl-C in the terminal reaches only the parent."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        output: IO[bytes] | int = subprocess.DEVNULL,
        user: str | None = None,
        pass_fds: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
        popen: Callable[..., Process] = subprocess.Popen,
    ) -> None:
        """``output`` takes stdout and stderr; ``user`` is the user that root runs it as; ``popen`` starts it.

        Raises OSError when it cannot run.
        """
        self._stop_signal = stop_signal
        self.process = popen(
            list(arguments),
            cwd=cwd,
            env=None if environ is None else dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            preexec_fn=die_with_parent(stop_signal),
        )
        self._guard = _start_guard(self.process.pid, stop_signal)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.reap() is None

    def reap(self) -> int | None:
        """Its exit status if it has ended (minus the signal's number if one ended it), None while it runs."""
        status = self.process.poll()
        if status is not None:
            self._release()
        return status

    def ask_to_stop(self, by: signal.Signals | None = None) -> None:
        """Send its stop signal, without waiting."""
        if self.running:
            self.process.send_signal(by if by is not None else self._stop_signal)

    def wait(self) -> int:
        """Wait for its end. Returns its exit status. Another thread may ask it to stop meanwhile."""
        status = self.process.wait()
        self._release()
        return status

    def wait_or_kill(self, grace_s: float) -> int:
        """Wait at most ``grace_s`` for its end, then kill it. Returns its exit status."""
        try:
            status = self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._release()
        return status

    def stop(self, grace_s: float = 5.0) -> int:
        """Ask it to end and kill it after ``grace_s``. Returns its exit status."""
        self.ask_to_stop()
        return self.wait_or_kill(grace_s)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.wait_or_kill(5.0)

    def _release(self) -> None:
        """End the guard."""
        pipe = self._guard.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(b"\n")
            pipe.close()
            self._guard.wait()


class RestartPauses:
    """How long to wait before a process that ended is started again: not at all first, then longer each time."""

    _LONGEST_S = 30.0
    #: A process that ran for this long failed for a new reason.
    _STABLE_S = 60.0

    def __init__(self) -> None:
        self._failures = 0

    def after(self, ran_s: float) -> float:
        """The wait in seconds before the next start of one that ran for so long."""
        if ran_s > self._STABLE_S:
            self._failures = 0
        pause = 0.0 if not self._failures else min(self._LONGEST_S, 2.0**self._failures)
        self._failures += 1
        return pause


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """A ``preexec_fn`` by which Linux signals the child when the calling thread ends, which is the main thread.

    None on other systems, and on other threads, whose end is not the parent's.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)  # the parent ended before the kernel knew of it

    return prepare


def _start_guard(pid: int, number: signal.Signals) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - a fixed script; a signal's name and a pid
        ["/bin/sh", "-c", _GUARD, "sh", number.name.removeprefix("SIG"), str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
