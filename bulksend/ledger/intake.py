"""Jobs in: a chunk of rows becomes messages and refusals in one transaction, once for each (campaign, key)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from bulksend.ledger import suppressions
from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.copying import NULL, blob, cell, copy_in
from bulksend.ledger.database import among, instant
from bulksend.ledger.ids import new_ids
from bulksend.ledger.rowsets import array, statement, storable
from bulksend.ledger.schema import campaigns, messages, refusals
from bulksend.ledger.sealing import Sealer, clear
from bulksend.messaging.person import forms, same_person
from bulksend.messaging.states import Kind, Status


class NewMessage(NamedTuple):
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


class RefusedRow(NamedTuple):
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


SealPolicy = Callable[[Kind], bool]
_QUEUED = Status.QUEUED.value


def seal_otp_only(kind: Kind) -> bool:
    """The default: one-time codes are sealed, everything else rests in clear."""
    return kind is Kind.OTP


def seal_all(kind: Kind) -> bool:
    """``BULKSEND_ENCRYPT=all``."""
    return True


class Prepared(NamedTuple):
    """A message with all that can be made of it without asking the ledger."""

    message: NewMessage
    payload: bytes | None
    """None where it has to be sealed: that takes the id, which takes the ledger's clock."""
    fingerprint: bytes


def prepare(
    campaign: Campaign, planned: Sequence[NewMessage], sealer: Sealer, seals: SealPolicy = seal_otp_only
) -> list[Prepared]:
    """Make payloads and fingerprints: before the transaction, which SQLite's other writers wait for."""
    sealed = seals(campaign.kind)
    return [
        Prepared(message, None if sealed else clear(message.body), sealer.fingerprint(*identity(message)))
        for message in planned
    ]


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
    prepared: Sequence[Prepared] | None = None,
) -> Taken:
    """Store rows ``after_row`` < row <= ``up_to_row`` of a file, ``rows`` of them, as messages and refusals.

    Only where the campaign stands at ``after_row`` still: raises IntakeMoved otherwise, so that two intakes of
    one file cannot count a row twice. ``rows`` = len(planned) + len(refused), which the audit relies on.
    ``prepared`` is what ``prepare`` made of ``planned``, where it was called before the transaction began.
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
    if prepared is None:
        prepared = prepare(campaign, planned, sealer, seals)
    taken = _store(tx, campaign, prepared, sealer)
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


def _store(tx: Connection, campaign: Campaign, prepared: Sequence[Prepared], sealer: Sealer) -> Taken:
    """Store what is new. The campaign's row is locked: nobody else stores messages of it meanwhile."""
    first: dict[str, Prepared] = {}
    again = [of.message for of in prepared if first.setdefault(of.message.key, of) is not of]
    stored = _stored(tx, campaign, first)
    new = [of for key, of in first.items() if key not in stored]
    rows = rows_of(tx, campaign, new, sealer)
    _insert(tx, rows)
    refused = [
        _conflict(message, f"row {first[message.key].message.row}")
        for message in again
        if _differs(message, first[message.key].message)
    ]
    refused += _clashing([first[key].message for key in stored], stored, sealer)
    duplicates = len(prepared) - len(new) - len(refused)
    queued = [row for row in rows if row.status == _QUEUED]
    ready = [row.id for row in queued if row.due_at <= row.queued_at]
    return Taken(ready, len(rows), duplicates, len(rows) - len(queued), refused)


class Row(NamedTuple):
    """A message as it goes into the ledger, in the order of the columns."""

    id: str
    campaign_id: str
    key: str
    row: int
    kind: str
    sender: str
    recipient: str
    type: str
    payload: bytes | None
    fingerprint: bytes
    status: str
    due_at: int
    expires_at: int | None
    error: str | None
    queued_at: int
    ended_at: int | None


def rows_of(
    tx: Connection, campaign: Campaign, prepared: Sequence[Prepared], sealer: Sealer, now: int | None = None
) -> list[Row]:
    """The messages as rows of the ledger, those suppressed as that. ``now``: its clock, where that is known."""
    if not prepared:
        return []
    recipients = {of.message.recipient for of in prepared}
    unwanted = suppressions.among_recipients(tx, recipients, campaign.kind)
    now = instant(tx) if now is None else now
    kind, campaign_id = campaign.kind.value, campaign.id
    made: list[Row] = []
    ids = new_ids(len(prepared), now)
    for id, (message, payload, fingerprint) in zip(ids, prepared, strict=True):
        row, key, _, recipient, sender, type, body, _, due_at, expires_at = message
        reason = unwanted.get(recipient) if unwanted else None
        if reason is None:
            status, error, ended_at = _QUEUED, None, None
        else:
            status, error, ended_at = Status.SUPPRESSED.value, f"suppressed: {reason}"[:500], now
        if reason is not None and campaign.kind is Kind.OTP:
            payload = None
        elif payload is None:
            payload = sealer.seal(body, id)
        made.append(
            Row(id, campaign_id, key, row, kind, sender, recipient, type, payload, fingerprint,
                 status, due_at, expires_at, error, now, ended_at)
        )  # fmt: skip
    return made


