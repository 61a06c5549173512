"""A whole installation of real processes: Valkey, workers, relay, simulated vendor, on a PostgreSQL ledger.

make_site    a context manager: ``with make_site(workers=2, faults=[…]) as site``; its processes begin with everything
             imported, but for ``popen=subprocess.Popen``
cli          runs a command on an empty SQLite ledger in a folder of its own
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from sqlalchemy import null, select

from bulksend.ledger import audit, campaigns
from bulksend.ledger.database import Database
from bulksend.ledger.key_file import new_encryption_key
from bulksend.ledger.schema import attempts, in_flight, messages, workers
from ops.local.process import Process
from ops.stack import ROOT, Stack, running
from producer import Producer
from tests.acceptance.many_commands import Cli, Shell

SENDER = "8615000579987"
T = TypeVar("T")
MakeSite = Callable[..., AbstractContextManager["Site"]]


class Site:
    """The stack, its ledger, and the vendor's own record, which knows nothing of the ledger."""

    sender = SENDER

    def __init__(self, stack: Stack, shell: Shell) -> None:
        self.stack = stack
        self.shell = shell
        self.ledger = Database(stack.settings_environ["DATABASE_URL"])
        self.redis = redis.Redis.from_url(stack.settings_environ["REDIS_URL"])
        self.producer = Producer.from_settings(stack.settings)

    def close(self) -> None:
        """Close what is open in this process."""
        self.producer.close()
        self.redis.close()
        self.ledger.close()

    # -- doing -----------------------------------------------------------------------------------------

    def send(self, name: str, to: Sequence[str], *, kind: str = "marketing", **more: Any) -> str:
        """A campaign of one text to each of them; its id."""
        report = self.producer.submit(
            name=name,
            sender=SENDER,
            kind=kind,
            type="text",
            content={"body": f"{name}: hello"},
            rows=[{"to": number} for number in to],
            **more,
        )
        assert not report.refused
        return report.campaign_id

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a program of this installation."""
        return {**self.stack.environ, **self.stack.settings_environ, "PYTHONPATH": str(ROOT)}

    def start(self, *command: str, **more: Any) -> subprocess.Popen[str]:
        """Start ``bulksend command`` by itself, outside the stack."""
        return subprocess.Popen(
            [sys.executable, "-m", "ops.cli.main", *command],
            env=self.environ | more.pop("environ", {}),
            cwd=ROOT,
            text=True,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more),
        )

    def run(self, *command: str, code: int = 0) -> str:
        """Run ``bulksend command`` to its end; what it says on stdout and stderr."""
        done = self.shell.run(command, self.environ, ROOT)
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        return said

    # -- seeing ----------------------------------------------------------------------------------------

    def wait(self, what: str, check: Callable[[], T], seconds: float = 90, every: float = 0.05) -> T:
        """Ask again and again until the answer is true; fails after ``seconds``, saying what it waited for."""
        deadline = time.monotonic() + seconds
        while True:
            answer = check()
            if answer:
                return answer
            if time.monotonic() > deadline:
                pytest.fail(
                    f"waited {seconds:g} s in vain: {what}; {self.all_statuses()}\n{self.logs()[-3000:]}"
                )
            time.sleep(every)

    def wait_ended(self, *ids: str, seconds: float = 60) -> Counter[str]:
        """Wait until every message of the campaigns has ended; how."""
        live = {"queued", "retry", "claimed", "sending"}
        # Not too often: where the database shares two cores with the workers, counting costs them their time.
        self.wait(
            "all messages end", lambda: not any(live & self.statuses(i).keys() for i in ids), seconds, 0.3
        )
        return sum((self.statuses(id) for id in ids), Counter())

    def statuses(self, campaign: str) -> Counter[str]:
        """How many messages of a campaign are where."""
        with self.ledger.read() as tx:
            return Counter(campaigns.status_counts(tx, campaign))

    def all_statuses(self) -> Counter[str]:
        """How many messages are where."""
        return Counter(row["status"] for row in self.messages())

    def messages(self, campaign: str | None = None) -> list[Mapping[str, Any]]:
        """The ledger's messages."""
        query = select(messages)
        if campaign is not None:
            query = query.where(messages.c.campaign_id == campaign)
        with self.ledger.read() as tx:
            return list(tx.execute(query).mappings())

    def attempts(self, campaign: str | None = None) -> list[Mapping[str, Any]]:
        """Every attempt, also those that are open, with its message's due time and kind."""
        of_message = messages.c.due_at, messages.c.kind, messages.c.recipient
        ended = select(attempts, *of_message).join(messages, messages.c.id == attempts.c.message_pk)
        is_open = (
            select(
                *(in_flight.c.message_pk, in_flight.c.started_at, workers.c.name.label("worker")),
                *((messages.c.attempts + 1).label("n"), null().label("outcome"), *of_message),
            )
            .join_from(in_flight, messages, messages.c.id == in_flight.c.message_pk)
            .join(workers, workers.c.id == in_flight.c.owner)
            .where(in_flight.c.attempt_id.is_not(None))
        )
        if campaign is not None:
            ended, is_open = (each.where(messages.c.campaign_id == campaign) for each in (ended, is_open))
        with self.ledger.read() as tx:
            # The open ones first: one that ends meanwhile is in both, and not in neither.
            found = {(row["message_pk"], row["n"]): row for row in tx.execute(is_open).mappings()}
            found |= {(row["message_pk"], row["n"]): row for row in tx.execute(ended).mappings()}
        return sorted(found.values(), key=itemgetter("started_at"))

    def vendor(self) -> list[dict[str, Any]]:
        """Every send request that reached the vendor, in order of arrival."""
        rows: list[dict[str, Any]] = []
        while part := self.stack.inspect(f"messages?limit=10000&after={rows[-1]['n'] if rows else 0}"):
            rows += part
        return [row for row in rows if row["action"] in ("SendMessage", "SendWhatsappMessage")]

    def fullest_second(self) -> int:
        """The most requests that the vendor saw in any sliding second."""
        return int(self.stack.inspect("stats")["sends"]["max_requests_in_any_second"])

    def logs(self) -> str:
        """The end of every member's log."""
        files = sorted((self.stack.folder / "logs").glob("*.log"))
        return "\n".join(f"== {f.name}\n{f.read_text(errors='replace')[-1500:]}" for f in files)

    # -- judging ---------------------------------------------------------------------------------------

    def agrees(self) -> None:
        """Ledger and vendor, message by message: nothing lost, nothing twice, nothing untrue."""
        vendor = self.vendor()
        stored = {row["message_id"]: row["to"] for row in vendor if row["stored"]}
        ledger = self.messages()
        assert self.stack.inspect("duplicates") == []
        # Every one that the vendor sent is on record as sent, or as perhaps sent.
        sent = Counter(stored.values())
        may = Counter(
            m["recipient"] for m in ledger if m["status"] in ("accepted", "delivered", "read", "unknown")
        )
        assert sent - may == Counter()
        # Every one that is on record as sent was sent, to that person and under that MessageId.
        for m in ledger:
            if m["status"] in ("accepted", "delivered", "read"):
                assert stored.get(m["message_id"]) == m["recipient"], m["id"]
        # No request without a committed attempt.
        opened = Counter(a["recipient"] for a in self.attempts())
        assert Counter(row["to"] for row in vendor) - opened == Counter()
        self.audit_holds()

    def audit_holds(self) -> None:
        """The ledger's own proof."""
        with self.ledger.read() as tx:
            report = audit.audit(tx)
        assert report.holds, [f for f in report.findings if f.broken]


