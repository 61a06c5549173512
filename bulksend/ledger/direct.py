"""Direct sends: the messages of many callers become rows of their standing campaign by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple

from sqlalchemy import Connection, select

from bulksend.ledger import intake
from bulksend.ledger.bulk_parameters import bound, statement, table
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import Database, among, instant
from bulksend.ledger.encryption import Cipher
from bulksend.ledger.intake import EncryptionPolicy, NewMessage, encrypt_otp_only
from bulksend.ledger.schema import messages
from bulksend.messaging.states import Status
from bulksend.messaging.units import is_long_past


class DirectSend(NamedTuple):
    """One message of one caller. ``due_at`` in ms since the epoch, None: now by the ledger's clock."""

    key: str
    recipient: str
    sender: str
    type: str
    content: str
    due_at: int | None
    lives_ms: int | None

    def message(self, now: int) -> NewMessage:
        """The message that intake stores, where the ledger's clock says ``now``."""
        due_at = now if self.due_at is None else self.due_at
        return NewMessage(
            row=0,
            key=self.key,
            explicit_key=True,
            recipient=self.recipient,
            sender=self.sender,
            type=self.type,
            body={"c": self.content},
            body_text=self.content,
            due_at=due_at,
            expires_at=None if self.lives_ms is None else due_at + self.lives_ms,
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a direct send: the id is the first one's where the key was used before."""

    id: str
    status: Status
    repeated: bool


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """The key of a direct send was used before for another message, ``id``; nothing is stored."""

    id: str


@dataclass(frozen=True, slots=True)
class AlreadyExpired:
    """The time to live of a direct send has passed; nothing is stored."""


@dataclass(frozen=True, slots=True)
class LongPast:
    """The due time of a direct send is long before the ledger's clock, ``now``; nothing is stored."""

    now: int


#: What may become of a direct send.
Became = Taken | KeyConflict | AlreadyExpired | LongPast


def take(
    database: Database,
    campaign: Campaign,
    sends: Sequence[DirectSend],
    *,
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
) -> list[Became]:
    """Store all of them with one commit; what became of each, in their order.

    Safe to repeat with the same keys. Raises LedgerUnreachable; whether they are stored is then not known.
    """
    made: list[intake.Row] = []

    def work(tx: Connection) -> list[Became]:
        # Made once: where a COMMIT took place and only its answer was lost, the ids tell that these rows are ours.
        if not made:
            now = instant(tx)
            planned = [send.message(now) for send in sends]
            prepared = intake.prepare(campaign, planned, cipher, encrypts)
            made.extend(intake.rows_of(tx, campaign, prepared, cipher, now))
        return _take(tx, campaign, made, sends, cipher)

    return database.retrying(work, alone=True)


def _take(
    tx: Connection,
    campaign: Campaign,
    rows: Sequence[intake.Row],
    sends: Sequence[DirectSend],
    cipher: Cipher,
) -> list[Became]:
    late = [_too_late(row, send) for row, send in zip(rows, sends, strict=True)]
    in_time = [row for row, too_late in zip(rows, late, strict=True) if too_late is None]
    stored = _put(tx, campaign, in_time)
    there = _there(tx, campaign, [row.key for row in rows if row.id not in stored])
    became: list[Became] = []
    for row, send, too_late in zip(rows, sends, late, strict=True):
        first = there.get(row.key)
        if row.id in stored or (first is not None and first.id == row.id):
            became.append(Taken(row.id, Status(row.status), repeated=False))
        elif first is None:
            became.append(too_late or AlreadyExpired())
        elif first.stands_for(send, cipher):
            became.append(Taken(first.id, Status(first.status), repeated=True))
        else:
            became.append(KeyConflict(first.id))
    return became


def _too_late(row: intake.Row, send: DirectSend) -> LongPast | AlreadyExpired | None:
    """Why a message is not to be stored, unless its key stands for an earlier one."""
    if send.due_at is not None and is_long_past(send.due_at, row.queued_at):
        return LongPast(row.queued_at)
    return AlreadyExpired() if row.expires_at is not None and row.expires_at <= row.queued_at else None


class _First(NamedTuple):
    """The message that a key stands for."""

    id: str
    status: str
    fingerprint: bytes

    def stands_for(self, send: DirectSend, cipher: Cipher) -> bool:
        return intake.is_same(send.message(0), self.fingerprint, cipher)


def _there(tx: Connection, campaign: Campaign, keys: Sequence[str]) -> dict[str, _First]:
    if not keys:
        return {}
    columns = messages.c.key, messages.c.id, messages.c.status, messages.c.fingerprint
    found = tx.execute(
        select(*columns).where(messages.c.campaign_id == campaign.id, among(tx, messages.c.key, keys))
    )
    return {key: _First(str(id), status, bytes(mark)) for key, id, status, mark in found}


_COLUMNS = {
    name: {"row": "bigint", "payload": "bytea", "fingerprint": "bytea", "due_at": "bigint", "expires_at": "bigint",
           "queued_at": "bigint", "ended_at": "bigint", "id": "uuid", "campaign_id": "uuid"}.get(name, "text")
    for name in intake.COLUMNS
}  # fmt: skip
#: Rows in the order of their keys: two groups that hold the same keys wait for each other and do not deadlock.
_PUT = f"""
WITH put AS (
    INSERT INTO messages ({intake.NAMES}) SELECT {", ".join(f"p.{name}" for name in intake.COLUMNS)}, 0, 0, 0, 0
    FROM {{rows}} ORDER BY p.key ON CONFLICT (campaign_id, key) DO NOTHING RETURNING id, status),
counted AS (
    UPDATE campaigns SET rows_read = campaigns.rows_read + new.n, messages = campaigns.messages + new.n,
        suppressed = campaigns.suppressed + new.suppressed
    FROM (SELECT count(*) AS n, count(*) FILTER (WHERE status = 'suppressed') AS suppressed FROM put) AS new
    WHERE campaigns.id = CAST(:campaign AS uuid) AND new.n > 0)
SELECT CAST(id AS text) FROM put
"""  # noqa: S608 - names of our own columns


def _put(tx: Connection, campaign: Campaign, rows: Sequence[intake.Row]) -> set[str]:
    """Store those whose key is new, and count them; their ids."""
    if not rows:
        return set()
    if tx.dialect.name == "sqlite":
        return _put_on_sqlite(tx, campaign, rows)
    sql = _PUT.format(rows=table(tx, _COLUMNS))
    parameters = bound(tx, _COLUMNS, rows) | {"campaign": campaign.id}
    return set(tx.execute(statement(sql), parameters).scalars())


_COUNT = """UPDATE campaigns SET rows_read = rows_read + :n, messages = messages + :n,
    suppressed = suppressed + :suppressed WHERE id = :campaign"""


def _put_on_sqlite(tx: Connection, campaign: Campaign, rows: Sequence[intake.Row]) -> set[str]:
    # SQLite changes one table a statement; a transaction is around both.
    found = tx.exec_driver_sql(_sqlite(len(rows)), tuple(chain.from_iterable(rows)))
    status_of = {str(id): status for id, status in found}
    if status_of:
        suppressed = sum(status == Status.SUPPRESSED for status in status_of.values())
        counted = {"n": len(status_of), "suppressed": suppressed, "campaign": campaign.id}
        tx.execute(statement(_COUNT), counted)
    return set(status_of)


@cache
def _sqlite(many: int) -> str:
    return f"{intake.insert_on_sqlite(many)} ON CONFLICT (campaign_id, key) DO NOTHING RETURNING id, status"
