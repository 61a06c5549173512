"""A desk to work at the ledger from: short names for its acts, each in a transaction of its own."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, RowMapping, event, text

from bulksend.ledger import (
    audit,
    campaign_creation,
    campaigns,
    direct_sends,
    intake,
    leases,
    messages,
    receipts,
)
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.claim import Claimed, claim
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.direct_sends import DirectSend, SendRequest
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.ids import new_id
from bulksend.ledger.intake import StoredChunk
from bulksend.ledger.message_rows import NewMessage
from bulksend.ledger.plans import NewPlan
from bulksend.ledger.schema import metadata
from bulksend.ledger.settle import Settlement, settle, settle_in_one_statement
from bulksend.ledger.write_ahead import Opened, Opening, open_attempts, open_in_one_statement
from bulksend.messaging.exclusions import Cap
from bulksend.messaging.outcome import (
    Accepted,
    Evidence,
    NotSent,
    Outcome,
    Refused,
    Scope,
    Throttled,
    Unknown,
)
from bulksend.messaging.plan import RefusedRow
from bulksend.messaging.states import Kind, OnUnknown, Status

T = TypeVar("T")
SENDER, ACCOUNT, ACTOR = "15550100100", "default", "ada"
MINUTE_MS = 60_000


class Desk:
    """One ledger, with a key to encrypt codes."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cipher = Cipher([b"k" * 32])
        self._numbers = iter(range(1_000_000))

    # -- transactions ----------------------------------------------------------------------------------

    def write(self, work: Callable[..., T], *args: Any, **named: Any) -> T:
        """``work(tx, ...)``, committed."""
        with self.database.write() as tx:
            return work(tx, *args, **named)

    def autocommit(self, work: Callable[..., T], *args: Any, **named: Any) -> T:
        """``work(tx, ...)``, each of its statements committed by itself."""
        with self.database.autocommit() as tx:
            return work(tx, *args, **named)

    def read(self, work: Callable[..., T], *args: Any, **named: Any) -> T:
        with self.database.read() as tx:
            return work(tx, *args, **named)

    def sql(self, statement: str, **values: Any) -> None:
        """What no act of the ledger would do."""
        with self.database.write() as tx:
            tx.execute(text(statement), values)

    def scalar(self, statement: str, **values: Any) -> Any:
        with self.database.read() as tx:
            return tx.execute(text(statement), values).scalar()

    def now(self) -> int:
        return self.read(read_clock)

    # -- intake ----------------------------------------------------------------------------------------

    def new_campaign(self, kind: Kind = Kind.MARKETING, **changes: Any) -> NewCampaign:
        values: dict[str, Any] = {
            "key": f"key-{next(self._numbers)}",
            "name": "spring",
            "kind": kind,
            "sender": SENDER,
            "type": "text",
            "content": '{"body":"hello {{name}}"}',
            "source_hash": "hash",
            "source_name": "people.csv",
            "due_at": 0,
            "ttl_ms": None,
            "rate": None,
            "on_unknown": OnUnknown.HOLD,
            "created_by": ACTOR,
        }
        return NewCampaign(**(values | changes))

    def campaign(self, kind: Kind = Kind.MARKETING, **changes: Any) -> Campaign:
        campaign, _ = self.write(campaign_creation.create_or_find, self.new_campaign(kind, **changes))
        return campaign

    def new_plan(self, **changes: Any) -> NewPlan:
        """A plan of a file that nothing has applied."""
        values: dict[str, Any] = {
            **{
                "id": new_id(),
                "hash": "hash",
                "facts": "{}",
                "outlook": "{}",
                "samples": None,
                "options": "{}",
            },
            **{"campaign_key": new_id(), "source_hash": "hash", "file": "people.csv", "posted": 0},
            **{"rows_planned": 1, "messages_planned": 1, "request_key": None, "created_by": "ann"},
        }
        return NewPlan(**(values | changes))

    @staticmethod
    def new_message(row: int = 1, **changes: Any) -> NewMessage:
        recipient = changes.pop("recipient", f"4477009{row % 100_000:05}")
        body = changes.pop("body", {"v": {"name": "Ada"}})
        values: dict[str, Any] = {
            "row": row,
            "key": changes.pop("key", recipient),
            "explicit_key": False,
            "recipient": recipient,
            "sender": SENDER,
            "type": "text",
            "body": body,
            "body_text": repr(body),
            "due_at": 0,
            "expires_at": None,
        }
        return NewMessage(**(values | changes))

    def new_send(self, **changes: Any) -> DirectSend:
        values: dict[str, Any] = {
            "key": new_id(),
            "recipient": "447700900123",
            "sender": SENDER,
            "type": "text",
            "content": '{"body":"Your code is 123456"}',
            "due_at": None,
            "lives_ms": None,
            # Of its own, so that codes of a test do not replace each other unless it says so.
            "purpose": f"purpose {next(self._numbers)}",
        }
        return DirectSend(**(values | changes))

    def send(self, *sends: DirectSend, kind: Kind = Kind.OTP) -> list[Any]:
        """Direct sends of one commit; what became of each."""
        return self.send_from(self.write(campaign_creation.standing_campaign, kind), sends)

    def send_from(self, home: Campaign, sends: Sequence[DirectSend]) -> list[Any]:
        requests = [SendRequest([(home.kind, send)]) for send in sends]
        stored = direct_sends.store(self.database, {home.kind: home}, requests, cipher=self.cipher)
        return [result for each in stored if each is not None for result in each]

    def take(
        self,
        campaign: Campaign,
        *planned: NewMessage,
        refused: Sequence[RefusedRow] = (),
        after: int | None = None,
    ) -> StoredChunk:
        """The next rows of a campaign's file."""
        with self.database.write() as tx:
            begun = campaigns.get(tx, campaign.id).rows_read if after is None else after
            return intake.store_chunk(
                tx,
                campaign,
                after_row=begun,
                planned=planned,
                refused=refused,
                cipher=self.cipher,
            )

    def refused_rows(self, campaign: Campaign) -> list[RowMapping]:
        with self.database.read() as tx:
            return list(campaigns.refused_rows(tx, campaign.id))

    def queued(
        self, kind: Kind = Kind.MARKETING, *, n: int = 1, life_ms: int | None = None, **of: Any
    ) -> list[str]:
        """Ids of ``n`` messages that are due, of a new campaign whose intake is done."""
        campaign = self.campaign(kind, **of)
        expires_at = None if life_ms is None else self.now() + life_ms
        planned = [self.new_message(row, expires_at=expires_at) for row in range(1, n + 1)]
        ready = self.take(campaign, *planned).ready
        self.write(campaigns.finish_intake, campaign.id)
        return ready

    # -- a worker's acts -------------------------------------------------------------------------------

    def lease(self, name: str = "host:1", ms: int = MINUTE_MS) -> str:
        lease, _ = self.write(leases.take, name, ms)
        return lease

    def lapse(self, lease: str, ms_ago: int = 1_000) -> None:
        """As if the worker had been away for longer than its lease."""
        self.sql(
            "UPDATE workers SET lease_until = :until WHERE CAST(id AS text) = :id",
            until=self.now() - ms_ago,
            id=lease,
        )

    def claim(self, lease: str, ids: Sequence[str], account: str = ACCOUNT) -> list[Claimed]:
        return self.write(claim, ids, lease=lease, account=account)

    @staticmethod
    def openings(claimed: Sequence[Claimed]) -> list[Opening]:
        return [Opening(message, new_id()) for message in claimed]

    def open(
        self,
        lease: str,
        openings: Sequence[Opening],
        account: str = ACCOUNT,
        caps: Mapping[str, Cap] = MappingProxyType({}),
    ) -> Opened:
        """As a worker does: at once where that is enough, and closely what it leaves."""
        of: dict[str, Any] = {"lease": lease, "account": account, "caps": caps}
        at_once = frozenset[str]()
        if not self.database.is_sqlite:
            at_once = self.autocommit(open_in_one_statement, openings, **of) or at_once
        left = [opening for opening in openings if opening.attempt_id not in at_once]
        closely = self.write(open_attempts, left, **of)
        return replace(closely, attempts=closely.attempts | at_once)

    def sent(self, lease: str, ids: Sequence[str]) -> list[Opening]:
        """Claimed and opened: the POSTs of these are under way."""
        openings = self.openings(self.claim(lease, ids))
        assert self.open(lease, openings).attempts == {o.attempt_id for o in openings}
        return openings

    def settlement(self, opening: Opening, outcome: Outcome, **changes: Any) -> Settlement:
        """What follows from an outcome where nothing special is asked for."""
        message = opening.message
        status, due_at, tries, waits = Status.FAILED, None, message.tries + 1, message.waits
        match outcome:
            case Accepted():
                status, tries = Status.ACCEPTED, message.tries
            case Unknown():
                status = Status.UNKNOWN
            case Throttled():
                status, due_at, tries, waits = Status.RETRY, 0, message.tries, message.waits + 1
            case NotSent():
                status, due_at = Status.RETRY, 0
        values: dict[str, Any] = {
            "message": message.id,
            "attempt_id": opening.attempt_id,
            "outcome": outcome,
            "evidence": Evidence(http_status=200, bytes_sent=True, reply_began=True),
            "latency_ms": 12.5,
            "status": status,
            "due_at": due_at,
            "tries": tries,
            "waits": waits,
            "error": "" if isinstance(outcome, Accepted) else outcome.why,
        }
        return Settlement(**(values | changes))

    def settle(self, opening: Opening, outcome: Outcome, **changes: Any) -> Settlement:
        settlement = self.settlement(opening, outcome, **changes)
        if self.database.is_sqlite or not self.autocommit(settle_in_one_statement, [settlement]):
            self.write(settle, [settlement])
        return settlement

    def accepted(self, ids: Sequence[str], lease: str | None = None) -> list[str]:
        """Sent and taken by the vendor; the MessageIds in the order of the messages."""
        found = []
        for opening in self.sent(lease or self.lease(), ids):
            message_id = f"mid-{opening.message.id}"
            self.settle(
                opening, Accepted(message_id, "rid"), evidence=Evidence(200, 0, message_id=message_id)
            )
            found.append(message_id)
        return found

    def end(self, lease: str) -> leases.Rescued:
        """As a worker that stops does."""
        return self.write(leases.reap, lease, rendering=None, begun=None, resend_wait_ms=0)

    def rescue(self, **named: Any) -> leases.Rescued:
        return self.write(leases.rescue, **({"resend_wait_ms": 0} | named))

    receipts_of = staticmethod(messages.receipts_of)

    def receive(self, *incoming: receipts.Receipt) -> int:
        return int(self.write(receipts.take, incoming).added)

    # -- looking ---------------------------------------------------------------------------------------

    def row(self, id: str) -> RowMapping:
        return self.read(messages.get, id)

    def status(self, id: str) -> str:
        return str(self.row(id)["status"])

    def payload(self, id: str) -> bytes | None:
        value = self.scalar("SELECT payload FROM messages WHERE CAST(id AS text) = :id", id=id)
        return None if value is None else bytes(value)

    def attempts(self, id: str) -> list[RowMapping]:
        return self.read(messages.attempts_of, id)

    def outcomes(self, id: str) -> list[str | None]:
        return [attempt["outcome"] for attempt in self.attempts(id)]

    def audit(self, campaign_id: str | None = None) -> audit.Report:
        return self.read(audit.audit, campaign_id=campaign_id)

    def broken(self) -> dict[str, list[str]]:
        """The rules of the audit that do not hold, with their offenders."""
        return {f.rule: f.offenders for f in self.audit().findings if f.broken}


