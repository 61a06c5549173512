"""An installation for a bench: its own ledger, Redis and vendor, and our processes at work on them."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import redis

from bench.machine import peak_mb
from bench.vendor import Vendor, vendor
from bulksend.broker import LEADER_KEY
from bulksend.ledger.database import Database
from bulksend.ledger.key_file import new_encryption_key
from bulksend.ledger.migrate import migrate
from ops.local.postgres import EmbeddedPostgres
from ops.local.process import ChildProcess
from ops.local.valkey import EmbeddedValkey

ROOT = Path(__file__).resolve().parents[1]
SENDER = "8615000579987"
#: A server for this work, durable: every commit is on the disk before a POST.
POSTGRESQL = {
    "max_connections": "60",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
}
CLI = (sys.executable, "-m", "ops.cli.main")
CONTENT = {
    "body": "Hello {{name}}, your spring voucher {{voucher}} is good until Sunday. Reply STOP to opt out."
}

T = TypeVar("T")


@dataclass(slots=True)
class Stand:
    """Everything that runs, by part."""

    folder: Path
    vendor: Vendor
    valkey: EmbeddedValkey
    postgres: EmbeddedPostgres | None
    url: str
    environ: dict[str, str]
    parts: dict[str, list[int]] = field(default_factory=dict)
    children: list[ChildProcess] = field(default_factory=list)

    def start(self, part: str, *command: str, more: Mapping[str, str] | None = None) -> ChildProcess:
        """Start a process; its costs count for ``part``."""
        (self.folder / "logs").mkdir(exist_ok=True)
        name = f"{part}-{len(self.children)}.log"
        with (self.folder / "logs" / name).open("ab") as output:
            child = ChildProcess(
                list(command), cwd=self.folder, environ=self.environ | dict(more or {}), output=output
            )
        self.children.append(child)
        self.parts.setdefault(part, []).append(child.pid)
        return child

    def worker(self, *, ready: bool = True, app: str = "worker") -> ChildProcess:
        """One more of our workers, the plain Celery way; by default at work."""
        with self.ledger() as ledger:
            before = _workers(ledger)
            child = self.start(
                "worker", sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"w{before}@%h"
            )
            if ready:
                self.wait("a worker is ready", lambda: _workers(ledger) > before)
        return child

    def relay(self) -> ChildProcess:
        """Our relay."""
        return self.start("relay", *CLI, "relay")

    def relay_leads(self) -> bool:
        """Whether a relay leads, and so has looked at what is due."""
        with redis.Redis.from_url(self.valkey.url) as client:
            return bool(client.exists(LEADER_KEY))

    def run(self, *command: str) -> str:
        """Run ``bulksend command`` to its end; what it says on stdout."""
        done = subprocess.run(  # noqa: S603
            [*CLI, *command], env=self.environ, cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"bulksend {command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def send(self, file: Path, *options: str) -> str:
        """Take a campaign in by the command line, as marketing does; its id."""
        content = self.folder / "content.json"
        content.write_text(json.dumps(CONTENT))
        said = self.run(
            "send", str(file), "--sender", SENDER, "--type", "text", "--content", str(content), "--json",
            *(options or ("--kind", "marketing")),
        )  # fmt: skip
        return str(json.loads(said)["campaign_id"])

    @contextmanager
    def ledger(self) -> Iterator[Database]:
        """The ledger, for looking."""
        database = Database(self.url)
        try:
            yield database
        finally:
            database.close()

    def wait(self, what: str, check: Callable[[], T], seconds: float = 60, every: float = 0.05) -> T:
        """Ask until the answer is true."""
        deadline = time.monotonic() + seconds
        while not (answer := check()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds:g} s in vain: {what}\n{self.logs()}")
            time.sleep(every)
        return answer

    def peaks_mb(self) -> dict[str, float]:
        """The most memory that a process of each part has held."""
        return {part: max(peak_mb(pid) for pid in pids) for part, pids in self.parts.items()}

    def logs(self) -> str:
        """The end of every process's log."""
        files = sorted((self.folder / "logs").glob("*.log"))
        return "\n".join(f"== {f.name}\n{f.read_text(errors='replace')[-3000:]}" for f in files)

    def stop_all(self) -> None:
        """End what was started here, last first."""
        for child in reversed(self.children):
            child.ask_to_stop()
        for child in reversed(self.children):
            child.wait_or_kill(40)
        self.children.clear()


@contextmanager
def stand(
    backend: str = "postgresql",
    *,
    latency_ms: float = 50,
    in_flight: int = 200,
    rate: float = 100_000,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Stand]:
    """An empty installation whose sender may send ``rate`` a second; nothing of ours runs yet."""
    folder = Path(tempfile.mkdtemp(prefix="bulksend-bench-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        seller = stack.enter_context(vendor(latency_ms))
        valkey = EmbeddedValkey(folder / "valkey", durable=True)
        valkey.start()
        stack.callback(valkey.stop)
        postgres = None
        url = f"sqlite:///{folder / 'ledger.db'}"
        if backend == "postgresql":
            postgres = EmbeddedPostgres(durable=True, settings=POSTGRESQL)
            stack.callback(postgres.remove)
            url = postgres.start()
        ledger = Database(url)
        migrate(ledger)
        ledger.close()
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BULKSEND_", "USPEEDO_")) and name not in ("DATABASE_URL", "REDIS_URL")
        }
        made = Stand(
            folder,
            seller,
            valkey,
            postgres,
            url,
            clean
            | {
                "PYTHONPATH": str(ROOT),
                "DATABASE_URL": url,
                "REDIS_URL": valkey.url,
                "USPEEDO_BASE_URL": seller.url,
                "USPEEDO_ACCESSKEY_ID": "bench",
                "USPEEDO_ACCESSKEY_SECRET": "bench-secret",
                "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
                "BULKSEND_DEFAULT_RATE": str(rate),
                "BULKSEND_WORKER_IN_FLIGHT": str(in_flight),
                "BULKSEND_SPOOL_DIR": str(folder / "spool"),
                "BULKSEND_LOG_FORMAT": "json",
            }
            | dict(environ or {}),
        )
        made.parts = {"broker": [valkey.pid or 0], "vendor": [seller.pid]}
        if postgres is not None:
            made.parts["database"] = [postgres.pid or 0]
        stack.callback(made.stop_all)
        yield made


def people(file: Path, many: int, *, first: int = 0, shuffled: bool = False) -> Path:
    """A CSV of that many people, each with its own number and two variables."""
    order = array("q", range(first, first + many))
    if shuffled:
        random.Random(many).shuffle(order)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["to", "name", "voucher"])
        writer.writerows((number(n), f"Name {n}", f"V-{n:08d}") for n in order)
    return file


def number(n: int) -> str:
    """The nth of ten million valid numbers: British mobiles."""
    return f"4474{n + 10_000_000:08d}"


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def _workers(ledger: Database) -> int:
    with ledger.read() as tx:
        return int(tx.exec_driver_sql("SELECT count(*) FROM workers").scalar_one())
