"""Child processes that never outlive the process that started them, not even its ``kill -9``.

Two guards, since neither is enough alone. On Linux the kernel signals the child when the *thread* that
started it ends; that one is set from the main thread only. Everywhere a small shell, in a session of its own,
waits at a pipe that only we hold open: when we are gone it reads the pipe's end and signals the child.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
#: A line on the pipe: the child has ended, its pid may be anybody's. The pipe's end: we have.
_WATCH = 'read -r _ || kill -s "$1" "$2"'


class Child:
    """A started process in a session of its own, so that a Ctrl-C in the terminal reaches only us."""

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
    ) -> None:
        """``output`` takes stdout and stderr; ``user`` is whom root runs it as. OSError if it cannot run."""
        self._stop_signal = stop_signal
        self.process = subprocess.Popen(  # noqa: S603 - arguments are ours, there is no shell
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
        self._guard = _watchdog(self.process.pid, stop_signal)

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
        """Send its stop signal, and do not wait."""
        if self.running:
            self.process.send_signal(by if by is not None else self._stop_signal)

    def wait_or_kill(self, grace_s: float) -> int:
        """Wait for its end, at most ``grace_s``, then kill it; its exit status."""
        try:
            status = self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._release()
        return status

    def stop(self, grace_s: float = 5.0) -> int:
        """Ask it to end, kill it after ``grace_s``; its exit status."""
        self.ask_to_stop()
        return self.wait_or_kill(grace_s)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.wait_or_kill(5.0)

    def _release(self) -> None:
        """Send the watchdog home."""
        pipe = self._guard.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):
                pipe.write(b"\n")
            pipe.close()
            self._guard.wait()


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None] | None:
    """A ``preexec_fn`` that has Linux signal the child when the calling thread, the main one, ends.

    None on other systems, and on other threads, whose end is not the parent's.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)  # it was gone before the kernel could know

    return prepare


def _watchdog(pid: int, number: signal.Signals) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - a fixed script; a signal's name and a pid
        ["/bin/sh", "-c", _WATCH, "sh", number.name.removeprefix("SIG"), str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        start_new_session=True,
    )