def identity(message: NewMessage) -> tuple[str, ...]:
    """What the fingerprint is made of: what tells two messages of one key apart."""
    return message.sender, message.recipient, message.type, message.body_text


#: Of keys that stand in the ledger: recipient and fingerprint.
_Stored = dict[str, tuple[str, bytes]]


def _stored(tx: Connection, campaign: Campaign, keys: Collection[str]) -> _Stored:
    """Those of the keys that stand in the ledger already, and for what."""
    if tx.dialect.name == "sqlite":
        columns = messages.c.key, messages.c.recipient, messages.c.fingerprint
        found = tx.execute(
            select(*columns).where(
                messages.c.campaign_id == campaign.id, among(tx, messages.c.key, list(keys))
            )
        )
    else:
        found = tx.execute(statement(_STORED), {"campaign": campaign.id, "keys": array(keys)})
    return {key: (recipient, bytes(fingerprint)) for key, recipient, fingerprint in found}


def _clashing(planned: Sequence[NewMessage], stored: _Stored, sealer: Sealer) -> list[RefusedRow]:
    """Those whose key stands in the ledger for something else."""
    return [
        _conflict(message, "an earlier message")
        for message in planned
        for recipient, fingerprint in [stored[message.key]]
        if not same_person(recipient, message.recipient)
        or (message.explicit_key and not is_same(message, fingerprint, sealer))
    ]


def _differs(message: NewMessage, first: NewMessage) -> bool:
    """Whether the same key means two things: other people always, other content where the key was chosen."""
    return not same_person(message.recipient, first.recipient) or (
        message.explicit_key and identity(message) != identity(first._replace(recipient=message.recipient))
    )


def is_same(message: NewMessage, fingerprint: bytes, sealer: Sealer) -> bool:
    """Whether the fingerprint is of this message, to whichever form of its recipient's number."""
    return any(
        sealer.same_fingerprint(fingerprint, *identity(message._replace(recipient=form)))
        for form in forms(message.recipient)
    )


def _conflict(message: NewMessage, holder: str) -> RefusedRow:
    return RefusedRow(
        message.row,
        "key",
        message.key[:100],
        f"this key stands for {holder} with another recipient or content; nothing was overwritten, "
        "use a key of its own",
    )


COLUMNS = Row._fields
_ZEROS = ("attempts", "tries", "waits", "rescues")
NAMES = ", ".join([*COLUMNS, *_ZEROS])
#: OFFSET 0: each key is looked for by itself. Left to choose, PostgreSQL walks the whole campaign for each chunk.
_STORED = """SELECT k.key, found.recipient, found.fingerprint FROM unnest(CAST(:keys AS text[])) AS k(key),
    LATERAL (SELECT m.recipient, m.fingerprint FROM messages m
             WHERE m.campaign_id = CAST(:campaign AS uuid) AND m.key = k.key OFFSET 0) AS found"""
_COPY = f"COPY messages ({NAMES}) FROM STDIN"
#: Rows of one statement, or of one piece. A row at a time, the interpreter is given away and asked for again with each.
_AT_ONCE = 200


def _insert(tx: Connection, rows: list[Row]) -> None:
    """Insert rows of which none is there."""
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        for start in range(0, len(rows), _AT_ONCE):
            part = rows[start : start + _AT_ONCE]
            tx.exec_driver_sql(insert_on_sqlite(len(part)), tuple(chain.from_iterable(part)))
    else:
        pieces = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
        copy_in(tx, _COPY, ("".join([_line(row) for row in piece]) for piece in pieces))


@cache
def insert_on_sqlite(many: int) -> str:
    """SQL that inserts ``many`` rows, their values one after the other."""
    row = f"({', '.join('?' for _ in COLUMNS)}, 0, 0, 0, 0)"
    return f"INSERT INTO messages ({NAMES}) VALUES {', '.join([row] * many)}"  # noqa: S608 - names of our own


def _line(row: Row) -> str:
    """The row as COPY reads it. Only the key and the error are text of other people's."""
    (
        id,
        campaign,
        key,
        n,
        kind,
        sender,
        to,
        type,
        payload,
        fingerprint,
        status,
        due,
        expires,
        error,
        queued,
        ended,
    ) = row
    return (
        f"{id}\t{campaign}\t{key if key.isalnum() else cell(key)}\t{n}\t{kind}\t{sender}\t{to}\t{type}\t"
        f"{NULL if payload is None else blob(payload)}\t{blob(fingerprint)}\t{status}\t{due}\t"
        f"{NULL if expires is None else expires}\t{NULL if error is None else cell(error)}\t{queued}\t"
        f"{NULL if ended is None else ended}\t0\t0\t0\t0\n"
    )
