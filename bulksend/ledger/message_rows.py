"""New messages as rows of the ledger: payload, fingerprint, suppression, and how they are inserted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

from sqlalchemy import Connection

from bulksend.ledger.campaigns import Campaign
from bulksend.ledger.copy import NULL, blob, cell, copy_in
from bulksend.ledger.encryption import Cipher, clear
from bulksend.ledger.ids import new_ids
from bulksend.messaging import quiet_hours
from bulksend.messaging.exclusions import Consent
from bulksend.messaging.number_forms import number_forms
from bulksend.messaging.states import Kind, Status


class NewMessage(NamedTuple):
    """A planned message. ``body`` is what sending it needs: ``{"v": variables}`` or ``{"c": content JSON}``, and in
    ``z`` the recipient's time zone where it was given.

    ``row`` is its row in the file, 0 for a direct send. With ``explicit_key`` the producer chose the key: the same key
    with another body is then a conflict, and otherwise a duplicate of the same person. ``in_quiet_hours``: it is due
    when they end, and not at its campaign's due time.
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
    consent: Consent | None = None
    in_quiet_hours: bool = False
    purpose: str | None = None
    """What a one-time code is for; None: its sender stands for it."""
    body_json: str | None = None
    """``body`` as JSON, where it is known."""


EncryptionPolicy = Callable[[Kind], bool]


QUEUED = Status.QUEUED.value


def encrypt_otp_only(kind: Kind) -> bool:
    """The default: the payloads of one-time codes are encrypted, all others are stored in clear."""
    return kind is Kind.OTP


def encrypt_all(kind: Kind) -> bool:
    """``BULKSEND_ENCRYPT=all``: every payload is encrypted."""
    return True


class Prepared(NamedTuple):
    """A message and what can be computed for it before the transaction that stores it."""

    message: NewMessage
    payload: bytes | None
    """None where it is to be encrypted: the ciphertext is bound to the id, and the id needs the ledger's clock."""
    fingerprint: bytes
    row: MessageRow | None = None
    """The row to insert, where the ledger was asked ahead whom the chunk leaves out."""
    line: str = ""
    """The row as COPY reads it."""


def prepare(
    campaign: Campaign,
    planned: Sequence[NewMessage],
    cipher: Cipher,
    encrypts: EncryptionPolicy = encrypt_otp_only,
) -> list[Prepared]:
    """Compute payloads and fingerprints before the transaction, so that SQLite's other writers wait less."""
    encrypted = encrypts(campaign.kind)
    return [
        Prepared(
            message,
            None if encrypted else clear(message.body_json or message.body),
            cipher.fingerprint(*identity(message)),
        )
        for message in planned
    ]


def with_rows(
    campaign: Campaign, prepared: Sequence[Prepared], cipher: Cipher, now: int, left_out: Mapping[int, str]
) -> list[Prepared]:
    """The same with the rows of ``message_rows`` and their lines."""
    rows = message_rows(campaign, prepared, cipher, now, left_out)
    return [
        Prepared(message, payload, fingerprint, row, _line(row))
        for (message, payload, fingerprint, _, _), row in zip(prepared, rows, strict=True)
    ]


class MessageRow(NamedTuple):
    """A row of ``messages``, in the order of the columns."""

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
    gate: str | None
    purpose: str | None
    first_due_at: int | None


COLUMNS = MessageRow._fields


_ZEROS = ("attempts", "tries", "waits", "strikes")


COLUMN_NAMES = ", ".join([*COLUMNS, *_ZEROS])


_COPY = f"COPY messages ({COLUMN_NAMES}) FROM STDIN"


#: Rows of one statement of SQLite, and of one piece of a COPY: after each piece the thread waits for the GIL.
_ROWS_PER_STATEMENT, _ROWS_PER_PIECE = 200, 1000


