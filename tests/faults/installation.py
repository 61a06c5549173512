"""An installation to be broken: every process real, every link through a proxy, everything that dies started again.

The judge reads ledger and vendor directly, past the proxies.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Select, null, select, union_all
from sqlalchemy.engine import make_url

from bulksend.ledger import audit, leases
from bulksend.ledger.database import Database
from bulksend.ledger.endings import WORKER_LOST
from bulksend.ledger.key_file import new_encryption_key
from bulksend.ledger.migrate import migrate
from bulksend.ledger.schema import attempts, campaigns, in_flight, messages
from bulksend.operations import api_keys, receipt_tokens
from bulksend.operations.access import Role
from ops.local.ports import free_port
from ops.local.postgres import EmbeddedPostgres
from ops.local.process import ChildProcess
from ops.local.valkey import EmbeddedValkey
from simulator import REHEARSAL_ACCESS_KEY_ID, REHEARSAL_SECRET
from tests.faults.clocks import clock_environ
from tests.faults.judge import Asked, Kept, Opened, Posted, Records
from tests.faults.notes import now_ms
from tests.faults.proxy import Link, Proxies

ROOT = Path(__file__).resolve().parents[2]
CLI = (sys.executable, "-m", "ops.cli.main")
SENDER = "8615000579987"
#: The account's template, which the vendor pauses at times.
TEMPLATE = "spring_sale"
LIVE = ("queued", "retry")
#: How soon a supervisor starts again what died.
TEND_S = 0.1
#: The receipts of the vendor: of every message, in any order, some twice, again and again until they are taken.
RECEIPTS = {
    "sent": {"kind": "uniform", "low_ms": 0, "high_ms": 500},
    "delivered": {"kind": "uniform", "low_ms": 100, "high_ms": 3000},
    "delivered_share": 0.85,
    "read_share": 0.4,
    "failed_share": 0.03,
    "duplicate_share": 0.1,
    "out_of_order_share": 0.2,
    "before_answer_share": 0.03,
    "batch": 20,
    "tries": 100,
    "retry_ms": 200,
    "retry_cap_ms": 3000,
    "timeout_seconds": 2.5,
    "connections": 16,
    "keep_posted": True,
}


@dataclass(slots=True)
class Member:
    """A supervised process."""

    name: str
    command: tuple[str, ...]
    environ: dict[str, str]
    once: dict[str, str] = field(default_factory=dict)
    """For the next start only: failpoints."""
    child: ChildProcess | None = None
    held_down: bool = False
    starts: int = 0
    statuses: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """What an installation is made of."""

    folder: Path
    backend: str = "postgresql"
    workers: int = 2
    relays: int = 2
    serves: int = 1
    """Without one the vendor sends no receipts."""
    notifiers: int = 0
    rate: float = 200.0
    in_flight: int = 100
    lease_seconds: int = 3
    latency_ms: tuple[float, float] = (20, 120)
    environ: Mapping[str, str] = field(default_factory=dict)
    fresh_statistics: bool = True
    """False: PostgreSQL plans by what it once counted, when nothing waited, and counts no more."""
    stop_within_s: float | None = None
    """How soon a cancel takes hold; None: by the end of a lease, for a worker may be frozen or cut off that long."""
    root: Path = ROOT
    """Whose code runs: another folder for a program with a planted bug."""
    seed: int = 0
    read_within_ms: float = 12_000
    """How late a vendor's receipt that a message was read may be: a run ends after it."""


