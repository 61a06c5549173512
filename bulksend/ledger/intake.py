"""Jobs in: a chunk of rows becomes messages and refusals in one transaction, once for each (campaign, key)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from bulksend.ledger import suppressions
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.database import among, db_now
from bulksend.ledger.ids import new_ids
from bulksend.ledger.rowsets import array, storable
from bulksend.ledger.schema import campaigns, messages, refusals
from bulksend.ledger.sealing import Sealer, clear
from bulksend.messaging.states import Kind, Status


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A planned message. ``body`` is what its sending needs: ``{"v": variables}`` or ``{"c": content JSON}``.

    ``row`` is its row in the file, 0 for a direct send; ``explicit_key`` says that the producer chose the key,
    so that the same key with another body is a conflict and not merely the same person twice.
    """

    row: int
    key: str
    explicit_key: bool
    recipient: str
    sender: str
    type: str
    body: dict[str, object]
    body_text: str
    due_at: int
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that did not become a message: ``value`` is masked when private."""

    row: int
    field: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a chunk. ``ready`` are the ids now due, to be published at once where that is wanted."""

    ready: list[str]
    messages: int
    duplicates: int
    suppressed: int
    refused: list[RefusedRow]


class IntakeMoved(Exception):
    """Somebody else took rows of this campaign in since we last looked; look again, nothing was written."""


class KeyConflict(Exception):
    """The key of a direct send was used before for something else. Carries the id of that message."""

    def __init__(self, id: str) -> None:
        self.id = id
        super().__init__(f"the key was used before for another message, {id}")


SealPolicy = Callable[[Kind], bool]


def seal_otp_only(kind: Kind) -> bool:
    """The default: one-time codes are sealed, everything else rests in clear."""
    return kind is Kind.OTP


def seal_all(kind: Kind) -> bool:
    """``BULKSEND_ENCRYPT=all``."""
    return True


def take_chunk(
    tx: Connection,
    campaign: Campaign,
    *,
    after_row: int,
    up_to_row: int,
    planned: Sequence[NewMessage],
    refused: Sequence[RefusedRow],
    rows: int,
    sealer: Sealer,
    seals: SealPolicy = seal_otp_only,
) -> Taken:
    """Store rows ``after_row`` < row <= ``up_to_row`` of a file, ``rows`` of them, as messages and refusals.

    Only where the campaign stands at ``after_row`` still: raises IntakeMoved otherwise, so that two intakes of
    one file cannot count a row twice. ``rows`` = len(planned) + len(refused), which the audit relies on.
    """
    if rows != len(planned) + len(refused):
        raise ValueError("each row is planned or refused")
    moved = tx.execute(
        update(campaigns)
        .where(
            campaigns.c.id == campaign.id,
            campaigns.c.rows_read == after_row,
            campaigns.c.intake_done_at.is_(None),
        )
        .values(rows_read=up_to_row)
    ).rowcount
    if moved != 1:
        raise IntakeMoved(campaign.id)
    taken = _store(tx, campaign, planned, sealer, seals)
    all_refused = [*refused, *taken.refused]
    if all_refused:
        tx.execute(
            insert(refusals),
            [
                {
                    "campaign_id": campaign.id,
                    "row": r.row,
                    "field": storable(r.field, 100),
                    "value": storable(r.value, 100),
                    "why": storable(r.why, 500),
                }
                for r in all_refused
            ],
        )
    tx.execute(
        update(campaigns)
        .where(campaigns.c.id == campaign.id)
        .values(
            messages=campaigns.c.messages + taken.messages,
            duplicates=campaigns.c.duplicates + taken.duplicates,
            suppressed=campaigns.c.suppressed + taken.suppressed,
            refused=campaigns.c.refused + len(all_refused),
        )
    )
    return Taken(taken.ready, taken.messages, taken.duplicates, taken.suppressed, all_refused)


@dataclass(frozen=True, slots=True)
class TakenOne:
    """What became of a direct send: the id is the first one's where the key was used before."""

    id: str
    status: Status
    repeated: bool


def take_one(
    tx: Connection,
    campaign: Campaign,
    message: NewMessage,
    *,
    sealer: Sealer,
    seals: SealPolicy = seal_otp_only,
) -> TakenOne:
    """Store one direct send. Raises KeyConflict when its key stands for another body."""
    taken = _store(tx, campaign, [message], sealer, seals, ready_only=False)
    if taken.messages:
        tx.execute(
            update(campaigns)
            .where(campaigns.c.id == campaign.id)
            .values(
                rows_read=campaigns.c.rows_read + 1,
                messages=campaigns.c.messages + 1,
                suppressed=campaigns.c.suppressed + taken.suppressed,
            )
        )
        status = Status.SUPPRESSED if taken.suppressed else Status.QUEUED
        return TakenOne(taken.ready[0], status, repeated=False)
    row = tx.execute(
        select(messages.c.id, messages.c.status).where(
            messages.c.campaign_id == campaign.id, messages.c.key == message.key
        )
    ).one()
    if taken.refused:
        raise KeyConflict(row.id)
    return TakenOne(row.id, Status(row.status), repeated=True)