def message_rows(
    campaign: Campaign, prepared: Sequence[Prepared], cipher: Cipher, now: int, left_out: Mapping[int, str]
) -> list[MessageRow]:
    """The rows to insert; those of ``left_out``, position -> why, have ended. ``now``: the ledger's clock."""
    kind, campaign_id = campaign.kind.value, campaign.id
    rows: list[MessageRow] = []
    ids = new_ids(len(prepared), now)
    for n, (id, (message, payload, fingerprint, _, _)) in enumerate(zip(ids, prepared, strict=True)):
        row, key, _, recipient, sender, type, body, _, due_at, expires_at, _, in_quiet_hours, purpose, _ = (
            message
        )
        why = left_out.get(n)
        if why is None:
            status, error, ended_at = QUEUED, None, None
            gate = quiet_hours.GATE if in_quiet_hours else None
        else:
            status, error, ended_at = Status.SUPPRESSED.value, why[:500], now
            gate = None
        if why is not None and campaign.kind is Kind.OTP:
            payload = None
        elif payload is None:
            payload = cipher.encrypt(body, id)
        first_due_at = due_at if due_at > now and campaign.kind is Kind.OTP else None
        rows.append(
            MessageRow(id, campaign_id, key, row, kind, sender, recipient, type, payload, fingerprint,
                 status, due_at, expires_at, error, now, ended_at, gate, purpose, first_due_at)
        )  # fmt: skip
    return rows


def identity(message: NewMessage) -> tuple[str, ...]:
    """The values of the fingerprint, which tells whether two messages of one key are the same."""
    return message.sender, message.recipient, message.type, message.body_text


def matches_fingerprint(message: NewMessage, fingerprint: bytes, cipher: Cipher) -> bool:
    """Whether the fingerprint is of this message, to any form of its recipient's number."""
    return any(
        cipher.same_fingerprint(fingerprint, *identity(message._replace(recipient=form)))
        for form in number_forms(message.recipient)
    )


def insert_rows(tx: Connection, rows: list[MessageRow], lines: Sequence[str] | None = None) -> None:
    """Insert rows that the ledger does not have. ``lines``: the same as COPY reads them, where they were made ahead."""
    if not rows:
        return
    if tx.dialect.name == "sqlite":
        for start in range(0, len(rows), _ROWS_PER_STATEMENT):
            part = rows[start : start + _ROWS_PER_STATEMENT]
            tx.exec_driver_sql(insert_on_sqlite(len(part)), tuple(chain.from_iterable(part)))
    else:
        each = list(map(_line, rows)) if lines is None else lines
        pieces = (each[start : start + _ROWS_PER_PIECE] for start in range(0, len(each), _ROWS_PER_PIECE))
        copy_in(tx, _COPY, map("".join, pieces))


@cache
def insert_on_sqlite(count: int) -> str:
    """SQL that inserts this many rows; their values are one flat list."""
    row = f"({', '.join('?' for _ in COLUMNS)}, 0, 0, 0, 0)"
    return f"INSERT INTO messages ({COLUMN_NAMES}) VALUES {', '.join([row] * count)}"  # noqa: S608 - our column names


def _line(row: MessageRow) -> str:
    """The row as COPY reads it. Only the key and the error hold text from outside, which is escaped."""
    key = row.key if row.key.isalnum() else cell(row.key)
    return (
        f"{row.id}\t{row.campaign_id}\t{key}\t{row.row}\t{row.kind}\t{row.sender}\t{row.recipient}\t{row.type}\t"
        f"{NULL if row.payload is None else blob(row.payload)}\t{blob(row.fingerprint)}\t{row.status}\t{row.due_at}\t"
        f"{NULL if row.expires_at is None else row.expires_at}\t{NULL if row.error is None else cell(row.error)}\t"
        f"{row.queued_at}\t{NULL if row.ended_at is None else row.ended_at}\t{row.gate or NULL}\t"
        f"{NULL if row.purpose is None else cell(row.purpose)}\t"
        f"{NULL if row.first_due_at is None else row.first_due_at}\t0\t0\t0\t0\n"
    )