def cli_in(folder: Path, shell: Shell) -> Cli:
    """Runs ``bulksend …`` in this folder, which has its SQLite ledger, and without Redis."""
    kept = {**_clean_environ(), "DATABASE_URL": "sqlite:///bulksend.db"}

    def run(
        *words: str, columns: int | None = None, typed: str | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return shell.run(words, {**kept, "BULKSEND_ACTOR": "ann", **environ}, folder, columns, typed)

    return run


@pytest.fixture
def cli_without_ledger(tmp_path: Path, shell: Shell) -> Cli:
    """Runs ``bulksend …`` in a folder of its own, where its SQLite ledger is still to be made, and without Redis."""
    return cli_in(tmp_path, shell)


@pytest.fixture
def cli(cli_without_ledger: Cli, sqlite_template: Path, tmp_path: Path) -> Cli:
    """The same with an empty ledger there: to migrate takes each test five times as long as its command."""
    shutil.copyfile(sqlite_template, tmp_path / "bulksend.db")
    return cli_without_ledger


@pytest.fixture
def make_site(postgres_ledger_url: str, tmp_path: Path, shell: Shell) -> MakeSite:
    """See the module's text."""

    @contextmanager
    def make(
        *,
        workers: int = 1,
        faults: Sequence[Mapping[str, Any]] = (),
        vendor: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        popen: Callable[..., Process] = shell.popen,
    ) -> Iterator[Site]:
        files = {"faults": list(faults), "settings": dict(vendor or {})}
        options: list[str] = []
        for name, value in files.items():
            file = tmp_path / f"{name}.json"
            file.write_text(json.dumps(value))
            options += [f"--{name}", str(file)]
        stack = Stack(
            tmp_path / "stack",
            environ=_clean_environ()
            | {
                "BULKSEND_ENCRYPTION_KEY": new_encryption_key(),
                "BULKSEND_LEASE_SECONDS": "3",
                "BULKSEND_RETRY_BASE_SECONDS": "0.3",
                "BULKSEND_RETRY_CAP_SECONDS": "2",
            }
            | dict(environ or {}),
            workers=workers,
            simulator_options=tuple(options),
            database_url=postgres_ledger_url,
            popen=popen,
        )
        with running(stack):
            site = Site(stack, shell)
            try:
                yield site
            finally:
                site.close()

    return make


def _clean_environ() -> dict[str, str]:
    """Ours without what would point a program to something else, colour what it says or set its width.

    Readline puts COLUMNS and LINES into the environment of whatever imports it, and so of each process of xdist.
    """
    other = ("BULKSEND_", "USPEEDO_", "DATABASE_", "REDIS_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    return {name: value for name, value in os.environ.items() if not name.startswith(other)}
