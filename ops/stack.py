"""The embedded stack: Valkey, SQLite ledger, worker, relay, HTTP API and simulated vendor, in one folder.

For `up`, `demo` and the tests: real processes, the same as in production, that end with the process that made them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from sqlalchemy.engine import URL

from bulksend import bootstrap
from bulksend.errors import InvalidInput, NotSignedIn
from bulksend.ledger import leases
from bulksend.ledger.database import Database
from bulksend.ledger.migrate import migrate
from bulksend.messaging.surrogates import replace_surrogates
from bulksend.operations import api_keys, sessions, users
from bulksend.operations.access import Role
from bulksend.operations.api_keys import KeyRing
from bulksend.operations.receipt_tokens import add_token
from bulksend.settings import Settings
from ops.local.ports import free_port, is_free
from ops.local.process import CannotStart, ChildProcess, Process, RestartPauses, log_tail
from ops.local.valkey import EmbeddedValkey

#: The checkout or installation that the processes import from.
ROOT = Path(__file__).resolve().parents[1]
#: What the docs show. In a wheel they are beside this module, in a checkout at its root.
EXAMPLES = next(
    folder for folder in (Path(__file__).with_name("examples"), ROOT / "examples") if folder.is_dir()
)
#: The sender of the examples.
SENDER = "8615000579987"
#: The file with the ports of the last start.
_PORTS = "ports.json"
_CLI = (sys.executable, "-m", "ops.cli.main")
#: Most messages are delivered within seconds, and half of those are read within a minute.
_RECEIPTS = {
    "delivered": {"kind": "lognormal", "median_ms": 1500, "p99_ms": 10_000},
    "delivered_share": 0.97,
    "read": {"kind": "lognormal", "median_ms": 15_000, "p99_ms": 60_000},
    "read_share": 0.5,
}
#: Who uses the console of a stack on one's own machine.
_OWNER = "owner"
_ALLOW_PRIVATE = "BULKSEND_WEBHOOKS_ALLOW_PRIVATE"


@dataclass(slots=True)
class Member:
    """One process of the stack."""

    name: str
    arguments: tuple[str, ...]
    child: ChildProcess | None = None
    pauses: RestartPauses = field(default_factory=RestartPauses)
    restart_at: float = 0.0
    started_at: float = 0.0


@dataclass
class Stack:
    """The processes in one folder. ``environ`` comes from outside; ``settings_environ`` is what the stack adds."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    workers: int = 1
    simulator_options: tuple[str, ...] = ()
    database_url: str | None = None
    api_port: int | None = None
    """The port of the HTTP API, or a free one if it is taken; None: no API and no notifier."""
    vendor_settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the simulated vendor (simulator/README.md). With an API it sends its receipts there."""
    popen: Callable[..., Process] = subprocess.Popen
    """What starts a process; the arguments are those of ``subprocess.Popen``."""

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self._valkey = EmbeddedValkey(self.folder / "valkey")
        self._members: list[Member] = []
        self._added: dict[str, str] = {}
        self.simulator_origin: str | None = None
        self.api_origin: str | None = None
        self.moved: list[str] = []
        """Servers whose port of the last start is taken, so that they have another one."""

    @property
    def settings_environ(self) -> dict[str, str]:
        """The variables that point a program to this stack."""
        return dict(self._added)

    @property
    def settings(self) -> Settings:
        """The settings of its members."""
        return Settings.from_env(self._whole_environ(), None)

    def start(self) -> None:
        """Start everything and wait until the workers are ready. Raises CannotStart."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._added["DATABASE_URL"] = self.database_url or sqlite_url(self.folder / "ledger.db")
        ports = self._last_ports()
        self._valkey.prefer(ports.get("valkey", 0))
        self._added["REDIS_URL"] = self._valkey.start()
        for name in ("spool", "upload", "export"):
            self._added[f"BULKSEND_{name.upper()}_DIR"] = str(self.folder / name)
        if self.api_port is not None:
            self.api_origin = f"http://127.0.0.1:{self._chosen(self.api_port)}"
        database = bootstrap.database(self.settings)
        try:
            migrate(database)
            if not self.environ.keys() & {"USPEEDO_ACCESSKEY_SECRET", "USPEEDO_ACCESSKEY_SECRET_FILE"}:
                self._start_simulator(ports.get("simulator", 0), database)
            self._save_ports(ports)
            for number in range(self.workers):
                self.add(f"worker{number + 1 if self.workers > 1 else ''}", "worker", "-n", f"w{number}@%h")
            self.add("relay", "relay")
            if self.api_origin is not None:
                member = self.add("serve", "serve", "--port", self.api_origin.rpartition(":")[2])
                self.add("notifier", "notifier")
                self._await(self._api_answers, "the HTTP API did not start", member)
            self._await(lambda: self._alive_workers(database) >= self.workers, "no worker became ready")
        finally:
            database.close()

    def add(self, name: str, *command: str) -> Member:
        """Run another ``bulksend`` command as a member of the stack."""
        member = Member(name, (*_CLI, *command))
        self._members.append(member)
        self._launch(member)
        return member

    def member(self, name: str) -> Member:
        """A member by its name."""
        return next(m for m in self._members if m.name == name)

    def stop(self) -> None:
        """Stop workers and relay first, at the same time; then the vendor; Redis last."""
        last = [m for m in self._members if m.name == "simulator"]
        first = [m for m in self._members if m.name != "simulator"]
        for group in (first, last):
            for member in group:
                if member.child is not None:
                    member.child.ask_to_stop()
            for member in group:
                if member.child is not None:
                    member.child.wait_or_kill(60.0)
                    member.child = None
        self._valkey.stop()

    def supervise(self, stop: threading.Event, tell: Callable[[str], None]) -> None:
        """Start processes again that end, until ``stop`` is set."""
        while not stop.wait(0.5):
            self._supervise_valkey(tell)
            for member in self._members:
                self._supervise_member(member, tell)

    def _supervise_valkey(self, tell: Callable[[str], None]) -> None:
        """It starts again at the same port, where members and other terminals look for it, with its data."""
        status = self._valkey.reap()
        if status is not None:
            tell(f"valkey ended with status {status}; starting it again at the same port, with its data")
        if self._valkey.pid is None:
            try:
                self._valkey.start()
            except CannotStart as error:
                tell(str(error))

    def _supervise_member(self, member: Member, tell: Callable[[str], None]) -> None:
        if member.child is not None:
            status = member.child.reap()
            if status is None:
                return
            member.child = None
            now = time.monotonic()
            member.restart_at = now + member.pauses.after(now - member.started_at)
            tell(f"{member.name} ended with status {status}: {log_tail(self._log(member))}")
        if time.monotonic() >= member.restart_at:
            self._launch(member)

    def _launch(self, member: Member) -> None:
        with self._log(member).open("ab") as log:
            # In a folder without a .env: members get their settings from the stack only.
            member.child = ChildProcess(
                member.arguments,
                cwd=self.folder / "logs",
                environ=self._whole_environ(),
                output=log,
                popen=self.popen,
            )
            member.started_at = time.monotonic()

    def _log(self, member: Member) -> Path:
        return self.folder / "logs" / f"{member.name}.log"

    def _whole_environ(self) -> dict[str, str]:
        whole = {**self.environ, **self._added}
        return whole | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), self.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        }

    def _last_ports(self) -> dict[str, int]:
        """The ports of the last start, so that what was pasted into other terminals stays valid."""
        try:
            kept = json.loads((self.folder / _PORTS).read_text())
            return {str(name): int(port) for name, port in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _save_ports(self, before: Mapping[str, int]) -> None:
        now = {"valkey": self._valkey.port}
        if self.simulator_origin is not None:
            now["simulator"] = int(self.simulator_origin.rsplit(":", 1)[1])
        (self.folder / _PORTS).write_text(json.dumps(now))
        self.moved += [name for name, port in now.items() if before.get(name, port) != port]

    def _start_simulator(self, port: int, database: Database) -> None:
        from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET

        ready = self.folder / "logs" / "simulator.log"
        ready.unlink(missing_ok=True)
        command = (*_CLI, "simulate", *self.simulator_options)
        settings = dict(self.vendor_settings)
        if self.api_origin is not None:
            url = self.api_origin + self._receipts_path(database)
            settings["receipts"] = {**_RECEIPTS, **settings.get("receipts", {}), "url": url}
        if settings:
            # A file and not an option: the address of the receipts holds a token.
            file = self.folder / "vendor.json"
            with _private(file) as opened:
                json.dump(settings, opened)
            command += ("--settings", str(file))
        preferred = ("--port", str(port)) if is_free(port) else ()
        member = Member("simulator", (*command, *preferred))
        self._members.insert(0, member)
        self._launch(member)
        found: dict[str, str] = {}

        def listening() -> bool:
            found.update(_first_json(ready))
            return "url" in found

        self._await(listening, "the simulator did not start", member)
        # After a restart it must be at the same address.
        member.arguments = (*command, "--port", found["url"].rsplit(":", 1)[1].split("/")[0])
        self.simulator_origin = found["origin"]
        self._added |= {
            "USPEEDO_BASE_URL": found["url"],
            "USPEEDO_ACCESSKEY_ID": REHEARSAL_ACCESS_KEY_ID,
            "USPEEDO_ACCESSKEY_SECRET": REHEARSAL_SECRET,
        }
        if self.api_origin is not None and _ALLOW_PRIVATE not in self.environ:
            # A receiver of webhooks to try runs beside the simulated vendor, on this machine.
            self._added[_ALLOW_PRIVATE] = "127.0.0.1"

    def _chosen(self, port: int) -> int:
        if is_free(port):
            return port
        self.moved.append("serve")
        return free_port()

    def owner_key(self) -> str:
        """The key of this stack's owner, made at the first call and kept in a file that only the user can read."""
        file = self.folder / "api-key"
        with closing(bootstrap.database(self.settings)) as database:
            with suppress(OSError, NotSignedIn):
                key = file.read_text().strip()
                KeyRing(database).principal(key)
                return key
            with database.write() as tx:
                made = api_keys.add(tx, name="up", role=Role.ADMIN, actor="up")
        with _private(file) as opened:
            opened.write(made.key)
        return made.key

    def sign_in_link(self) -> str:
        """The address that signs this stack's owner in to the console, once and within 15 minutes.

        The token stands behind the #, which browsers send to no server.
        """
        with closing(bootstrap.database(self.settings)) as database:
            with suppress(InvalidInput):
                users.add_user(database, name=_OWNER, role=Role.ADMIN, actor="up")
            return (
                f"{self.api_origin}/sign-in#{sessions.make_link(database, _OWNER, actor='up')['link_token']}"
            )

    def _receipts_path(self, database: Database) -> str:
        """The path for receipts, of the last start if there was one."""
        with suppress(OSError, ValueError, KeyError):
            return urlsplit(
                str(json.loads((self.folder / "vendor.json").read_text())["receipts"]["url"])
            ).path
        return str(add_token(database, name="the simulated vendor", actor="up")["path"])

    def _api_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_origin}/readyz", timeout=5) as reply:  # noqa: S310
                return bool(reply.status == 200)
        except OSError:  # it does not listen yet
            return False

    def inspect(self, path: str, body: object = None) -> Any:
        """The JSON answer of the simulator's ``/_/``; a ``body`` is POSTed."""
        data = None if body is None else json.dumps(body).encode()
        address = f"{self.simulator_origin}/_/{path}"
        with urllib.request.urlopen(address, data, timeout=10) as reply:  # noqa: S310
            return json.load(reply)

    def _await(self, ready: Callable[[], bool], failure: str, member: Member | None = None) -> None:
        deadline = time.monotonic() + 60
        while not ready():
            dead = [m for m in self._members if m.child is not None and not m.child.running]
            if dead or time.monotonic() > deadline:
                tails = " / ".join(f"{m.name}: {log_tail(self._log(m))}" for m in dead or self._members)
                self.stop()
                raise CannotStart(f"{failure}: {tails}")
            time.sleep(0.02)

    @staticmethod
    def _alive_workers(database: Database) -> int:
        with database.read() as tx:
            return len(leases.alive(tx))


def _private(file: Path) -> TextIO:
    """The file, empty, for writing; only this user may read it."""
    return os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w")


def sqlite_url(file: Path) -> str:
    """The URL of a file. Raises InvalidInput for a name that is not UTF-8."""
    if replace_surrogates(str(file)) != str(file):
        raise InvalidInput(
            f"the folder's name {replace_surrogates(str(file.parent))!r} is not UTF-8 text; run it elsewhere"
        )
    return URL.create("sqlite", database=str(file)).render_as_string()


def _first_json(log: Path) -> dict[str, str]:
    """The first line of a log that is a JSON object; empty until there is one."""
    if not log.exists():
        return {}
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{") and line.endswith("}"):
            value: dict[str, str] = json.loads(line)
            return value
    return {}


def neutral_environ() -> dict[str, str]:
    """The environment without the variables that could point a stack to a real server."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BULKSEND_", "USPEEDO_")) and name not in ("DATABASE_URL", "REDIS_URL")
    }


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """The stack while the block runs."""
    stack.start()
    try:
        yield stack
    finally:
        stack.stop()