class Installation:
    """Start it with ``running(plan)``."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = plan.folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.proxies = Proxies()
        self.valkey = EmbeddedValkey(self.folder / "valkey", durable=True)
        settings = {
            "max_connections": "80",
            "autovacuum": "on" if plan.fresh_statistics else "off",
            # What is committed without being synchronous stays in the server's memory for long.
            "wal_writer_delay": "10s",
        }
        self.postgres = EmbeddedPostgres(settings=settings) if plan.backend == "postgresql" else None
        self.members: dict[str, Member] = {}
        self.links: dict[str, Link] = {}
        self.vendor_origin = ""
        self.api_key = ""
        self._serve_ports: tuple[int, ...] = ()
        self.lock = threading.RLock()
        self._stop = threading.Event()
        self._tending = threading.Thread(target=self._tend, name="supervisor", daemon=True)
        self._environ: dict[str, str] = {}
        self._deaths_ms: list[float] = []
        self._simulator: ChildProcess | None = None

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything up, and a worker at work."""
        (self.folder / "logs").mkdir(exist_ok=True)
        self.valkey.start()
        direct = self._start_ledger()
        self.ledger = Database(direct)
        migrate(self.ledger)
        vendor = self._start_simulator(self._make_doors())
        self._environ = self._common(vendor) | {"DATABASE_URL": direct, "REDIS_URL": self.valkey.url}
        for number in range(1, self.plan.workers + 1):
            self._add(f"worker{number}", ("worker", "-n", f"w{number}@%h"), "worker", vendor)
        for number in range(1, self.plan.relays + 1):
            self._add(f"relay{number}", ("relay",), "relay", vendor)
        for number, port in enumerate(self._serve_ports, 1):
            self._add(f"serve{number}", ("serve", "--port", str(port)), "serve", vendor)
        for number in range(1, self.plan.notifiers + 1):
            self._add(f"notifier{number}", ("notifier",), "notifier", vendor)
        self._tending.start()
        self.wait("workers are ready", lambda: self.alive_workers() >= self.plan.workers, 60)
        self.wait("serve is ready", lambda: all(map(_is_ready, self._serve_ports)), 60)

    def stop(self) -> None:
        """End everything."""
        self._stop.set()
        if self._tending.is_alive():
            self._tending.join(5)
        for member in self.members.values():
            if member.child is not None:
                member.child.process.send_signal(signal.SIGCONT)
                member.child.ask_to_stop()
        for member in self.members.values():
            if member.child is not None:
                member.child.wait_or_kill(20)
        if self._simulator is not None:
            self._simulator.stop()
        self.valkey.stop()
        if hasattr(self, "ledger"):
            self.ledger.close()
        if self.postgres is not None:
            self.postgres.remove()
        self.proxies.close()

    def _start_ledger(self) -> str:
        if self.postgres is None:
            return f"sqlite:///{self.folder / 'ledger.db'}"
        direct = self.postgres.start()
        # As an owner may have set it for everything else in there: a killed server then loses what was committed.
        with self.admin() as admin:
            admin.execute("ALTER ROLE postgres SET synchronous_commit = off")
        return direct

    def _make_doors(self) -> dict[str, Any]:
        """Links to ``serve`` for programs and for the vendor, a key and a token; the settings of its receipts."""
        self._serve_ports = tuple(free_port() for _ in range(self.plan.serves))
        if not self._serve_ports:
            return {}
        for name in ("api", "receipts"):
            self._link(name, *self._serve_ports)
        with self.ledger.write() as tx:
            self.api_key = api_keys.add(tx, name="fault bench", role=Role.ADMIN, actor="bench").key
            token = receipt_tokens.add(tx, name="vendor", actor="bench").token
        self.receipts_url = f"http://127.0.0.1:{self.links['receipts'].port}/v1/receipts/{token}"
        read = {"kind": "uniform", "low_ms": 200, "high_ms": self.plan.read_within_ms}
        return {"receipts": RECEIPTS | {"read": read, "url": self.receipts_url}}

    @property
    def api_url(self) -> str:
        """Where programs reach ``serve``: one of its processes or the other."""
        return f"http://127.0.0.1:{self.links['api'].port}"

    def _start_simulator(self, more: Mapping[str, Any]) -> int:
        settings = self.folder / "simulator.json"
        low, high = self.plan.latency_ms
        settings.write_text(
            json.dumps(
                {
                    "latency": {"kind": "uniform", "low_ms": low, "high_ms": high},
                    "templates": [{"name": TEMPLATE, "language": "en", "body_parameters": 1}],
                    **more,
                }
            )
        )
        log = self.folder / "logs" / "simulator.log"
        with log.open("ab") as output:
            self._simulator = ChildProcess(
                [
                    sys.executable,
                    "-m",
                    "simulator",
                    "--settings",
                    str(settings),
                    "--seed",
                    str(self.plan.seed),
                ],
                cwd=self.folder,
                environ={**os.environ, "PYTHONPATH": str(ROOT)},
                output=output,
            )
        said = self.wait("the simulator listens", lambda: _first_json(log), 20)
        self.vendor_origin = said["origin"]
        return int(said["origin"].rsplit(":", 1)[1])

    def _common(self, vendor: int) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BULKSEND_", "USPEEDO_")) and name not in ("DATABASE_URL", "REDIS_URL")
        }
        return (
            clean
            | {
                "PYTHONPATH": str(self.plan.root),
                "USPEEDO_BASE_URL": f"http://127.0.0.1:{vendor}/api",
                "USPEEDO_ACCESSKEY_ID": REHEARSAL_ACCESS_KEY_ID,
                "USPEEDO_ACCESSKEY_SECRET": REHEARSAL_SECRET,
                "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
                "BULKSEND_LEASE_SECONDS": str(self.plan.lease_seconds),
                "BULKSEND_DEFAULT_RATE": str(self.plan.rate),
                "BULKSEND_WORKER_IN_FLIGHT": str(self.plan.in_flight),
                "BULKSEND_REQUEST_TIMEOUT": "4",
                "BULKSEND_CONNECT_TIMEOUT": "1",
                "BULKSEND_STOP_GRACE_SECONDS": "6",
                "BULKSEND_RETRY_BASE_SECONDS": "0.5",
                "BULKSEND_RETRY_CAP_SECONDS": "4",
                "BULKSEND_MAX_TRIES": "100",
                # Faults make campaigns fail that nothing would resume.
                "BULKSEND_MAX_FAILED": "1",
                "BULKSEND_RESEND_WAIT_SECONDS": "5",
                "BULKSEND_CANARY_DELIVERED": "0.7",
                "BULKSEND_CANARY_WAIT_SECONDS": "4",
                "BULKSEND_TEMPLATE_SYNC_SECONDS": "1",
                "BULKSEND_SPOOL_DIR": str(self.folder / "spool"),
                "BULKSEND_UPLOAD_DIR": str(self.folder / "uploads"),
                "BULKSEND_EXPORT_DIR": str(self.folder / "exports"),
                "BULKSEND_WEBHOOKS_ALLOW_PRIVATE": "127.0.0.1",
                "BULKSEND_OTP_UNDELIVERED_SECONDS": "5",
                "BULKSEND_LOG_FORMAT": "json",
            }
            | dict(self.plan.environ)
        )

    def _add(self, name: str, command: tuple[str, ...], role: str, vendor: int) -> None:
        """A member whose links, all of its own, can be broken one by one."""
        redis_link = self._link(f"{name}-redis", self.valkey.port)
        environ = self._environ | {"REDIS_URL": f"redis://127.0.0.1:{redis_link.port}/0"}
        if self.postgres is not None:
            ledger_link = self._link(f"{name}-ledger", self.postgres.port)
            url = make_url(self.postgres.url).set(port=ledger_link.port)
            environ["DATABASE_URL"] = url.render_as_string(hide_password=False)
        if role == "worker":
            environ["USPEEDO_BASE_URL"] = f"http://127.0.0.1:{self._link(f'{name}-vendor', vendor).port}/api"
        environ |= clock_environ(self.folder / f"clock-{name}", str(self.plan.root))
        self.members[name] = Member(name, command, environ)
        self._launch(self.members[name])

    def _link(self, name: str, *ports: int) -> Link:
        self.links[name] = self.proxies.link(name, "127.0.0.1", *ports)
        return self.links[name]

    def link_to(self, name: str, port: int) -> Link:
        """A link to a server beside the installation, such as a receiver of webhooks."""
        return self._link(name, port)

    @contextmanager
    def admin(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the ledger's owner, past the proxies, whatever the faults say."""
        assert self.postgres is not None
        url = self.postgres.url.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute("SET default_transaction_read_only = off")
            yield connection

    # -- members -------------------------------------------------------------------------------------------------

    def pick(self, role: str, number: int) -> Member:
        """One of the workers, relays, … by any number."""
        names = sorted(name for name in self.members if name.startswith(role))
        return self.members[names[number % len(names)]]

    def has(self, role: str) -> bool:
        """Whether there is a process of that role."""
        return bool(self.members_of(role))

    def members_of(self, role: str) -> list[Member]:
        """All processes of that role."""
        return [member for name, member in sorted(self.members.items()) if name.startswith(role)]

    def signal(self, member: Member, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        with self.lock:
            if member.child is not None and member.child.running:
                member.child.process.send_signal(number)

    def arm(self, member: Member, failpoints: str) -> None:
        """Kill it; its next life has these failpoints, the life after that none."""
        with self.lock:
            member.once = {"BULKSEND_FAILPOINTS": failpoints}
        self.signal(member, signal.SIGKILL)

    def _launch(self, member: Member) -> None:
        with (self.folder / "logs" / f"{member.name}.log").open("ab") as log:
            environ, member.once = member.environ | member.once, {}
            member.child = ChildProcess(
                (*CLI, *member.command), cwd=self.folder / "logs", environ=environ, output=log
            )
            member.starts += 1

    def _tend(self) -> None:
        while not self._stop.wait(TEND_S):
            with self.lock:
                for member in self.members.values():
                    if member.child is not None:
                        status = member.child.reap()
                        if status is None:
                            continue
                        member.statuses.append(status)
                        # Of the others nothing that a worker does depends.
                        if status != 0 and member.name.startswith("worker"):
                            self._deaths_ms.append(now_ms())
                        member.child = None
                    if not member.held_down and not self._stop.is_set():
                        self._launch(member)

    def halt(self) -> None:
        """Stop all processes for good, cleanly: what is read now is of one moment."""
        self._halt([*self.members.values()])

    def halt_workers(self) -> None:
        """Stop those that POST: a program with a planted bug may go on for ever."""
        self._halt(self.members_of("worker"))

    def _halt(self, members: list[Member]) -> None:
        with self.lock:
            for member in members:
                member.held_down = True
        for member in members:
            self.signal(member, signal.SIGCONT)
            self.signal(member, signal.SIGTERM)
        self.wait("the processes end", lambda: not any(member.child for member in members), 40)

    def run(self, *command: str, failpoints: str = "") -> ChildProcess:
        """Start one of our commands, straight to the servers; the caller waits for it."""
        environ = self._environ | ({"BULKSEND_FAILPOINTS": failpoints} if failpoints else {})
        with (self.folder / "logs" / "commands.log").open("ab") as log:
            return ChildProcess((*CLI, *command), cwd=self.folder / "logs", environ=environ, output=log)

    def ask(self, *command: str) -> tuple[int, list[dict[str, Any]]]:
        """Run one of our commands with ``--json``; its exit status and what it said, object by object."""
        done = subprocess.run(
            [*CLI, *command, "--json"],
            env=self._environ,
            cwd=self.folder / "logs",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]

    def until_done(self, *command: str, tries: int = 30) -> dict[str, Any]:
        """What a command says; again until it is done, for servers are being broken. Raises TimeoutError."""
        for _ in range(tries):
            status, said = self.ask(*command)
            if status == 0 and said:
                return said[0]
            time.sleep(0.3)
        raise TimeoutError(f"{' '.join(command[:2])} was never done")

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a program of this installation that goes straight to the servers."""
        return dict(self._environ)

    # -- the vendor ----------------------------------------------------------------------------------------------

    def vendor_faults(self, rules: list[dict[str, Any]]) -> None:
        """The simulator's rules from now on."""
        self._post("faults", rules)

    def vendor_template(self, name: str, status: str) -> None:
        """The state of a template at the vendor from now on."""
        self._post("templates", {"name": name, "status": status})

    def vendor_balance(self, balance: int | None) -> None:
        """How many messages the account can still pay for."""
        self._post("balance", {"balance": balance})

    def _post(self, page: str, value: object) -> None:
        request = urllib.request.Request(
            f"{self.vendor_origin}/_/{page}", json.dumps(value).encode(), {"Content-Type": "application/json"}
        )
        # Its own faults hit us too, where it resets connections unread.
        for tries_left in range(50, -1, -1):
            try:
                with urllib.request.urlopen(request, timeout=20) as reply:
                    reply.read()
                    return
            except (OSError, http.client.HTTPException):
                if not tries_left:
                    raise

    def vendor_rows(self, after: int, limit: int = 5000) -> list[dict[str, Any]]:
        """A page of the vendor's record."""
        rows: list[dict[str, Any]] = self._vendor_page(f"messages?limit={limit}&after={after}")
        return rows

    def receipts_taken(self, after: int, limit: int = 5000) -> list[dict[str, Any]]:
        """A page of the receipts that the vendor was told are taken."""
        rows: list[dict[str, Any]] = self._vendor_page(f"receipts?limit={limit}&after={after}")
        return rows

    def receipts_pending(self) -> int:
        """How many receipts the vendor has yet to bring. Raises OSError where it has given one up."""
        counts = self._vendor_page("stats")["receipts"] or {"pending": 0, "given_up": 0}
        if counts["given_up"]:
            raise OSError(f"the vendor gave up {counts['given_up']} receipts: more tries are needed")
        return int(counts["pending"])

    def _vendor_page(self, page: str) -> Any:
        with urllib.request.urlopen(f"{self.vendor_origin}/_/{page}", timeout=60) as reply:
            return json.load(reply)

    # -- seeing --------------------------------------------------------------------------------------------------

    def wait(self, what: str, check: Any, seconds: float) -> Any:
        """Ask until the answer is true. Raises TimeoutError, which says what was waited for."""
        deadline = time.monotonic() + seconds
        while True:
            answer = check()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s in vain: {what}\n{self.last_words()}")
            time.sleep(0.05)

    def alive_workers(self) -> int:
        """Workers with a lease that runs."""
        with self.ledger.read() as tx:
            return len(leases.alive(tx))

    def live_messages(self) -> int:
        """Messages that have not ended."""
        from sqlalchemy import func

        with self.ledger.read() as tx:
            query = select(func.count()).select_from(messages).where(messages.c.status.in_(LIVE))
            return int(tx.execute(query).scalar_one())

    def last_words(self) -> str:
        """The end of every log."""
        files = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(f"== {f.name}\n{f.read_text(errors='replace')[-800:]}" for f in files)

    def records(self, asked: Asked) -> Records:
        """All records as the judge wants them; the deaths of members join the faults."""
        with self.ledger.read() as tx:
            kept = [
                Kept(str(id), to, status, message_id, expires_at, campaign_status)
                for id, to, status, message_id, expires_at, campaign_status in tx.execute(
                    select(
                        messages.c.id,
                        messages.c.recipient,
                        messages.c.status,
                        messages.c.message_id,
                        messages.c.expires_at,
                        campaigns.c.status,
                    ).join(campaigns, campaigns.c.id == messages.c.campaign_id)
                )
            ]
            opened = [
                Opened(to, n, started_at, outcome, str(owner), error == WORKER_LOST)
                for to, n, started_at, outcome, owner, error in tx.execute(_attempts())
            ]
        left = [one for name, link in self.links.items() if name.endswith("-vendor") for one in link.requests]
        asked = replace(asked, faults=(*asked.faults, *((at, at) for at in self._deaths_ms)))
        stop_s = self.plan.stop_within_s
        return Records(
            self._whole_record(),
            kept,
            opened,
            asked,
            self.plan.rate,
            left,
            stop_within_ms=1000 * (self.plan.lease_seconds + 1 if stop_s is None else stop_s),
        )

    def _whole_record(self) -> list[Posted]:
        rows: list[Posted] = []
        after = 0
        while part := self.vendor_rows(after):
            after = part[-1]["n"]
            rows += [
                Posted(
                    row["to"],
                    row["received_at_ms"],
                    row["monotonic"],
                    row["stored"],
                    row["verdict"],
                    row["ret_code"],
                    row["http_status"],
                    row["message_id"],
                )
                for row in part
                if row["action"] in ("SendMessage", "SendWhatsappMessage")
            ]
        return rows

    def audit(self) -> audit.Report:
        """The ledger's own proof."""
        with self.ledger.read() as tx:
            return audit.audit(tx)


@contextmanager
def running(plan: Plan) -> Iterator[Installation]:
    """The installation while the block runs."""
    made = Installation(plan)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _attempts() -> Select[Any]:
    """Of every attempt, those that are open too: recipient, number, start, outcome, lease and error."""
    a, f, m = attempts.c, in_flight.c, messages.c
    ended = select(m.recipient, a.n, a.started_at, a.outcome, a.owner, a.error)
    open_ = select(m.recipient, m.attempts + 1, f.started_at, null(), f.owner, null())
    return select(
        union_all(
            ended.join(messages, m.id == a.message_pk),
            open_.join_from(in_flight, messages, m.id == f.message_pk).where(f.attempt_id.is_not(None)),
        ).subquery()
    )


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _first_json(log: Path) -> dict[str, Any] | None:
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith("{") and line.endswith("}"):
            value: dict[str, Any] = json.loads(line)
            return value
    return None


def two_forms(number: int) -> tuple[str, str]:
    """A mobile of São Paulo as it is written since 2012 and before; both are in use."""
    return f"55119{70_000_000 + number}", f"5511{70_000_000 + number}"


def numbers(start: int, count: int) -> list[str]:
    """Numbers that are not in use, each once: the 555 exchange of North America's area codes, 7.8 million of them."""
    if start + count > 10_000 * len(_AREAS):
        raise ValueError("there are no more numbers")
    return [f"1{_AREAS[n // 10_000]}555{n % 10_000:04d}" for n in range(start, start + count)]


_AREAS = range(201, 990)
