"""A SQLite ledger in a temporary folder, and what its transactions and statements were."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from bulksend.ledger import campaign_creation, campaigns, intake, senders
from bulksend.ledger.campaign_creation import NewCampaign
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.clock import read_clock
from bulksend.ledger.database import Database
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.intake import NewMessage
from bulksend.messaging import Kind, OnUnknown

SENDER = "15550100100"


@pytest.fixture
def ledger_url(sqlite_template: Path, tmp_path: Path) -> str:
    file = tmp_path / "ledger.db"
    shutil.copyfile(sqlite_template, file)
    return f"sqlite:///{file}"


@dataclass
class Watched:
    """What a ledger was asked."""

    commits: int = 0
    statements: list[str] = field(default_factory=list)

    def reads_of(self, table: str) -> int:
        return sum(f"FROM {table}" in sql and sql.startswith("SELECT") for sql in self.statements)


@pytest.fixture
def watched(ledger: Database) -> Iterator[Watched]:
    seen = Watched()

    def committed(_: Any) -> None:
        seen.commits += 1

    def executed(_: Any, __: Any, sql: str, *___: Any) -> None:
        seen.statements.append(sql.replace("\n", " "))

    event.listen(ledger.engine, "commit", committed)
    event.listen(ledger.engine, "before_cursor_execute", executed)
    yield seen
    event.remove(ledger.engine, "commit", committed)
    event.remove(ledger.engine, "before_cursor_execute", executed)


NewMessages = Callable[..., tuple[Campaign, list[str]]]


@pytest.fixture
def new_messages(ledger: Database, cipher: Cipher) -> NewMessages:
    """A campaign with ``n`` messages that are due: the campaign and the messages' ids."""
    number = iter(range(1, 10_000))

    def make(n: int = 1, *, kind: Kind = Kind.MARKETING, **changes: Any) -> tuple[Campaign, list[str]]:
        with ledger.write() as tx:
            now = read_clock(tx)
            values: dict[str, Any] = {
                "key": f"key-{next(number)}",
                "name": "spring",
                "kind": kind,
                "sender": SENDER,
                "type": "text",
                "content": '{"body":"hello {{name}}"}',
                "source_hash": "hash",
                "source_name": "people.csv",
                "due_at": now,
                "ttl_ms": None,
                "rate": None,
                "on_unknown": OnUnknown.HOLD,
                "created_by": "ada",
            }
            campaign, _ = campaign_creation.create_or_find(tx, NewCampaign(**(values | changes)))
            body = {"v": {"name": "Ada"}}
            planned = [
                NewMessage(row, phone, False, phone, campaign.sender, "text", body, repr(body), now, None)
                for row, phone in ((row, f"4477009{row:05}") for row in range(1, n + 1))
            ]
            taken = intake.store_chunk(tx, campaign, after_row=0, planned=planned, refused=[], cipher=cipher)
            campaigns.finish_intake(tx, campaign.id)
            return campaign, taken.ready

    return make


@pytest.fixture
def cipher() -> Cipher:
    return Cipher([b"k" * 32])


@pytest.fixture
def sender(ledger: Database) -> str:
    """A sender on record with limits of its own."""
    with ledger.write() as tx:
        senders.register(tx, SENDER, rate=25.0, quota=1000)
    return SENDER