def _store(
    tx: Connection,
    campaign: Campaign,
    planned: Sequence[NewMessage],
    sealer: Sealer,
    seals: SealPolicy,
    *,
    ready_only: bool = True,
) -> Taken:
    first: dict[str, NewMessage] = {}
    again: list[NewMessage] = []
    for message in planned:
        if message.key in first:
            again.append(message)
        else:
            first[message.key] = message
    unwanted = suppressions.among_recipients(tx, {m.recipient for m in first.values()}, campaign.kind)
    sealed = seals(campaign.kind)
    now = tx.execute(select(db_now())).scalar_one()
    ids = new_ids(len(first), now)
    rows = [
        _row(id, campaign, m, sealer, sealed, unwanted, now)
        for id, m in zip(ids, first.values(), strict=True)
    ]
    inserted = _insert_new(tx, rows)
    refused = [
        _conflict(message, f"row {first[message.key].row}")
        for message in again
        if _differs(message, first[message.key])
    ]
    duplicates = len(again) - len(refused)
    old = [row for row in rows if row["id"] not in inserted]
    if old:
        clashing = _clashes(tx, campaign, [first[row["key"]] for row in old], sealer)
        refused += clashing
        duplicates += len(old) - len(clashing)
    ready = [
        row["id"]
        for row in rows
        if row["id"] in inserted
        and (not ready_only or (row["status"] == Status.QUEUED.value and row["due_at"] <= now))
    ]
    suppressed = sum(1 for row in rows if row["id"] in inserted and row["status"] == Status.SUPPRESSED.value)
    return Taken(ready, len(inserted), duplicates, suppressed, refused)


def _row(
    id: str,
    campaign: Campaign,
    message: NewMessage,
    sealer: Sealer,
    sealed: bool,
    unwanted: dict[str, str],
    now: int,
) -> dict[str, Any]:
    reason = unwanted.get(message.recipient)
    suppressed = reason is not None
    payload = None
    if not (suppressed and campaign.kind is Kind.OTP):
        payload = sealer.seal(message.body, id) if sealed else clear(message.body)
    return {
        "id": id,
        "campaign_id": campaign.id,
        "key": message.key,
        "row": message.row,
        "kind": campaign.kind.value,
        "sender": message.sender,
        "recipient": message.recipient,
        "type": message.type,
        "payload": payload,
        "fingerprint": sealer.fingerprint(*_identity(message)),
        "status": (Status.SUPPRESSED if suppressed else Status.QUEUED).value,
        "due_at": message.due_at,
        "expires_at": message.expires_at,
        "error": f"suppressed: {reason}"[:500] if suppressed else None,
        "queued_at": now,
        "ended_at": now if suppressed else None,
    }


def _identity(message: NewMessage) -> tuple[str, ...]:
    return message.sender, message.recipient, message.type, message.body_text


def _clashes(
    tx: Connection, campaign: Campaign, planned: Sequence[NewMessage], sealer: Sealer
) -> list[RefusedRow]:
    """Those whose key stands in the ledger for something else."""
    stored = {
        row.key: row
        for row in tx.execute(
            select(messages.c.key, messages.c.recipient, messages.c.fingerprint).where(
                messages.c.campaign_id == campaign.id,
                among(tx, messages.c.key, [m.key for m in planned]),
            )
        )
    }
    return [
        _conflict(m, "an earlier message")
        for m in planned
        if stored[m.key].recipient != m.recipient
        or (m.explicit_key and not sealer.same_fingerprint(stored[m.key].fingerprint, *_identity(m)))
    ]


def _differs(message: NewMessage, first: NewMessage) -> bool:
    """Whether the same key means two things: other people always, other content where the key was chosen."""
    return message.recipient != first.recipient or (
        message.explicit_key and _identity(message) != _identity(first)
    )


def _conflict(message: NewMessage, holder: str) -> RefusedRow:
    return RefusedRow(
        message.row,
        "key",
        message.key[:100],
        f"this key stands for {holder} with another recipient or content; nothing was overwritten, "
        "use a key of its own",
    )


_COLUMNS = {
    "id": "uuid",
    "campaign_id": "uuid",
    "key": "text",
    "row": "bigint",
    "kind": "text",
    "sender": "text",
    "recipient": "text",
    "type": "text",
    "payload": "bytea",
    "fingerprint": "bytea",
    "status": "text",
    "due_at": "bigint",
    "expires_at": "bigint",
    "error": "text",
    "queued_at": "bigint",
    "ended_at": "bigint",
}
_NAMES = ", ".join(_COLUMNS)
_VALUES = itemgetter(*_COLUMNS)
_ZEROS = "attempts, tries, waits, rescues"
#: One statement whatever the number of rows: arrays in, conflicts skipped, the ids that went in come back.
_POSTGRESQL = text(
    f"INSERT INTO messages ({_NAMES}, {_ZEROS}) "  # noqa: S608 - names of our own columns
    f"SELECT {_NAMES}, 0, 0, 0, 0 FROM unnest("
    + ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in _COLUMNS.items())
    + f") AS rows({_NAMES}) ON CONFLICT (campaign_id, key) DO NOTHING RETURNING CAST(id AS text)"
)
_SQLITE = (
    f"INSERT INTO messages ({_NAMES}, {_ZEROS}) VALUES ("  # noqa: S608 - names of our own columns
    + ", ".join("?" for _ in _COLUMNS)
    + ", 0, 0, 0, 0) ON CONFLICT (campaign_id, key) DO NOTHING"
)


def _insert_new(tx: Connection, rows: list[dict[str, Any]]) -> set[str]:
    """Insert what is new; the ids that went in."""
    if not rows:
        return set()
    if tx.dialect.name == "sqlite":
        tx.exec_driver_sql(_SQLITE, list(map(_VALUES, rows)))
        ids = [row["id"] for row in rows]
        return set(tx.execute(select(messages.c.id).where(among(tx, messages.c.id, ids))).scalars())
    columns = zip(*map(_VALUES, rows), strict=True)
    arrays = {name: array(column) for name, column in zip(_COLUMNS, columns, strict=True)}
    return set(tx.execute(_POSTGRESQL, arrays).scalars())