def plans_in(database: Database) -> Callable[..., str]:
    """``plans(work, ...)``: how the database finds what ``work`` asks for, for each of its statements.

    By an index where one serves: PostgreSQL, once it has analyzed a table of one row, would rather read that.
    """

    def plans(work: Callable[..., object], *args: Any, **named: Any) -> str:
        told: list[str] = []
        prefix = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "

        def explain(conn: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
            if not statement.startswith((prefix, "SET ")):
                asked = cursor.connection.cursor()
                asked.execute(prefix + statement, parameters)
                told.extend(" ".join(str(part) for part in row) for row in asked.fetchall())

        with database.engine.connect() as connection:
            tx = connection.execution_options(bulksend_write=True)
            transaction = tx.begin()
            if not database.is_sqlite:
                tx.exec_driver_sql("SET LOCAL enable_seqscan = off")
            event.listen(tx, "before_cursor_execute", explain)
            try:
                work(tx, *args, **named)
            finally:
                event.remove(tx, "before_cursor_execute", explain)
                transaction.rollback()
        return "\n".join(told)

    return plans


@pytest.fixture(name="plans_in", scope="session")
def _plans_in() -> Callable[[Database], Callable[..., str]]:
    return plans_in


@pytest.fixture(scope="session")
def postgres_desks(postgres_databases: Any, postgres_template: str) -> Iterator[Database]:
    """One PostgreSQL ledger for all tests here: emptying it takes a tenth of making one."""
    url = postgres_databases.new(postgres_template)
    database = Database(url)
    yield database
    database.close()
    postgres_databases.drop(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty ledger on each database."""
    if request.param == "postgresql":
        database = request.getfixturevalue("postgres_desks")
        with database.write() as tx:
            for table in reversed(metadata.sorted_tables):
                tx.execute(table.delete())
        yield database
        return
    file = tmp_path / "ledger.db"
    shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


@pytest.fixture
def desk_of() -> Callable[[Database], Desk]:
    """For a test that makes its own ledgers."""
    return Desk


@pytest.fixture
def desk(ledger: Database) -> Desk:
    return Desk(ledger)


#: One of each outcome, and where its message goes when nothing special is asked for.
ANSWERS = {
    "accepted": (Accepted("mid-1", "rid-1"), Status.ACCEPTED),
    "refused": (Refused("17009", "no such template"), Status.FAILED),
    "not_sent": (NotSent("ConnectError at the stage 'connect'"), Status.RETRY),
    "throttled": (Throttled("429", "too fast", Scope.SENDER), Status.RETRY),
    "unknown": (Unknown("ReadTimeout: it may have gone out"), Status.UNKNOWN),
}


@pytest.fixture
def answers() -> dict[str, tuple[Outcome, Status]]:
    return ANSWERS


@pytest.fixture(params=ANSWERS)
def answer(request: pytest.FixtureRequest) -> tuple[str, Outcome, Status]:
    """Each outcome in turn: its name in the ledger, itself, the status that follows."""
    outcome, status = ANSWERS[request.param]
    return request.param, outcome, status


@pytest.fixture
def server(postgres_ledger_url: str) -> Iterator[Desk]:
    """A desk at PostgreSQL, for what one writer at a time cannot show."""
    database = Database(postgres_ledger_url)
    yield Desk(database)
    database.close()


#: Seconds that another transaction may keep waiting.
PATIENCE_S = 60.0


def in_between(
    desk: Desk,
    theirs: Callable[[Connection], object],
    ours: Callable[[], Any],
    then: Callable[[Connection], object] = lambda tx: None,
) -> Any:
    """``ours`` begins while another transaction has done ``theirs`` and not committed; that one does what it does
    ``then``, and commits, as soon as ours waits for one of its locks, or has ended without waiting."""
    told: list[Any] = []
    thread = threading.Thread(target=lambda: told.append(ours()))
    with desk.database.engine.connect() as other, other.begin():
        theirs(other)
        thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while thread.is_alive() and not _is_waited_for(desk):
            assert time.monotonic() < deadline, "ours neither waits nor ends"
            thread.join(0.01)
        then(other)
    thread.join(PATIENCE_S)
    assert told, "ours has not ended, or has failed"
    return told[0]


def _is_waited_for(desk: Desk) -> bool:
    return bool(desk.scalar("SELECT count(*) FROM pg_locks WHERE NOT granted"))
